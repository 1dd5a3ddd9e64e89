"""A resolved recipe: what a trainer asks, as values and pure functions of the epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeVar

from .fields import OPEN_END
from .foreign import ForeignModifier
from .modifiers import (
    HOLDING,
    ConstantPruningModifier,
    DistillationModifier,
    EpochRangeModifier,
    Modifier,
    PerLayerDistillationModifier,
    SetWeightDecayModifier,
    TrainableParamsModifier,
)
from .patterns import ALL_PRUNABLE, matches
from .quantization import QuantizationModifier
from .schedule import learning_rate_at, schedule_problems
from .yaml_text import TaggedMapping, dump_modifiers

_ROUNDING = 1e-9
"""Epochs; expressions such as ``0.1 * 3 * num_epochs`` may miss the end by a rounding error."""

BackendName = Literal["native", "sparseml"]
NATIVE: Final = "native"
SPARSEML: Final = "sparseml"

ModifierT = TypeVar("ModifierT", bound=Modifier)


@dataclass(frozen=True)
class Pruning:
    """Whose zeros are kept, or made.

    Args:
        params: Patterns of parameter names; ask ``matches`` of ``recipes.patterns``.
        constant: The zeros of the start are kept from the first step to the last; else training
            makes and moves zeros, and the mask is what it ends with.
    """

    params: tuple[str, ...]
    constant: bool = True


@dataclass(frozen=True)
class Recipe:
    """A recipe with every variable substituted; build it with ``parse_recipe``.

    Args:
        modifiers: In the order of the recipe; open ends are made the end of training.
        epochs: How long training lasts, counted from 0.
        text: The same as canonical YAML, without variables; parses to an equal recipe.
        notes: What a user should know about how it is honoured.
        backend: Which runs it.
    """

    modifiers: tuple[Modifier, ...]
    epochs: float
    text: str
    notes: tuple[str, ...] = ()
    backend: BackendName = NATIVE

    @property
    def pruning(self) -> Pruning | None:
        """Whose zeros are kept; None: nobody's."""
        handed_on = self._handed_on("Pruning")
        named = [m.params for m in _of_type(self.modifiers, ConstantPruningModifier)]
        named += [modifier.params or (ALL_PRUNABLE,) for modifier in handed_on]
        params = dict.fromkeys(name for names in named for name in names)
        return Pruning(tuple(params), constant=not handed_on) if params else None

    @property
    def quantizes(self) -> bool:
        """Whether INT8 is learned."""
        return self.quantization is not None or bool(self._handed_on("Quantization"))

    @property
    def distils(self) -> bool:
        """Whether a teacher is followed."""
        own = (self.distillation, self.hidden_distillation)
        return any(own) or bool(self._handed_on("Distillation"))

    @property
    def quantization(self) -> QuantizationModifier | None:
        """How INT8 is learned; None: it is not."""
        return _the(self.modifiers, QuantizationModifier)

    @property
    def distillation(self) -> DistillationModifier | None:
        """How the teacher's logits are learned from; None: they are not."""
        return _the(self.modifiers, DistillationModifier)

    @property
    def hidden_distillation(self) -> PerLayerDistillationModifier | None:
        """How the teacher's hidden states are learned from; None: they are not."""
        return _the(self.modifiers, PerLayerDistillationModifier)

    @property
    def weight_decay(self) -> float | None:
        """The optimizer's weight decay; None where the recipe leaves it to the trainer."""
        modifier = _the(self.modifiers, SetWeightDecayModifier)
        return None if modifier is None else modifier.weight_decay

    @property
    def trainable(self) -> tuple[TrainableParamsModifier, ...]:
        """Overrides of what is trained; where two match, the later one counts."""
        return _of_type(self.modifiers, TrainableParamsModifier)

    @property
    def frozen(self) -> tuple[str, ...]:
        """Patterns of the parameters that some modifier freezes."""
        return tuple(name for m in self.trainable if not m.trainable for name in m.params)

    def is_frozen(self, parameter: str) -> bool:
        """Whether a parameter is not to be trained."""
        verdicts = [m.trainable for m in self.trainable if matches(m.params, parameter)]
        return bool(verdicts) and not verdicts[-1]

    @property
    def peak_learning_rate(self) -> float:
        """The highest learning rate; schedules reach it where one of their parts ends."""
        if self.backend == SPARSEML:
            return max(rate for modifier in self.modifiers for rate in modifier.learning_rates)
        ends = {edge for m in self.modifiers for edge in (m.start_epoch, m.end_epoch)}
        return max(self.learning_rate_at(min(max(end, 0.0), self.epochs)) for end in ends)

    def _handed_on(self, kind: str) -> tuple[ForeignModifier, ...]:
        """Returns the modifiers of a kind that SparseML alone understands."""
        return tuple(m for m in _of_type(self.modifiers, ForeignModifier) if kind in m.name)

    def learning_rate_at(self, epoch: float) -> float:
        """Returns the learning rate after ``epoch`` epochs (0 to ``epochs``, with fraction)."""
        return learning_rate_at(self.modifiers, epoch)

    def quantizes_at(self, epoch: float) -> bool:
        """Whether INT8 arithmetic is emulated at an epoch."""
        return self.quantization is not None and epoch >= self.quantization.start_epoch

    def observes_at(self, epoch: float) -> bool:
        """Whether scales and zero points still follow the activations at an epoch."""
        if self.quantization is None or not self.quantizes_at(epoch):
            return False
        off = self.quantization.observers_off_epoch
        return off is None or epoch < off

    def freezes_batch_norm_at(self, epoch: float) -> bool:
        """Whether batch-norm statistics stand still at an epoch."""
        if self.quantization is None:
            return False
        frozen = self.quantization.freeze_bn_stats_epoch
        return frozen is not None and epoch >= frozen

    def distils_at(self, epoch: float) -> bool:
        """Whether the teacher's logits count at an epoch."""
        return self.distillation is not None and self.distillation.active_at(epoch)

    def distils_hidden_at(self, epoch: float) -> bool:
        """Whether the teacher's hidden states count at an epoch."""
        hidden = self.hidden_distillation
        return hidden is not None and hidden.active_at(epoch)


def build_recipe(modifiers: Sequence[Modifier], backend: BackendName = NATIVE) -> Recipe:
    """Builds a recipe from modifiers in which ``recipe_problems`` finds nothing."""
    epochs = training_epochs(modifiers)
    resolved = tuple(modifier.until(epochs) for modifier in modifiers)
    text = dump_modifiers([TaggedMapping(m.name, m.to_fields()) for m in resolved])
    notes = tuple(note for modifier in resolved for note in modifier.notes())
    return Recipe(resolved, epochs, text, notes if backend == NATIVE else (), backend)


def training_epochs(modifiers: Sequence[Modifier]) -> float:
    """Returns how long training lasts: the epoch range's end, else the last end of any modifier.

    0 where no modifier says it.
    """
    ranges = [m.end_epoch for m in modifiers if isinstance(m, EpochRangeModifier)]
    ends = [end for end in ranges if end != OPEN_END] or [m.end_epoch for m in modifiers]
    return max(0.0, *ends)


def recipe_problems(
    modifiers: Sequence[Modifier], backend: BackendName = NATIVE
) -> list[tuple[Modifier | None, str]]:
    """Returns what makes valid modifiers unusable together, each with the modifier concerned."""
    epochs = training_epochs(modifiers)
    if epochs <= 0:
        return [(None, "training has no length; add an EpochRangeModifier that ends after epoch 0")]
    if backend != NATIVE:
        return _handing_on_problems(modifiers, epochs)
    problems: list[tuple[Modifier | None, str]] = []
    seen: set[type[Modifier]] = set()
    for modifier in modifiers:
        if type(modifier) in _SINGLE and type(modifier) in seen:
            problems.append((modifier, "is given twice; the native backend takes one"))
        seen.add(type(modifier))
        problems += ((modifier, message) for message in _range_problems(modifier, epochs))
    return problems + schedule_problems([m.until(epochs) for m in modifiers])


def _handing_on_problems(
    modifiers: Sequence[Modifier], epochs: float
) -> list[tuple[Modifier | None, str]]:
    """Returns what no backend could make good; SparseML judges the rest."""
    late = [m for m in modifiers if m.start_epoch >= epochs]
    problems: list[tuple[Modifier | None, str]] = [
        (m, f"start_epoch {m.start_epoch:g} is not before the end of training ({epochs:g})")
        for m in late
    ]
    if not any(rate > 0 for modifier in modifiers for rate in modifier.learning_rates):
        problems.append((None, "no modifier names a learning rate above 0"))
    return problems


def _range_problems(modifier: Modifier, epochs: float) -> list[str]:
    start, end = modifier.start_epoch, modifier.end_epoch
    problems = []
    if start >= epochs:
        problems.append(f"start_epoch {start:g} is not before the end of training ({epochs:g})")
    if end > epochs + _ROUNDING:
        problems.append(f"end_epoch {end:g} lies after the end of training ({epochs:g})")
    reason = HOLDING.get(type(modifier))
    if reason and end != OPEN_END and end < epochs - _ROUNDING:
        problems.append(
            f"end_epoch {end:g} lies before the end of training ({epochs:g}), but {reason}; "
            "leave it out"
        )
    return problems


_SINGLE = frozenset(
    {
        EpochRangeModifier,
        QuantizationModifier,
        DistillationModifier,
        PerLayerDistillationModifier,
        SetWeightDecayModifier,
    }
)


def _of_type(modifiers: Sequence[Modifier], kind: type[ModifierT]) -> tuple[ModifierT, ...]:
    return tuple(modifier for modifier in modifiers if isinstance(modifier, kind))


def _the(modifiers: Sequence[Modifier], kind: type[ModifierT]) -> ModifierT | None:
    return next(iter(_of_type(modifiers, kind)), None)
