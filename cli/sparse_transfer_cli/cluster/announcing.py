"""What is new about an experiment on a cluster, told as a run on this machine tells it."""

from __future__ import annotations

from dataclasses import dataclass, field

from sparse_transfer_api.contract import Stage
from sparse_transfer_api.records import Progress, StageResult
from sparse_transfer_api.status import Condition, Phase, StageStatus
from sparse_transfer_cli.display import Display

from .observed import Observed
from .progress import progress_of
from .telling import telling

_FLEETING = frozenset({"WaitingForPod", "PodStarting", "Running", "Superseding"})
"""Reasons that pass by themselves in seconds, or that the stage's own line tells."""
_WAITING = frozenset({Phase.PENDING, Phase.QUEUED, Phase.SUSPENDED})
"""Phases in which no bar moves, so that words have to say why."""


@dataclass
class Announcer:
    """Tells a display what changed since the experiment was seen before.

    Args:
        display: As for a run on this machine.
    """

    display: Display
    _before: Observed | None = None
    _stages: dict[tuple[Stage, str | None], StageStatus] = field(default_factory=dict)
    _level: float | None = None
    _progress: Progress | None = None
    _conditions: set[tuple[str, str, str]] = field(default_factory=set)

    def show(self, now: Observed) -> None:
        """Tells what is new."""
        before, self._before = self._before, now
        if before is not None and before.generation != now.generation:
            self.display.note(
                f"edited: generation {now.generation} of the spec; stages that the edit does not "
                "concern are not run again"
            )
        if not now.up_to_date:
            return  # the status still tells of the spec before
        self._phase(before, now)
        self._all_stages(now)
        for condition in telling(now.status):
            self._condition(condition, now)
        report = progress_of(now)
        if report is not None and report != self._progress:
            self._turn_to_running(now)
            self.display.progress(report)
        self._progress = report

    def _phase(self, before: Observed | None, now: Observed) -> None:
        changed = before is None or before.phase != now.phase or not before.up_to_date
        if changed and now.status.phase in _WAITING:
            self.display.note(f"{now.name}: {now.phase}")

    def _all_stages(self, now: Observed) -> None:
        if now.status.search is None:
            for stage in now.status.stages:
                self._stage(stage)
            return
        levels = now.status.search.levels
        for number, level in enumerate(levels, 1):
            for stage in level.stages:
                if stage.outcome is not None and stage != self._stages.get((stage.name, stage.key)):
                    self._turn_to(level.level, number, len(levels))
                self._stage(stage)

    def _turn_to_running(self, now: Observed) -> None:
        levels = () if now.status.search is None else now.status.search.levels
        for number, level in enumerate(levels, 1):
            if any(stage.outcome == "Running" for stage in level.stages):
                self._turn_to(level.level, number, len(levels))

    def _turn_to(self, level: float, number: int, count: int) -> None:
        """Tells of which level the following is, where that is another than before."""
        if level != self._level:
            self.display.level_started(level, number, count)
        self._level = level

    def _stage(self, stage: StageStatus) -> None:
        before = self._stages.get((stage.name, stage.key))
        self._stages[stage.name, stage.key] = stage
        if before is None or before.outcome != stage.outcome:
            self._outcome(stage, begun=before is not None and before.outcome is not None)
        if before is None:
            return
        if (stage.disruptions or 0) > (before.disruptions or 0):
            self.display.note(
                f"{stage.name}: a pod was evicted or lost its node; another one goes on from the "
                f"newest checkpoint (disruptions: {stage.disruptions})"
            )
        if (stage.attempt or 1) > (before.attempt or 1):
            self.display.note(f"{stage.name}: {stage.message or f'attempt {stage.attempt}'}")

    def _outcome(self, stage: StageStatus, *, begun: bool) -> None:
        if stage.outcome is None:
            return
        if not begun or stage.outcome == "Running":
            self.display.stage_started(stage.name)
        if stage.outcome == "Succeeded":
            self.display.stage_done(_result(stage), _seconds(stage))
        elif stage.outcome == "Failed":
            self.display.note(f"{stage.name}: failed ({stage.reason or 'no reason'})")
        elif stage.outcome == "Stopped":
            self.display.note(f"{stage.name}: stopped at a checkpoint")

    def _condition(self, condition: Condition, now: Observed) -> None:
        words = (condition.type.value, condition.reason, condition.message)
        # How it ended is told at the end, in full.
        ended = now.status.phase in (Phase.SUCCEEDED, Phase.FAILED)
        fleeting = condition.reason in _FLEETING
        if words not in self._conditions and not ended and not fleeting:
            self.display.note(": ".join(word for word in words[1:] if word))
        self._conditions.add(words)


def _result(stage: StageStatus) -> StageResult:
    return StageResult(
        stage=stage.name,
        key=stage.key or "",
        outcome="Succeeded",
        reason=stage.reason or "Completed",
        message=stage.message or "",
        manifest_uri=stage.manifest_uri,
        digests=stage.digests,
        recorded=stage.start_time is None,
    )


def _seconds(stage: StageStatus) -> float:
    if stage.start_time is None or stage.completion_time is None:
        return 0.0
    return (stage.completion_time - stage.start_time).total_seconds()
