"""The modifiers that the native backend honours, one model each, with SparseML 1.8's field names.

A model accepts what can be kept; a field or a value that cannot be is refused by name, because a
recipe that is followed in part gives a result that it does not describe. Epochs are floats.
``-1`` means "from the start" as a start and "until training ends" as an end.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from .fields import (
    BACKEND_HINT,
    OPEN_END,
    End,
    FromStart,
    Ignored,
    LearningRate,
    NoGroups,
    NoNames,
    NotEnding,
    Patterns,
    Start,
    only,
)

LOGITS = (0, "logits", "start_logits", "end_logits")
"""How a recipe may call the outputs of which there is a loss against a teacher's."""


class Modifier(BaseModel):
    """What all modifiers share: an active range of epochs."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    start_epoch: Start = 0.0
    end_epoch: End = OPEN_END

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> Self:
        if self.end_epoch != OPEN_END and self.end_epoch < self.start_epoch:
            raise ValueError(
                f"end_epoch {self.end_epoch:g} lies before start_epoch {self.start_epoch:g}"
            )
        return self

    @property
    def name(self) -> str:
        """Its class name, as behind ``!`` in a recipe."""
        return type(self).__name__

    @property
    def learning_rates(self) -> tuple[float, ...]:
        """The learning rates that it names."""
        return ()

    def active_at(self, epoch: float) -> bool:
        """Whether the epoch lies in ``[start_epoch, end_epoch)``; an open end is never reached."""
        return self.start_epoch <= epoch and (self.end_epoch == OPEN_END or epoch < self.end_epoch)

    def until(self, epochs: float) -> Self:
        """Returns itself with an open end made the end of training."""
        if self.end_epoch != OPEN_END:
            return self
        return self.model_copy(update={"end_epoch": epochs})

    def to_fields(self) -> dict[str, Any]:
        """Returns what its YAML states: every field that is not None."""
        fields = self.model_dump(mode="json")
        return {name: value for name, value in fields.items() if value is not None}

    def notes(self) -> tuple[str, ...]:
        """Returns what a user should know about how it is honoured."""
        return ()


class EpochRangeModifier(Modifier):
    """Says how long training lasts.

    Example::

        - !EpochRangeModifier
            start_epoch: 0.0
            end_epoch: eval(num_epochs)
    """

    start_epoch: FromStart = 0.0


class ConstantPruningModifier(Modifier):
    """Keeps the zeros of the starting weights, for the whole of training.

    Example::

        - !ConstantPruningModifier
            params: __ALL_PRUNABLE__
    """

    start_epoch: FromStart = 0.0
    params: Patterns = Field(validation_alias=AliasChoices("params", "targets"))
    update_frequency: Ignored = None


class DistillationModifier(Modifier):
    """Learns from the teacher's logits.

    The loss is ``(1 - hardness) * task + hardness * T² * KL(teacher ‖ student)`` over softmaxes at
    temperature ``T``, as in SparseML; Hinton et al. 2015, arXiv:1503.02531.

    Example::

        - !DistillationModifier
            hardness: 0.9
            temperature: 2.0
    """

    hardness: float = Field(0.5, ge=0.0, le=1.0, allow_inf_nan=False)
    temperature: float = Field(2.0, gt=0.0, allow_inf_nan=False)
    distill_output_keys: tuple[str | int, ...] = ()
    teacher_input_keys: NoNames = ()
    update_frequency: Annotated[float, only(-1.0)] = Field(-1.0, exclude=True)

    @field_validator("distill_output_keys", "teacher_input_keys", mode="before")
    @classmethod
    def _absent_means_all(cls, value: Any) -> Any:
        return () if value is None else value

    @field_validator("distill_output_keys")
    @classmethod
    def _logits_only(cls, keys: tuple[str | int, ...]) -> tuple[str | int, ...]:
        for key in keys:
            if key not in LOGITS:
                raise ValueError(
                    f"{key!r} is not supported by the native backend, which distils logits "
                    f"(one of {', '.join(map(str, LOGITS))}); {BACKEND_HINT}"
                )
        return keys


class PerLayerDistillationModifier(Modifier):
    r"""Learns from the teacher's hidden states: the outputs of named layers.

    Each layer adds ``gain * mean((student - teacher)²)``, divided by ``mean(teacher²) + epsilon``
    when ``normalize`` is set. Student and teacher have the same shape, so nothing is projected.
    Beyond SparseML's exact names, ``re:`` expressions are accepted, so that a recipe fits models
    of any depth.

    Example::

        - !PerLayerDistillationModifier
            gain: 1.0
            project_features: False
            student_layer_names: ['re:.*\.layer\.\d+$']
    """

    gain: float = Field(1.5, ge=0.0, allow_inf_nan=False)
    normalize: bool = True
    epsilon: float = Field(1e-6, ge=0.0, allow_inf_nan=False)
    student_layer_names: Patterns | None = None
    teacher_layer_names: Patterns | None = None
    project_features: Annotated[bool, only(False)] = False
    update_frequency: Annotated[float, only(-1.0)] = Field(-1.0, exclude=True)

    @model_validator(mode="after")
    def _names_its_layers(self) -> Self:
        names = self.student_layer_names or self.teacher_layer_names
        if names is None:
            raise ValueError(
                "say in student_layer_names which layers; distilling every Linear and Conv layer, "
                f"as without names, is not supported by the native backend; {BACKEND_HINT}"
            )
        if self.teacher_layer_names not in (None, names):
            raise ValueError(
                "student_layer_names and teacher_layer_names differ; the native backend pairs "
                f"layers of the same name; {BACKEND_HINT}"
            )
        return self

    @property
    def layers(self) -> tuple[str, ...]:
        """Patterns of the modules whose outputs are hidden states."""
        return self.student_layer_names or self.teacher_layer_names or ()


class SetLearningRateModifier(Modifier):
    """Sets the learning rate from an epoch on.

    Example::

        - !SetLearningRateModifier
            start_epoch: 0.0
            learning_rate: 1.0e-4
    """

    end_epoch: NotEnding = OPEN_END
    learning_rate: Annotated[LearningRate, Field(gt=0.0)]
    param_groups: NoGroups = None
    constant_logging: Ignored = None

    @property
    def learning_rates(self) -> tuple[float, ...]:
        """The one that it sets."""
        return (self.learning_rate,)

    def until(self, epochs: float) -> Self:
        """Returns itself: it has no end."""
        return self


class LearningRateFunctionModifier(Modifier):
    """Moves the learning rate between two values; a warm-up is a linear one that starts at 0.

    One that ends where it starts does nothing, so that a warm-up can be set to no length.

    Example::

        - !LearningRateFunctionModifier
            start_epoch: 0.0
            end_epoch: eval(num_epochs)
            lr_func: linear
            init_lr: 4.0e-4
            final_lr: 0.0
    """

    lr_func: Literal["linear", "cosine", "cyclic_linear"]
    init_lr: LearningRate
    final_lr: LearningRate
    cycle_epochs: float = Field(1.0, gt=0.0, allow_inf_nan=False)
    param_groups: NoGroups = None
    update_frequency: Annotated[float, only(-1.0)] = Field(-1.0, exclude=True)
    constant_logging: Ignored = None

    @property
    def learning_rates(self) -> tuple[float, ...]:
        """Where it starts and where it ends."""
        return (self.init_lr, self.final_lr)


class SetWeightDecayModifier(Modifier):
    """Sets the optimizer's weight decay for the whole of training.

    Example::

        - !SetWeightDecayModifier
            weight_decay: 0.01
    """

    start_epoch: FromStart = 0.0
    end_epoch: NotEnding = OPEN_END
    weight_decay: float = Field(ge=0.0, allow_inf_nan=False)
    param_groups: NoGroups = None
    constant_logging: Ignored = None

    def until(self, epochs: float) -> Self:
        """Returns itself: it has no end."""
        return self


class TrainableParamsModifier(Modifier):
    r"""Freezes parameters, or lets them train, for the whole of training.

    Example::

        - !TrainableParamsModifier
            params: ['re:.*_embeddings\.weight']
            trainable: False
            params_strict: False
    """

    start_epoch: FromStart = 0.0
    params: Patterns
    trainable: bool
    params_strict: bool = True


HOLDING: Mapping[type[Modifier], str] = MappingProxyType(
    {
        ConstantPruningModifier: "zeros are kept to the end",
        TrainableParamsModifier: "parameters are frozen for all of training",
    }
)
"""Modifiers whose end must be the end of training, with the reason."""
