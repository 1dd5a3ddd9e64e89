"""A search: its levels one after the other, each as an experiment of its own, and the best kept.

Every look first takes in what there is of all levels, and begins nothing. Then one level goes on:
the one that has something going, else the first that is not prepared, so that what is wrong is
found before anything is trained, else the first that has not ended. A level that fails ends alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from sparse_transfer_api.contract import Stage
from sparse_transfer_api.message import bounded
from sparse_transfer_api.optim_level import band_of
from sparse_transfer_api.search import (
    DATA,
    NO_RESULTS,
    Choice,
    Tried,
    at_level,
    choose,
    incomparable,
    skipped,
    twins,
    verdict,
    with_figures,
)
from sparse_transfer_api.spec import SparseTransferSpec
from sparse_transfer_api.status import LevelStatus, Phase, SearchStatus, StageStatus
from sparse_transfer_operator.observed import ObservedJob

from .acceptance import ACCEPTANCE_MISSED
from .chain import Chain, Course, Keys, chain_of, superseded
from .conditions import COMPLETED, Situation, situation_of
from .memory import Memory, remembered
from .outlook import Outlook, ended_at
from .stage import WAITING_FOR_TURN
from .standing import Standing, removals
from .view import View

MAX_LEVEL_BYTES = 32 * 1024
"""What a level may have handed over: eight levels and the one that is shown are far below the
megabyte and a half that etcd takes. Real results are a few thousand bytes."""

_OUTCOMES = {
    Standing.DONE: "Succeeded",
    Standing.FAILED: "Failed",
    Standing.RUNNING: "Running",
}


def search_of(view: View) -> Outlook:
    """Returns where a search stands, and what follows."""
    return _Search(view).run()


@dataclass
class _Level:
    """One level, after what was looked at so far."""

    level: float
    spec: SparseTransferSpec
    memory: Memory
    chain: Chain | None = None

    @property
    def seen(self) -> Chain:
        if self.chain is None:
            raise ValueError(f"level {self.level:g} was not looked at")
        return self.chain

    @property
    def standing(self) -> Standing:
        return self.seen.step.standing

    @property
    def waits(self) -> bool:
        return self.seen.step.record.reason == WAITING_FOR_TURN

    @property
    def prepared(self) -> bool:
        return self.memory.stages[0].outcome == "Succeeded"

    @property
    def digests(self) -> dict[str, str]:
        return self.memory.stages[0].digests if self.prepared else {}

    @property
    def progress(self) -> tuple[int, bool]:
        """How far it has got: stages that succeeded, and whether the one after them was begun."""
        done = sum(each.outcome == "Succeeded" for each in self.memory.stages)
        return done, self.seen.step.record.job is not None

    @property
    def active_seconds(self) -> int:
        return sum(each.active_seconds or 0 for each in self.memory.stages)


@dataclass
class _Search:
    view: View
    levels: dict[float, _Level] = field(init=False)

    def __post_init__(self) -> None:
        view = self.view
        self.levels = {}
        for level in view.experiment.spec.search.levels:
            spec = at_level(view.experiment, level).spec
            memory = remembered(view.observed.status, spec, level)
            self.levels[level] = _Level(level, spec, memory)

    def run(self) -> Outlook:
        for each in self.levels.values():
            self._look(each, starts=False)
        while (current := self._current()) is not None:
            self._look(current, starts=True)
            if not self._over(current):
                return self._under_way(current)
        return self._ended()

    # ---- which level goes on ---------------------------------------------------------------------

    def _look(self, each: _Level, *, starts: bool) -> None:
        others = [other for other in self.levels.values() if other is not each]
        spare: Keys = frozenset().union(*(self._wanted(other) for other in others))
        course = Course(
            each.spec,
            each.memory.stages,
            level=each.level,
            spent=sum(other.active_seconds for other in others),
            spare=spare,
            blockers=self._alive(others, spare),
            starts=starts,
        )
        each.chain = chain_of(self.view, course)
        each.memory = each.memory.after(each.chain, each.spec)
        if each.chain.results:
            each.memory = each.memory.within(MAX_LEVEL_BYTES)

    def _alive(self, others: list[_Level], spare: Keys) -> tuple[ObservedJob, ...]:
        """Returns the Jobs of other levels that may still have a pod."""
        done = {
            (record.name, record.key)
            for other in others
            for record in other.memory.stages
            if record.outcome == "Succeeded"
        }
        return tuple(
            job
            for job in self.view.jobs
            if job.end is None and (job.stage, job.key) in spare - done
        )

    def _wanted(self, each: _Level) -> Keys:
        if each.chain is None:
            return frozenset()
        if each.level in self._twins():
            return frozenset(key for key in each.chain.wanted if key[0] is Stage.PREPARE)
        return each.chain.wanted

    def _twins(self) -> dict[float, float]:
        """Returns levels that equal another, which has got further or is tried before.

        So what was done of a level is not done again for another one, however levels are edited.
        """
        seen = [each for each in self.levels.values() if each.chain is not None]
        done = {each.level for each in seen if each.standing is Standing.DONE}
        seen.sort(key=lambda each: each.progress, reverse=True)
        found = twins({each.level: each.digests for each in seen})
        return {level: twin for level, twin in found.items() if level not in done}

    def _over(self, each: _Level) -> bool:
        return each.standing in (Standing.DONE, Standing.FAILED) or each.level in self._twins()

    def _current(self) -> _Level | None:
        left = [each for each in self.levels.values() if not self._over(each)]
        busy = [each for each in left if not each.waits]
        busy.sort(key=lambda each: each.standing is not Standing.RUNNING)
        unprepared = [each for each in left if not each.prepared]
        return next(iter(busy or unprepared or left), None)

    # ---- what is said ----------------------------------------------------------------------------

    def _under_way(self, current: _Level) -> Outlook:
        step = current.seen.step
        number = list(self.levels).index(current.level) + 1
        where = f"level {current.level:g} ({number} of {len(self.levels)})"
        situation = situation_of(step, tuple(self._records()))
        told = f"{where}: {situation.message}" if situation.message else where
        shown = replace(current.memory, results=None, artifacts=())
        status = self._status(None, f"{where} is tried")
        return self._outlook(replace(situation, message=bounded(told)), shown, status)

    def _ended(self) -> Outlook:
        spec = self.view.experiment.spec
        choice = choose(spec.search, spec.acceptance, self._tried())
        told = verdict(spec.search, choice, dict(self._failures()))
        if choice is None:
            shown = self._first_failed()
            reason = shown.stages[-1].reason or ACCEPTANCE_MISSED
            if shown.stages[-1].outcome != "Failed":
                reason = ACCEPTANCE_MISSED
            situation = Situation(Phase.FAILED, reason, bounded(told))
        else:
            shown = self.levels[choice.level].memory
            situation = Situation(Phase.SUCCEEDED, COMPLETED, bounded(told))
            if choice.missed:
                situation = Situation(Phase.FAILED, ACCEPTANCE_MISSED, bounded(told))
        message = "; ".join([told, *incomparable(self._tried())])
        ended = ended_at(*(each.memory for each in self.levels.values()))
        outlook = self._outlook(situation, shown, self._status(choice, message))
        return replace(outlook, ended=ended)

    def _outlook(self, situation: Situation, shown: Memory, status: SearchStatus) -> Outlook:
        chains = [each.seen for each in self.levels.values()]
        wanted: Keys = frozenset().union(*(self._wanted(each) for each in self.levels.values()))
        return Outlook(
            situation,
            shown,
            (
                *removals(superseded(self.view, wanted)),
                *(action for chain in chains for action in chain.step.actions),
            ),
            tuple(check for chain in chains for check in chain.step.checks),
            search=status,
        )

    def _status(self, choice: Choice | None, message: str) -> SearchStatus:
        ended = sum(self._over(each) for each in self.levels.values())
        return SearchStatus(
            selected=None if choice is None else choice.level,
            summary=f"{ended} of {len(self.levels)}",
            message=bounded(message),
            levels=self._levels(),
        )

    def _levels(self) -> tuple[LevelStatus, ...]:
        found = [self._level(each) for each in self.levels.values()]
        return with_figures(found, self.view.experiment.spec.search.objective)

    def _level(self, each: _Level) -> LevelStatus:
        record, memory = each.seen.step.record, each.memory
        found = LevelStatus(
            level=each.level,
            band=band_of(each.level).name,
            outcome=_OUTCOMES.get(each.standing),
            reason=record.reason,
            message=record.message,
            resolved=memory.resolved,
            results=memory.results,
            artifacts=memory.artifacts,
            stages=memory.stages,
        )
        twin = self._twins().get(each.level)
        return found if twin is None else skipped(found, twin)

    def _records(self) -> Iterator[StageStatus]:
        for each in self.levels.values():
            yield from each.memory.stages

    def _tried(self) -> list[Tried]:
        return [
            Tried(level, each.memory.results, each.digests.get(DATA))
            for level, each in self.levels.items()
            if each.memory.results is not None
        ]

    def _failures(self) -> Iterator[tuple[float, str]]:
        for level, each in self.levels.items():
            record = each.seen.step.record
            if each.standing is Standing.FAILED:
                why = record.reason or "Failed"
                yield level, f"{why}: {record.message}" if record.message else why
            elif each.standing is Standing.DONE and each.memory.results is None:
                yield level, NO_RESULTS

    def _first_failed(self) -> Memory:
        levels = list(self.levels.values())
        failed = [each for each in levels if each.standing is Standing.FAILED]
        return next(iter(failed or levels)).memory
