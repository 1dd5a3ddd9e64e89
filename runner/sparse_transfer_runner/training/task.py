"""What the baseline and the transfer share: data, use case, and how a run is set up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from sparse_transfer_api.records import Plan, TrainingSettings
from sparse_transfer_runner.output import Attempt
from sparse_transfer_runner.recipes import Recipe
from sparse_transfer_runner.stages.context import StageContext
from sparse_transfer_runner.storage import fetch
from sparse_transfer_runner.use_cases import use_case
from sparse_transfer_runner.use_cases.protocol import EncodedSplit, Preprocessor, UseCase

from .backend import Backend
from .checkpoint import Checkpoints
from .inference import logits_of
from .loop import Phase, TrainingRun

_CHECKPOINT_INTERVAL_SECONDS = 600.0


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
    """

    context: StageContext
    plan: Plan
    use_case: UseCase
    preprocessor: Preprocessor
    train: EncodedSplit
    choice: EncodedSplit
    evaluation: EncodedSplit

    @classmethod
    def load(cls, context: StageContext) -> Task:
        """Reads the plan and encodes the splits."""
        plan = context.plan()
        use = use_case(plan.use_case)
        data: Path = fetch(context.spec.data.uri)
        preprocessor = use.preprocessor(fetch(plan.model.uri))
        train, choice, evaluation = (
            use.load(data, plan, split, preprocessor)
            for split in ("train", "choice", plan.evaluation_split)
        )
        return cls(context, plan, use, preprocessor, train, choice, evaluation)

    def training(
        self,
        phase: Phase,
        model: nn.Module,
        settings: TrainingSettings,
        recipe: Recipe,
        backend: Backend,
        work: Attempt,
    ) -> TrainingRun:
        """Returns a run over the training rows whose checkpoints lie with the attempt."""
        interval = self.context.spec.run_policy.checkpoint_interval_seconds
        return TrainingRun(
            phase=phase,
            model=model,
            data=self.train,
            settings=settings,
            recipe=recipe,
            backend=backend,
            reporter=self.context.reporter,
            checkpoints=Checkpoints(work.checkpoints),
            stop=self.context.stop,
            checkpoint_interval_seconds=interval or _CHECKPOINT_INTERVAL_SECONDS,
            evaluate=lambda: self.metrics_on_choice(model),
        )

    def metrics_on_choice(self, model: nn.Module) -> dict[str, float]:
        """Returns every metric on the choice rows."""
        return self.use_case.metrics(logits_of(model, self.choice), self.choice.targets, self.plan)

    def stop_check(self) -> Callable[[int], None]:
        """Returns a callback that counts steps and ends the stage when it was asked to stop."""

        def check(done: int) -> None:
            self.context.reporter.step(done)
            self.context.raise_if_stopped()

        return check
