"""Bounded, strict types for what users write, and how a field says which stages it decides.

Scalars are strict, so that YAML's ``yes`` is no number and ``3`` no text; every text and list has
a bound, because the API server's rules pay for the longest value that a type allows.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, Strict, StringConstraints
from pydantic_core import PydanticCustomError

from ..base import ApiModel

DECIDES = "decides"
"""Key in a field's ``json_schema_extra``: the stages whose key the field enters."""


def decides(*stages: str, **extra: Any) -> dict[str, Any]:
    """Returns ``json_schema_extra`` for a field that decides these stages.

    Args:
        stages: Of ``prepare``, ``teacher``, ``train`` and ``package``; none for a field that
            changes no result.
        extra: Further schema extensions, ``_`` standing for ``-``.
    """
    return {DECIDES: list(stages), **{key.replace("_", "-"): value for key, value in extra.items()}}


NOTHING = decides()
PREPARE = decides("prepare")
BUDGET = decides("prepare", "teacher")
"""Settings of training: prepare resolves them into the plan, for the baseline too."""
PACKAGE = decides("package")


class Block(ApiModel):
    """A block of the spec; absent blocks are default-constructed."""

    model_config = ConfigDict(protected_namespaces=())


def _strict_string(max_length: int, pattern: str | None = None) -> Any:
    return StringConstraints(strict=True, min_length=1, max_length=max_length, pattern=pattern)


Text = Annotated[str, _strict_string(256)]
LongText = Annotated[str, _strict_string(64 * 1024)]
"""A recipe or a policy written in place."""
Value = Annotated[str, StringConstraints(strict=True, max_length=4096)]
"""The value of an environment variable or annotation; may be empty."""
Revision = Annotated[str, _strict_string(128)]
Uri = Annotated[str, _strict_string(1024, r"^[a-z][a-z0-9+.-]*:.+$")]
DnsLabel = Annotated[str, _strict_string(63, r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
DnsSubdomain = Annotated[
    str, _strict_string(253, r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
]
Name = Annotated[str, _strict_string(40, r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
"""Of an experiment: short enough that no derived name is ever cut."""
LabelKey = Annotated[str, _strict_string(317)]
LabelValue = Annotated[
    str,
    StringConstraints(
        strict=True, max_length=63, pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"
    ),
]

Flag = Annotated[bool, Strict()]
Count = Annotated[int, Strict(), Field(ge=1, le=1_000_000_000)]
Seconds = Annotated[int, Strict(), Field(ge=0, le=315_360_000)]
"""Up to ten years."""
Level = Annotated[float, Strict(), Field(ge=0, le=1, allow_inf_nan=False)]
Number = Annotated[float, Strict(), Field(allow_inf_nan=False)]


def _quantity(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, float):
        raise PydanticCustomError(
            "quantity_float", "write it in quotes, such as '{v}'", {"v": value}
        )
    return value


Quantity = Annotated[
    str,
    BeforeValidator(_quantity),
    _strict_string(32, r"^[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+|[kMGTPE]i?|Ki|m|u|n)?$"),
    Field(json_schema_extra={"x-kubernetes-int-or-string": True}),
]
"""An amount as Kubernetes writes it, such as ``500m``, ``2`` or ``16Gi``; not negative."""
