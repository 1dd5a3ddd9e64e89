"""The stages one after the other: which keys are wanted, what is recorded, where it stands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from sparse_transfer_api.contract import Stage
from sparse_transfer_api.keys import stage_key
from sparse_transfer_api.records import StageResult
from sparse_transfer_api.spec import SparseTransferSpec
from sparse_transfer_api.status import Rerun, StageStatus
from sparse_transfer_operator.observed import ObservedJob

from .deadlines import Budget
from .judging import OUTPUT_VANISHED
from .stage import Task, advance
from .standing import Standing, Step, again, fresh
from .texts import retry_value
from .view import View

_ORDER = tuple(Stage)

Records = dict[Stage, StageStatus]
Keys = frozenset[tuple[Stage, str]]


@dataclass(frozen=True)
class Course:
    """The stages of one spec, and what matters to them beside what is observed.

    Args:
        spec: Whose keys are wanted.
        records: Of stages, as they were recorded last.
        level: Of a search: the level whose stages these are.
        spent: Running time that other levels took, in seconds.
        spare: Keys that other levels want.
        blockers: Jobs of other levels that have to be gone before a Job is made.
        starts: Stages may be begun; else what there is goes on, and no more.
    """

    spec: SparseTransferSpec
    records: tuple[StageStatus, ...]
    level: float | None = None
    spent: int = 0
    spare: Keys = frozenset()
    blockers: tuple[ObservedJob, ...] = ()
    starts: bool = True


@dataclass(frozen=True)
class Chain:
    """Where the stages stand.

    Args:
        records: Of the stages that were reached, in order.
        step: Of the last one reached.
        diverged: The first stage whose recorded key is not the wanted one any more.
        results: What stages handed over that have just succeeded.
        wanted: Keys of the stages that were reached.
    """

    records: tuple[StageStatus, ...]
    step: Step
    diverged: Stage | None
    results: tuple[StageResult, ...]
    wanted: Keys


def chain_of(view: View, course: Course) -> Chain:
    """Returns where the stages stand, and what follows for the one that is not done."""
    return _Walk(view, course, {each.name: each for each in course.records}).run()


def superseded(view: View, wanted: Keys) -> tuple[ObservedJob, ...]:
    """Returns the Jobs that nobody wants any more."""
    return tuple(each for each in view.jobs if (each.stage, each.key) not in wanted)


def retry_asked(view: View) -> bool:
    """Whether the retry annotation has a value that was not acted on."""
    asked = view.observed.retry
    return asked is not None and retry_value(asked) != view.observed.status.observed_retry


@dataclass
class _Walk:
    """One way through the stages, up to the first that is not done."""

    view: View
    course: Course
    records: Records
    diverged: Stage | None = None
    wanted: set[tuple[Stage, str]] = field(default_factory=set)

    def run(self) -> Chain:
        budget = Budget(self.view.policy.active_deadline_seconds, self.course.spent)
        results: list[StageResult] = []
        previous: StageStatus | None = None
        for stage in _ORDER:
            record = self._record(stage, previous)
            self.wanted.add((stage, record.key or ""))
            step = advance(self._task(record, budget))
            if self._vanished(step, stage):
                return self._rerun_before(step.record).run()
            self.records[stage] = previous = step.record
            budget = budget.after(step.record)
            if step.result is not None:
                results.append(step.result)
            if step.standing is not Standing.DONE:
                break
        records = tuple(self.records[stage] for stage in _ORDER if stage in self.records)
        return Chain(records, step, self.diverged, tuple(results), frozenset(self.wanted))

    def _task(self, record: StageStatus, budget: Budget) -> Task:
        course = self.course
        unwanted = superseded(self.view, course.spare | self.wanted)
        return Task(
            self.view,
            record,
            budget,
            blockers=(*unwanted, *course.blockers),
            level=course.level,
            starts=course.starts,
        )

    def _record(self, stage: Stage, previous: StageStatus | None) -> StageStatus:
        """Returns the stage's record under the key that is wanted."""
        key = stage_key(
            self.course.spec,
            stage,
            None if previous is None else previous.key,
            {} if previous is None else previous.digests,
        )
        record = self.records.get(stage)
        if record is None or record.key != key:
            if record is not None and record.key is not None:
                self._diverge(stage)
            return StageStatus(name=stage, key=key)
        if record.outcome == "Failed" and retry_asked(self.view):
            for earlier in self._before(stage):
                self.records[earlier] = self.records[earlier].model_copy(update={"reruns": ()})
            return fresh(record, self._jobs(record))
        return record

    def _diverge(self, stage: Stage) -> None:
        """Forgets what is recorded from a stage on: it belongs to keys that are not wanted."""
        self.diverged = stage
        for later in _ORDER[_ORDER.index(stage) :]:
            self.records.pop(later, None)

    def _vanished(self, step: Step, stage: Stage) -> bool:
        """Whether a stage failed for want of an earlier one's output, for the first time."""
        if step.standing is not Standing.FAILED or step.record.reason != OUTPUT_VANISHED:
            return False
        before = list(self._before(stage))
        return bool(before) and Rerun.OUTPUT_VANISHED not in self.records[before[-1]].reruns

    def _rerun_before(self, failed: StageStatus) -> _Walk:
        """Returns the walk in which all stages before a failed one run again, and then that one.

        Which of them lost its output is not known; those that did not return their recorded result
        in seconds.
        """
        records = dict(self.records)
        for earlier in self._before(failed.name):
            record = records[earlier]
            records[earlier] = again(record, self._jobs(record), Rerun.OUTPUT_VANISHED)
        records[failed.name] = again(failed, self._jobs(failed))
        return replace(self, records=records, wanted=set())

    def _before(self, stage: Stage) -> Iterator[Stage]:
        yield from _ORDER[: _ORDER.index(stage)]

    def _jobs(self, record: StageStatus) -> list[ObservedJob]:
        return [each for each in self.view.jobs if _key(each) == (record.name, record.key)]


def _key(job: ObservedJob) -> tuple[Stage, str]:
    return job.stage, job.key
