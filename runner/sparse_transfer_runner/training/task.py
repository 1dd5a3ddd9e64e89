"""What the baseline and the transfer share: data, use case, and how a run is set up."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from sparse_transfer_api.records import Plan, TrainingSettings
from sparse_transfer_runner.data.recorded import recorded_data
from sparse_transfer_runner.output import Attempt
from sparse_transfer_runner.recipes import Recipe
from sparse_transfer_runner.stages.context import StageContext
from sparse_transfer_runner.storage import fetch
from sparse_transfer_runner.use_cases import use_case
from sparse_transfer_runner.use_cases.protocol import (
    EncodedSplit,
    Preprocessor,
    TrainsItself,
    UseCase,
)

from .backend import Backend
from .backoff import Backoff
from .checkpoint import Checkpoints, Interval
from .checkpoint_files import CheckpointFolder
from .inference import logits_of
from .loop import TrainingRun
from .stepped_run import Phase, SteppedRun


@dataclass(frozen=True)
class Task:
    """One experiment's task, loaded.

    Args:
        context: The train stage's.
        plan: What prepare decided.
        use_case: The kind of task.
        preprocessor: The foundation's; baseline and transfer see the same inputs.
        train: The rows to train on.
        choice: The rows on which choices are made and curves are drawn.
        evaluation: The rows that are reported on.
        backoff: How far batches are taken apart, for want of memory; baseline and transfer share
            it.
    """

    context: StageContext
    plan: Plan
    use_case: UseCase
    preprocessor: Preprocessor
    train: EncodedSplit
    choice: EncodedSplit
    evaluation: EncodedSplit
    backoff: Backoff

    @classmethod
    def load(cls, context: StageContext, backoff: Backoff) -> Task:
        """Reads the plan and encodes the splits.

        Raises:
            InputError: The data is not what prepare checked.
        """
        plan = context.plan()
        use = use_case(plan.use_case)
        data = recorded_data(plan.data_uri or context.spec.data.uri, plan)
        preprocessor = use.preprocessor(fetch(plan.model.uri), plan)
        train, choice, evaluation = (
            use.load(data, plan, split, preprocessor)
            for split in ("train", "choice", plan.evaluation_split)
        )
        return cls(context, plan, use, preprocessor, train, choice, evaluation, backoff)

    def checkpoints(self, phase: Phase, settings: TrainingSettings, work: Attempt) -> Checkpoints:
        """Returns the checkpoints of a run, which lie with the attempt's folder."""
        policy = self.context.spec.run_policy
        folder = CheckpointFolder(
            work.checkpoints, work.number, self._deciding(phase, settings), work.require_newest
        )
        interval = Interval(policy.checkpoint_interval_seconds, policy.checkpoint_interval_steps)
        return Checkpoints(folder, interval)

    def _deciding(self, phase: Phase, settings: TrainingSettings) -> dict[str, Any]:
        """Returns all that decides a run, so that none goes on from another's checkpoint."""
        source = self.plan.dense if phase == "baseline" else self.plan.model
        return {
            # The native backend is left unsaid, as in checkpoints from before there were two.
            **settings.model_dump(mode="json", exclude=None if settings.backend else {"backend"}),
            "recipe": hashlib.sha256(settings.recipe.encode()).hexdigest(),
            "phase": phase,
            "model": source.digest if source is not None else None,
            "data": self.plan.data_digest,
        }

    def training(
        self,
        phase: Phase,
        model: nn.Module,
        settings: TrainingSettings,
        recipe: Recipe,
        backend: Backend,
        checkpoints: Checkpoints,
    ) -> SteppedRun:
        """Returns a run over the training rows."""
        run: dict[str, Any] = {
            "phase": phase,
            "model": model,
            "data": self.train,
            "settings": settings,
            "recipe": recipe,
            "backend": backend,
            "reporter": self.context.reporter,
            "checkpoints": checkpoints,
            "stop": self.context.stop,
            "evaluate": lambda look: self.metrics_on_choice(model, look),
            "backoff": self.backoff,
        }
        use = self.use_case
        return use.training_run(**run) if isinstance(use, TrainsItself) else TrainingRun(**run)

    def metrics_on_choice(self, model: nn.Module, look: Callable[[], None]) -> dict[str, float]:
        """Returns every metric on the choice rows; looks between two batches."""
        logits = logits_of(model, self.choice, on_batch=lambda _: look())
        return dict(self.use_case.score(logits, self.choice, self.plan).metrics)

    def stop_check(self) -> Callable[[int], None]:
        """Returns a callback that counts steps and ends the stage when it was asked to stop."""

        def check(done: int) -> None:
            self.context.reporter.step(done)
            self.context.raise_if_stopped()

        return check
