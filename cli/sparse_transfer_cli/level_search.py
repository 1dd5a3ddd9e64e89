"""A search over levels on this machine: each level's stages in turn, and the choice among them.

All levels are prepared before one is trained, so that what is wrong is found first; a level that
fails ends alone. Levels are experiments of their own, so that running the same search again answers
from what is recorded, and goes on with what is not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sparse_transfer_api.contract import MANIFEST, ExitCode, Stage
from sparse_transfer_api.keys import stage_key
from sparse_transfer_api.message import bounded
from sparse_transfer_api.optim_level import band_of
from sparse_transfer_api.records import StageResult
from sparse_transfer_api.results import Results
from sparse_transfer_api.search import (
    Choice,
    at_level,
    choose,
    incomparable,
    skipped,
    tried_of,
    twins,
    verdict,
    with_figures,
)
from sparse_transfer_api.spec import SparseTransferExperiment
from sparse_transfer_api.status import LevelStatus, SearchStatus, StageStatus
from sparse_transfer_cli.display import Display
from sparse_transfer_cli.executor import Executor, RunEnd, cause_of
from sparse_transfer_cli.measured import measured
from sparse_transfer_cli.stage_process import StageEnd, StopRequests
from sparse_transfer_runner.experiment_folders import stage_folder
from sparse_transfer_runner.storage.protocol import Missing

_AFTER_PREPARE = (Stage.TRAIN, Stage.PACKAGE)


@dataclass(frozen=True)
class SearchEnd:
    """How a search ended.

    Args:
        status: As the status on a cluster says it.
        choice: The level that is kept; None where no level came to a result.
        folders: Of the package stages, by level.
        failures: The stages that did not succeed, by level.
    """

    status: SearchStatus
    choice: Choice | None
    folders: Mapping[float, str]
    failures: Mapping[float, StageEnd]

    @property
    def results(self) -> Results | None:
        """What the level that is kept came to."""
        levels = {each.level: each.results for each in self.status.levels}
        return None if self.choice is None else levels[self.choice.level]


@dataclass
class LevelSearch:
    """One search.

    Args:
        experiment: With levels to try, absolute addresses and an output place.
        display: Shown what happens.
        command: How the runner is started.
        environment: Set for the stages, beside this process's own.
    """

    experiment: SparseTransferExperiment
    display: Display
    command: Sequence[str]
    environment: Mapping[str, str]
    _results: dict[float, dict[Stage, StageResult]] = field(default_factory=dict)
    _failures: dict[float, StageEnd] = field(default_factory=dict)

    @property
    def levels(self) -> tuple[float, ...]:
        """In the order in which they are tried."""
        return self.experiment.spec.search.levels

    def run(self) -> SearchEnd | None:
        """Tries the levels; returns None where the user asked to stop before the last was done."""
        with StopRequests(self.display.note) as stops:
            for level in self.levels:
                if not self._run(level, (Stage.PREPARE,), stops):
                    return None
            same = self._twins()
            for level in self.levels:
                if level in same:
                    self.display.note(
                        f"level {level:g} comes to the same model and recipe as level "
                        f"{same[level]:g}, and is not run"
                    )
                elif level not in self._failures and not self._run(level, _AFTER_PREPARE, stops):
                    return None
        return self._end(same)

    def _run(self, level: float, stages: tuple[Stage, ...], stops: StopRequests) -> bool:
        """Runs stages of a level; returns whether to go on, be it that the level failed."""
        self.display.level_started(level, self.levels.index(level) + 1, len(self.levels))
        experiment = at_level(self.experiment, level)
        end: RunEnd = Executor(experiment, self.display, self.command, self.environment).run(
            stages, stops
        )
        self._results.setdefault(level, {}).update(end.results)
        if end.failure is not None:
            self._failures[level] = end.failure
            self.display.note(f"level {level:g} failed in {end.failure.stage}; the others go on")
        return end.exit_code != ExitCode.STOPPED

    def _twins(self) -> dict[float, float]:
        """Returns levels that equal another, which was trained by an earlier run or comes first."""
        prepared = {level: found.get(Stage.PREPARE) for level, found in self._results.items()}
        digests = {level: each.digests for level, each in prepared.items() if each is not None}
        if not twins(digests):
            return {}
        trained = [
            level
            for level, each in prepared.items()
            if each is not None and self._is_trained(level, each)
        ]
        return twins({level: digests[level] for level in (*trained, *digests)})

    def _is_trained(self, level: float, prepared: StageResult) -> bool:
        experiment = at_level(self.experiment, level)
        key = stage_key(experiment.spec, Stage.TRAIN, prepared.key, prepared.digests)
        try:
            stage_folder(experiment, Stage.TRAIN, key).place.read(MANIFEST)
        except Missing:
            return False
        return True

    def _end(self, same: Mapping[float, float]) -> SearchEnd:
        spec = self.experiment.spec
        packaged = {
            level: measured(found[Stage.PACKAGE])
            for level, found in self._results.items()
            if Stage.PACKAGE in found
        }
        levels = [
            self._level(level, packaged[level][1] if level in packaged else None)
            for level in self.levels
        ]
        levels = [
            skipped(each, same[each.level]) if each.level in same else each for each in levels
        ]
        tried = tried_of(levels)
        choice = choose(spec.search, spec.acceptance, tried)
        told = verdict(spec.search, choice, {lv: _why(end) for lv, end in self._failures.items()})
        status = SearchStatus(
            selected=None if choice is None else choice.level,
            summary=f"{len(levels)} of {len(levels)}",
            message=bounded("; ".join([told, *incomparable(tried)])),
            levels=with_figures(levels, spec.search.objective),
        )
        folders = {level: folder for level, (folder, _) in packaged.items()}
        return SearchEnd(status, choice, folders, self._failures)

    def _level(self, level: float, results: Results | None) -> LevelStatus:
        found = list(self._results.get(level, {}).values())
        failure = self._failures.get(level)
        last = found[-1] if found else None
        said = ("", "") if last is None else (last.reason, last.message)
        if failure is not None:
            said = (_reason(failure), cause_of(failure))
        return LevelStatus(
            level=level,
            band=band_of(level).name,
            outcome="Failed" if failure is not None else "Succeeded",
            results=results,
            stages=tuple(map(_record, found)),
            reason=said[0],
            message=bounded(said[1]),
        )


def _record(result: StageResult) -> StageStatus:
    return StageStatus(
        name=result.stage,
        key=result.key,
        outcome="Succeeded",
        reason=result.reason,
        message=bounded(result.message),
        digests=result.digests,
        manifest_uri=result.manifest_uri,
    )


def _reason(end: StageEnd) -> str:
    return "Failed" if end.result is None else end.result.reason


def _why(end: StageEnd) -> str:
    return f"{_reason(end)}: {cause_of(end)}"
