"""Runs one stage: its folder found by its key, a recorded result returned, a new one recorded."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from types import ModuleType

from sparse_transfer_api.contract import MANIFEST, TEACHER_FOLDER, Stage
from sparse_transfer_api.errors import OutputVanished, Stopped
from sparse_transfer_api.keys import stage_key
from sparse_transfer_api.records import Manifest, StageResult
from sparse_transfer_api.spec import SparseTransferExperiment
from sparse_transfer_runner.disk import explained
from sparse_transfer_runner.experiment_folders import output_root, stage_folder
from sparse_transfer_runner.output import Attempt, StageFolder
from sparse_transfer_runner.progress import Reporter
from sparse_transfer_runner.provenance import stage_provenance
from sparse_transfer_runner.storage.settings import scratch_folder, settings_of, using

from .context import StageContext, StageOutcome, plan_in
from .resolved import resolved_of

_ORDER = (Stage.PREPARE, Stage.TRAIN, Stage.PACKAGE)


@dataclass(frozen=True)
class StageRun:
    """One run of one stage.

    Args:
        experiment: Relative addresses are already absolute.
        stage: Which one.
        reporter: Receives progress.
        stop: Set when the stage has to stop soon.
        expected_key: The key that the caller computed; None to trust the own one.
        recorded_only: Return a recorded result or fail, without working.
    """

    experiment: SparseTransferExperiment
    stage: Stage
    reporter: Reporter
    stop: threading.Event
    expected_key: str | None = None
    recorded_only: bool = False

    def execute(self) -> StageResult:
        """Runs the stage, or returns what is recorded of it.

        Raises:
            SparseTransferError: Of the class that fits; nothing recorded is lost.
        """
        self._raise_if_stopped()
        with using(settings_of(self.experiment.spec.storage, self._raise_if_stopped)):
            return self._execute()

    def _raise_if_stopped(self) -> None:
        if self.stop.is_set():
            raise Stopped(f"{self.stage} was asked to stop; run it again to go on")

    def _execute(self) -> StageResult:
        key, earlier = self._locate()
        if self.expected_key not in (None, key):
            raise OutputVanished(
                f"{self.stage} was asked for under key {self.expected_key}, but what is recorded "
                f"of the stages before gives {key}; run them again"
            )
        folder = self._folder(self.stage, key)
        recorded = folder.verified() if self.recorded_only else folder.tidied()
        if recorded is not None and recorded.result is not None:
            self._restore(folder, earlier)
            return self._recorded(folder, recorded, recorded.result)
        if self.recorded_only:
            raise OutputVanished(f"{folder.place.uri}: no recorded result of {self.stage}")
        return self._work(folder, earlier)

    def _recorded(
        self, folder: StageFolder, manifest: Manifest, result: StageResult
    ) -> StageResult:
        """Returns a recorded result with what stands beside it: in the manifest, or in the plan."""
        resolved = None
        if self.stage == Stage.PREPARE:
            folder.bring(manifest)
            resolved = resolved_of(plan_in(folder))
        return result.model_copy(
            update={
                "recorded": True,
                "resolved": resolved,
                "results": manifest.results,
                "artifacts": manifest.artifacts,
            }
        )

    def _restore(self, folder: StageFolder, earlier: Mapping[str, StageFolder]) -> None:
        """Puts back what a finished train also left outside its folder: the baseline."""
        if self.stage != Stage.TRAIN:
            return
        key = plan_in(earlier[Stage.PREPARE]).teacher_key
        if key is None or self._folder(TEACHER_FOLDER, key).verified() is not None:
            return
        if self.recorded_only:
            raise OutputVanished(
                f"{folder.place.uri}: the baseline, {TEACHER_FOLDER}-{key}, is gone"
            )
        restore: Callable[[StageContext], None] = _module(self.stage).restore
        # No attempt at this stage, which is finished: only the baseline's folder is written.
        restore(self._context(Attempt(folder, 0, scratch_folder()), earlier))

    def _context(self, work: Attempt, earlier: Mapping[str, StageFolder]) -> StageContext:
        root = output_root(self.experiment)
        return StageContext(self.experiment, root, work, earlier, self.reporter, self.stop)

    def _work(self, folder: StageFolder, earlier: Mapping[str, StageFolder]) -> StageResult:
        started = datetime.now(UTC)
        with folder.attempt() as work:
            with explained(work.path):
                outcome = _implementation(self.stage)(self._context(work, earlier))
            result = StageResult(
                stage=self.stage,
                key=folder.key,
                outcome="Succeeded",
                reason="Completed",
                message=outcome.message,
                manifest_uri=f"{work.uri}/{MANIFEST}",
                digests=dict(outcome.digests),
                headline=dict(outcome.headline),
            )
            work.complete(self._manifest(folder, earlier, outcome, result, started))
        return result.model_copy(
            update={
                "resolved": outcome.resolved,
                "results": outcome.results,
                "artifacts": list(outcome.artifacts),
            }
        )

    def _manifest(
        self,
        folder: StageFolder,
        earlier: Mapping[str, StageFolder],
        outcome: StageOutcome,
        result: StageResult,
        started: datetime,
    ) -> Manifest:
        created = datetime.now(UTC)
        return Manifest(
            stage=self.stage,
            key=folder.key,
            created=created,
            files=[],
            result=result,
            results=outcome.results,
            artifacts=list(outcome.artifacts),
            provenance={
                **stage_provenance(self.experiment, earlier, {} if earlier else outcome.digests),
                "seconds": round((created - started).total_seconds(), 1),
                **outcome.provenance,
            },
            licences=dict(outcome.licences),
        )

    def _locate(self) -> tuple[str, dict[str, StageFolder]]:
        """Returns the stage's key and the verified folders of the stages before it."""
        earlier: dict[str, StageFolder] = {}
        key = stage_key(self.experiment.spec, Stage.PREPARE, None, {})
        for stage in _ORDER:
            if stage == self.stage:
                break
            folder = self._folder(stage, key)
            manifest = folder.required()
            earlier[stage] = folder
            digests = manifest.result.digests if manifest.result else {}
            key = stage_key(self.experiment.spec, _ORDER[_ORDER.index(stage) + 1], key, digests)
        if self.stage == Stage.PACKAGE:
            self._add_teacher(earlier)
        return key, earlier

    def _add_teacher(self, earlier: dict[str, StageFolder]) -> None:
        plan = plan_in(earlier[Stage.PREPARE])
        if plan.teacher_key is not None:
            teacher = self._folder(TEACHER_FOLDER, plan.teacher_key)
            teacher.required()
            earlier[TEACHER_FOLDER] = teacher

    def _folder(self, stage: str, key: str) -> StageFolder:
        return stage_folder(self.experiment, stage, key)


def _implementation(stage: Stage) -> Callable[[StageContext], StageOutcome]:
    run: Callable[[StageContext], StageOutcome] = _module(stage).run
    return run


def _module(stage: Stage) -> ModuleType:
    return import_module(f"{__package__}.{stage}")
