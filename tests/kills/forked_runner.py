"""The runner as a process that starts in a moment: forked from one that has imported everything.

A kill test starts hundreds of stages. What is run, and what is killed, is the runner's own entry
point; only the seconds of importing are saved.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from collections.abc import Mapping
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


@dataclass(frozen=True)
class StageRun:
    """How one process ended.

    Args:
        exit_code: Negative where a signal ended it.
        records: What it said on its standard output.
    """

    exit_code: int
    records: tuple[Progress | StageResult, ...]

    @property
    def result(self) -> StageResult | None:
        """What it recorded last, if it came so far."""
        last = self.records[-1] if self.records else None
        return last if isinstance(last, StageResult) else None

    def steps(self, activity: str) -> list[int]:
        """Returns the steps of an activity that it told of."""
        return [
            record.step
            for record in self.records
            if isinstance(record, Progress) and record.activity == activity and record.step
        ]


def run_stage(
    stage: Stage, experiment: str, folder: Path, environment: Mapping[str, str], kill_after: float
) -> StageRun:
    """Runs a stage, and kills it where it takes longer than ``kill_after`` seconds."""
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
    process.join(kill_after)
    if process.is_alive():
        process.kill()
        process.join()
    assert process.exitcode is not None
    records = tuple(_record(line) for line in said.read_text().splitlines() if _whole(line))
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
