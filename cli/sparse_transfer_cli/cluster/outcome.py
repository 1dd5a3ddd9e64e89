"""How an experiment ended, and the exit code that tells it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sparse_transfer_api.contract import ExitCode
from sparse_transfer_api.errors import AcceptanceMissed, SparseTransferError
from sparse_transfer_api.status import ConditionStatus, ConditionType, Phase

from .observed import Observed

FAILURE = 1
"""Exit code of a failure whose reason has none of its own, such as a deadline."""


@dataclass(frozen=True)
class Outcome:
    """How an experiment ended.

    Args:
        succeeded: With results that meet its criteria.
        reason: One CamelCase word.
        message: The same for people.
        exit_code: Of a command that waited for it.
    """

    succeeded: bool
    reason: str
    message: str
    exit_code: int

    @property
    def measured(self) -> bool:
        """Whether there are results of this very end."""
        return self.succeeded or self.reason == AcceptanceMissed.reason


def outcome_of(experiment: Observed) -> Outcome | None:
    """Returns how an experiment ended; None while it goes on, or its spec was edited since.

    What is stalled has ended too: only an edit, or somebody with other rights, can get it going.
    """
    if not experiment.up_to_date:
        return None
    if experiment.status.phase == Phase.SUCCEEDED:
        _, message = _told(experiment, ConditionType.COMPLETE) or ("", "")
        return Outcome(True, "Succeeded", message, ExitCode.DONE)
    stalled = _told(experiment, ConditionType.STALLED) is not None
    if experiment.status.phase == Phase.FAILED or stalled:
        reason, message = next(_reasons(experiment), ("Failed", ""))
        if experiment.retry_pending and reason not in _MENDED_BY_EDITS:
            return None
        return Outcome(False, reason, message, exit_code_for(reason))
    return None


def exit_code_for(reason: str) -> int:
    """Returns the exit code that a failure's reason stands for, as the runner's would be."""
    return _CODES.get(reason, FAILURE)


def _codes() -> dict[str, int]:
    pending: list[type[SparseTransferError]] = [SparseTransferError]
    found = {}
    while pending:
        kind = pending.pop()
        pending += kind.__subclasses__()
        if "reason" in vars(kind):
            found[kind.reason] = int(kind.exit_code)
    return found


_MENDED_BY_EDITS = ("InvalidSpec", "OutputMissing", "NotSupported", "JobRefused")
"""The operator's own words for what it finds before any runner can; trying again cannot help."""
_CODES = {**_codes(), **dict.fromkeys(_MENDED_BY_EDITS, int(ExitCode.INPUT))}


def _reasons(experiment: Observed) -> Iterator[tuple[str, str]]:
    """Yields what says why it failed, the best first."""
    for kind in (ConditionType.FAILED, ConditionType.STALLED):
        if told := _told(experiment, kind):
            yield told
    for stage in experiment.status.stages:
        if stage.outcome == "Failed":
            yield stage.reason or "Failed", stage.message or ""
    complete = experiment.status.condition(ConditionType.COMPLETE)
    if complete is not None:
        yield complete.reason, complete.message


def _told(experiment: Observed, kind: ConditionType) -> tuple[str, str] | None:
    condition = experiment.status.condition(kind)
    if condition is None or condition.status != ConditionStatus.TRUE:
        return None
    return condition.reason, condition.message
