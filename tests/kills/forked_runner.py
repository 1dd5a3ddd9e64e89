"""The runner as a process that starts in a moment: forked from one that has imported everything.

A kill test starts hundreds of stages. What is run, and what is killed, is the runner's own entry
point; only the seconds of importing are saved.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sparse_transfer_api.contract import ENV_EXPERIMENT, ENV_TERMINATION_LOG, Stage
from sparse_transfer_api.records import Progress, StageResult

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [
        "boto3",
        "nncf",
        "onnxruntime",
        "openvino",
        "sparse_transfer_runner.__main__",
        "sparse_transfer_runner.process",
        "sparse_transfer_runner.stages.package",
        "sparse_transfer_runner.stages.prepare",
        "sparse_transfer_runner.stages.train",
        "sparse_transfer_runner.engines.onnxruntime",
        "sparse_transfer_runner.engines.openvino",
        "transformers.models.bert.modeling_bert",
    ]
)
_STARTING_SECONDS = 120
"""Of the first process, which imports everything."""
_POLL_SECONDS = 0.01

Records = tuple[Progress | StageResult, ...]


@dataclass(frozen=True)
class StageRun:
    """How one process ended.

    Args:
        exit_code: Negative where a signal ended it.
        records: What it said on its standard output.
    """

    exit_code: int
    records: Records

    @property
    def result(self) -> StageResult | None:
        """What it recorded last, if it came so far."""
        last = self.records[-1] if self.records else None
        return last if isinstance(last, StageResult) else None

    def steps(self, activity: str) -> list[int]:
        """Returns the steps of an activity that it told of."""
        return steps_told(self.records, activity)


def steps_told(records: Records, activity: str) -> list[int]:
    """Returns the steps of an activity that records tell of."""
    return [
        record.step
        for record in records
        if isinstance(record, Progress) and record.activity == activity and record.step
    ]


def run_stage(
    stage: Stage,
    experiment: str,
    folder: Path,
    environment: Mapping[str, str],
    kill_after: float,
    kill_once: Callable[[Records], bool] | None = None,
) -> StageRun:
    """Runs a stage, and may kill it.

    Args:
        stage: Which one.
        experiment: Its document, as JSON.
        folder: For what it says.
        environment: Of its process.
        kill_after: Seconds after which it is killed.
        kill_once: Kills it as soon as this is true of what it has said so far.
    """
    said = folder / f"{stage}.jsonl"
    said.touch()
    settings = {
        **environment,
        ENV_EXPERIMENT: experiment,
        ENV_TERMINATION_LOG: str(folder / "termination-log"),
    }
    ready = _FORKS.Event()
    process = _FORKS.Process(target=_runner, args=(str(stage), settings, str(said), ready))
    process.start()
    assert ready.wait(_STARTING_SECONDS), "the forked process did not start"
    if kill_once is None:
        process.join(kill_after)
    else:
        deadline = time.monotonic() + kill_after
        while process.is_alive() and time.monotonic() < deadline and not kill_once(_read(said)):
            time.sleep(_POLL_SECONDS)
    if process.is_alive():
        process.kill()
        process.join()
    assert process.exitcode is not None
    records = _read(said)
    said.unlink()
    return StageRun(process.exitcode, records)


def _runner(stage: str, settings: Mapping[str, str], said: str, ready: object) -> None:
    os.environ.update(settings)
    output = os.open(said, os.O_WRONLY | os.O_TRUNC)
    errors = os.open(f"{said}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(output, 1)
    os.dup2(errors, 2)
    ready.set()  # type: ignore[attr-defined]
    from sparse_transfer_runner.__main__ import main

    code = main([stage])
    sys.stdout.flush()
    os._exit(code)


def _read(said: Path) -> Records:
    return tuple(_record(line) for line in said.read_text().splitlines() if _whole(line))


def _whole(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _record(line: str) -> Progress | StageResult:
    document = json.loads(line)
    kind = StageResult if document["type"] == "result" else Progress
    return kind.model_validate(document)
