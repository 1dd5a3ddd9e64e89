"""Experiments as files, and how to run them with the stand-in runner."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent

EXPERIMENT = """
apiVersion: sparsetransfer.dev/v1alpha1
kind: SparseTransferExperiment
metadata:
  name: film-reviews
spec:
  useCase: sentiment-analysis
  data:
    uri: file://./data
"""

Write = Callable[..., Path]


@pytest.fixture
def write_experiment(tmp_path: Path) -> Write:
    """Writes an experiment file, with more lines appended to its spec."""

    def write(more: str = "", name: str = "experiment.yaml") -> Path:
        path = tmp_path / name
        path.write_text(EXPERIMENT + more, encoding="utf-8")
        return path

    return write


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    lines: list[dict[str, Any]]
    errors: str

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["type"] == kind]


class Driven:
    """A running ``run`` with the stand-in runner."""

    def __init__(self, experiment: Path, behaviour: Mapping[str, Sequence[str]]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "drive_run.py"), str(experiment)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "STAND_IN": json.dumps(behaviour)},
        )
        self._lines: list[dict[str, Any]] = []

    def wait_for(self, activity: str) -> None:
        """Reads on until a stage reports the activity."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.append(json.loads(line))
            if self._lines[-1].get("activity") == activity:
                return
        raise AssertionError(f"ended without {activity!r}: {self._lines}")

    def wait_for_note(self, start: str) -> None:
        """Reads on until a note that starts with the given words."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.append(json.loads(line))
            if self._lines[-1].get("message", "").startswith(start):
                return
        raise AssertionError(f"ended without the note {start!r}: {self._lines}")

    def end(self) -> Ended:
        """Reads to the end."""
        output, errors = self.process.communicate(timeout=60)
        self._lines += [json.loads(line) for line in output.splitlines()]
        return Ended(self.process.returncode, self._lines, errors)

    def close(self) -> None:
        """Ends what the test has left running: by the second Ctrl-C the stage is killed."""
        while self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                self.process.communicate(timeout=5)
        self.process.communicate()


@pytest.fixture
def drive() -> Iterator[Callable[..., Driven]]:
    """Starts ``run`` on an experiment, each stage behaving as told on each of its runs."""
    with ExitStack() as started:

        def start(experiment: Path, **behaviour: Sequence[str]) -> Driven:
            driven = Driven(experiment, behaviour)
            started.callback(driven.close)
            return driven

        yield start
