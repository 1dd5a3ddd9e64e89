"""What can be asked of upstream work, checked against each other before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sparse_transfer_api.errors import InputError
from sparse_transfer_runner.sparsity.methods import METHODS as ONE_SHOT
from sparse_transfer_runner.sparsity.patterns import Pattern, pattern_named

GRADUAL = "gradual"
METHODS = (*ONE_SHOT, GRADUAL)
AUTO, *_ = PRECISIONS = ("auto", "fp32", "bf16")
UNIFORM, LAYER_ERROR = BUDGETS = ("uniform", "layer-error")

GRADUAL_STEPS = 150
"""Of a gradual pruning that does not say how many."""
LEAST_SPARSITY, MOST_SPARSITY = 0.3, 0.99


@dataclass(frozen=True)
class UpstreamOptions:
    """What to make.

    Args:
        model: Address of the dense parent.
        data: Unlabelled text: a ``.txt`` file with a sentence a line, or ``.jsonl`` with ``text``.
            Or a folder of pictures, whatever folders they lie in: then the model is an image
            classifier or a detector.
        output: Folder to write; it must not exist, or be empty.
        sparsity: Share of the prunable weights to set to zero, 0.3 to 0.99.
        method: ``admm``, ``sparsegpt``, ``wanda`` and ``magnitude`` prune at once, ``gradual`` in
            the course of training.
        pattern: ``unstructured``, or ``block4``: four neighbouring inputs of one output.
        budgets: ``uniform``, or ``layer-error``: more zeros where they cost less error.
        calibration_rows: Sentences or pictures that pruning looks at.
        refine_rounds: Rounds of exchanging kept weights for dropped ones, one-shot methods only.
        block_steps: Steps of tuning each pruned block as a whole, one-shot methods only.
        gradual_steps: Steps in which a gradual pruning reaches its sparsity; default: 150.
        prune_every: Steps between two prunings of a gradual one.
        initial_sparsity: Of the first of them.
        recovery_steps: Steps of distillation after pruning; 0 leaves it to the transfer.
        batch_size: Rows of a step.
        precision: Arithmetic of training steps: ``fp32``, ``bf16``, or ``auto``: what is faster.
        max_length: Tokens; longer sentences are cut.
        image_size: Side of pictures in pixels; default: the model's.
        seed: Of the choice and order of sentences.
        trust_pickle: The model may be a pickle of whole modules, as Ultralytics saves its own, or
            of weights beside plain values; none of their code is run.
        name: The foundation's; default: the output folder's.
        licence: The parent's, where known.
    """

    model: str
    data: Path
    output: Path
    sparsity: float = 0.8
    method: str = "admm"
    pattern: str = "unstructured"
    budgets: str = UNIFORM
    calibration_rows: int = 768
    refine_rounds: int = 0
    block_steps: int = 0
    gradual_steps: int | None = None
    prune_every: int = 10
    initial_sparsity: float = 0.0
    recovery_steps: int = 250
    batch_size: int = 32
    precision: str = AUTO
    max_length: int = 64
    image_size: int | None = None
    seed: int = 0
    trust_pickle: bool = False
    name: str | None = None
    licence: str | None = None

    @property
    def zeros_as(self) -> Pattern:
        """The pattern."""
        return pattern_named(self.pattern)

    @property
    def pruning_steps(self) -> int:
        """Steps of a gradual pruning; 0 for methods that prune at once."""
        if self.method != GRADUAL:
            return 0
        return GRADUAL_STEPS if self.gradual_steps is None else self.gradual_steps

    @property
    def steps(self) -> int:
        """Training steps in all."""
        return self.pruning_steps + self.recovery_steps

    def check(self) -> None:
        """Checks the options against each other and the place.

        Raises:
            InputError: Says which one is wrong, and what is possible.
        """
        if not LEAST_SPARSITY <= self.sparsity <= MOST_SPARSITY:
            raise InputError(
                f"sparsity {self.sparsity} is outside {LEAST_SPARSITY} to {MOST_SPARSITY}; below "
                f"{LEAST_SPARSITY} a model does not count as sparse"
            )
        for what, value, known in (
            ("method", self.method, METHODS),
            ("budgets", self.budgets, BUDGETS),
            ("precision", self.precision, PRECISIONS),
        ):
            if value not in known:
                raise InputError(f"{what} {value!r} is unknown; known: {', '.join(known)}")
        pattern_named(self.pattern)
        self._check_numbers()
        self._check_method()
        if self.output.exists() and (self.output.is_file() or any(self.output.iterdir())):
            raise InputError(
                f"{self.output}: exists already, and nothing is overwritten; "
                "choose another folder or move it away"
            )

    def _check_numbers(self) -> None:
        for least, values in (
            (1, ("calibration_rows", "batch_size", "prune_every", "max_length")),
            (0, ("recovery_steps", "refine_rounds", "block_steps")),
        ):
            for name in values:
                value = getattr(self, name)
                if value < least:
                    words = name.replace("_", " ")
                    raise InputError(f"{words} {value} is too few; at least {least} is needed")

    def _check_method(self) -> None:
        if self.method == GRADUAL:
            self._check_gradual()
        elif self.gradual_steps is not None or self.initial_sparsity:
            raise InputError(
                f"gradual steps and initial sparsity belong to the method {GRADUAL}; "
                f"{self.method} prunes at once (leave them out, or choose {GRADUAL})"
            )

    def _check_gradual(self) -> None:
        if self.refine_rounds or self.block_steps:
            raise InputError(
                "refine rounds and block steps belong to methods that prune at once; "
                f"{GRADUAL} trains the whole model (leave them out, or choose another method)"
            )
        if self.pruning_steps < self.prune_every:
            raise InputError(
                f"gradual steps {self.pruning_steps} are fewer than the {self.prune_every} between "
                "two prunings; give more steps, or prune more often"
            )
        if not 0 <= self.initial_sparsity < self.sparsity:
            raise InputError(
                f"initial sparsity {self.initial_sparsity} is not between 0 and the sparsity "
                f"{self.sparsity} that is to be reached"
            )
