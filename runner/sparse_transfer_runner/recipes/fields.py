"""The kinds of values that modifiers' fields take, and how others are refused."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field

from .patterns import check_pattern

OPEN_END = -1.0
"""An ``end_epoch`` that is not stated."""

BACKEND_HINT = "the `sparseml` backend of the neuralmagic flavour runs it"


def only(*allowed: Any, advice: str = BACKEND_HINT) -> AfterValidator:
    """Accepts only the listed values of a field of which the native backend knows no others."""
    listed = " or ".join(str(item) for item in allowed if item is not None)

    def check(value: Any) -> Any:
        if value not in allowed:
            raise ValueError(
                f"{value!r} is not supported by the native backend, only {listed}; {advice}"
            )
        return value

    return AfterValidator(check)


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _from_start(value: float) -> float:
    return max(0.0, value)


# SparseML's stage form says `start` and `end`.
Start = Annotated[
    float,
    Field(ge=-1.0, allow_inf_nan=False, validation_alias=AliasChoices("start_epoch", "start")),
    AfterValidator(_from_start),
]
FromStart = Annotated[Start, only(0.0)]
End = Annotated[
    float,
    Field(ge=-1.0, allow_inf_nan=False, validation_alias=AliasChoices("end_epoch", "end")),
]
NotEnding = Annotated[End, only(OPEN_END, advice="leave it out")]
Epoch = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Patterns = Annotated[
    tuple[Annotated[str, AfterValidator(check_pattern)], ...],
    Field(min_length=1),
    BeforeValidator(_listed),
]
Names = Annotated[tuple[str, ...], BeforeValidator(_listed)]
NoNames = Annotated[tuple[Any, ...], only(())]
NoGroups = Annotated[tuple[int, ...] | None, only(None, ())]
LearningRate = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
Ignored = Annotated[Any, AfterValidator(lambda _: None), Field(exclude=True)]
"""Accepted and forgotten: SparseML does not use it either, or only for its log."""
