"""The local executor: the stages of an experiment in order, each as a subprocess, on this machine.

It decides nothing about the work itself: every stage finds out by its key whether its result is
there already. So running the same experiment again resumes it, and costs seconds once it is done.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir
from types import MappingProxyType

from sparse_transfer_api.contract import PLAN, ExitCode, Stage
from sparse_transfer_api.errors import SparseTransferError
from sparse_transfer_api.handover import stage_document
from sparse_transfer_api.records import Plan, StageResult
from sparse_transfer_api.spec import SparseTransferExperiment
from sparse_transfer_cli.display import Display
from sparse_transfer_cli.experiment_file import experiment_folder
from sparse_transfer_cli.stage_process import RUNNER, StageEnd, StopRequests, run_stage
from sparse_transfer_runner.storage import place_for

LOGS = "logs"
"""Folder beside the stages' folders that keeps what they wrote to standard error."""

_LOG_TAIL_LINES = 15
_KILLED = 128 + 9


@dataclass(frozen=True)
class RunEnd:
    """How the stages of an experiment ended.

    Args:
        results: What each finished stage recorded, in order.
        failure: The stage that did not succeed; None when all did.
        stopped: The user asked to stop before the last stage was done.
    """

    results: dict[Stage, StageResult]
    failure: StageEnd | None = None
    stopped: bool = False

    @property
    def exit_code(self) -> int:
        """The exit code that the command ends with."""
        if self.stopped:
            return ExitCode.STOPPED
        if self.failure is None:
            return ExitCode.DONE
        # A process killed from outside left its checkpoints: another attempt may succeed.
        code = self.failure.exit_code
        return ExitCode.TRANSIENT if code == _KILLED else code or 1


class Executor:
    """Runs the stages of one experiment.

    Args:
        experiment: With absolute addresses and an output place.
        display: Shown what happens.
        command: How the runner is started.
        environment: Set for the stages, beside this process's own.
    """

    def __init__(
        self,
        experiment: SparseTransferExperiment,
        display: Display,
        command: Sequence[str] = RUNNER,
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._document = stage_document(experiment)
        folder = experiment_folder(experiment)
        self._logs = folder / LOGS if folder is not None else Path(gettempdir())
        self._display = display
        self._command = command
        self._environment = environment

    def run(
        self, stages: Sequence[Stage] = tuple(Stage), stops: StopRequests | None = None
    ) -> RunEnd:
        """Runs the stages in order, up to the first that does not succeed.

        When a stage finds that an earlier stage's output has vanished, all stages up to it run
        once more: those whose output is there answer from their record.

        Args:
            stages: In their order.
            stops: Where a wish to stop comes from; by default this process's signals.
        """
        results: dict[Stage, StageResult] = {}
        with StopRequests(self._display.note) if stops is None else nullcontext(stops) as stops:
            pending = list(stages)
            rerun = False
            while pending and not stops.requested:
                end = self._run_stage(pending[0], stops)
                if end.done and end.result is not None:
                    results[pending.pop(0)] = end.result
                elif stops.requested or end.exit_code == ExitCode.STOPPED:
                    return RunEnd(results, stopped=True)
                elif end.exit_code == ExitCode.VANISHED and not rerun:
                    rerun = True
                    self._display.note(_vanished_note(end))
                    pending = list(_up_to(stages[-1]))
                else:
                    return RunEnd(results, failure=end)
        return RunEnd(results, stopped=bool(pending))

    def _run_stage(self, stage: Stage, stops: StopRequests) -> StageEnd:
        started = time.monotonic()
        self._display.stage_started(stage)
        end = run_stage(
            stage,
            self._document,
            logs=self._logs,
            on_progress=self._display.progress,
            stops=stops,
            command=self._command,
            environment=self._environment,
        )
        if end.done and end.result is not None:
            self._display.stage_done(end.result, time.monotonic() - started)
            for warning in _warnings(end.result):
                self._display.note(f"warning: {warning}")
        return end


def _up_to(last: Stage) -> tuple[Stage, ...]:
    order = tuple(Stage)
    return order[: order.index(last) + 1]


def _warnings(result: StageResult) -> list[str]:
    """Returns what a finished prepare warns of: worth knowing before training takes its minutes."""
    if result.stage != Stage.PREPARE or result.manifest_uri is None:
        return []
    try:
        plan = place_for(result.manifest_uri.rpartition("/")[0]).read(PLAN)
    except SparseTransferError:
        return []  # the next stage will say what is wrong with it
    return Plan.model_validate_json(plan).warnings


def explain_failure(end: StageEnd) -> str:
    """Returns what to tell the user about a stage that did not succeed."""
    lines = [f"{end.stage} failed: {cause_of(end)}"]
    if not _explained_itself(end) and (tail := end.log_tail(_LOG_TAIL_LINES)):
        lines += ["its last words:", *(f"  {line}" for line in tail)]
    if end.log is not None:
        lines.append(f"its full log: {end.log}")
    return "\n".join(lines)


def _explained_itself(end: StageEnd) -> bool:
    """Whether the stage ended by an error that it names, rather than by a defect or a kill."""
    return end.result is not None and end.exit_code in set(ExitCode)


def cause_of(end: StageEnd) -> str:
    """Returns why a stage did not succeed."""
    if end.result is not None:
        return end.result.message or end.result.reason
    if end.exit_code == _KILLED:
        return (
            "it was killed (signal 9), most often because memory ran out; the same command goes "
            "on from the last checkpoint (a smaller spec.training.batchSize needs less memory)"
        )
    if end.exit_code > 128:
        return f"signal {end.exit_code - 128} ended it before it recorded a result"
    return f"it ended with exit code {end.exit_code} without recording a result"


def _vanished_note(end: StageEnd) -> str:
    message = end.result.message if end.result is not None else "an earlier output has vanished"
    return f"{end.stage}: {message}; running the stages before it once more"
