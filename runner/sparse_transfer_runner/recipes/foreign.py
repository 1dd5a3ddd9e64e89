"""Modifiers that are handed on to SparseML as they are written, for its own manager to run.

Read of them is only what the rest of the runner has to know: which epochs they span, whether they
prune, quantize or distil, and which learning rates they name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import Field

from .modifiers import Modifier

_RATES = ("init_lr", "final_lr", "learning_rate")
_EPOCHS = {"start_epoch": ("start_epoch", "start"), "end_epoch": ("end_epoch", "end")}


class ForeignModifier(Modifier):
    """A modifier of SparseML whose fields are not judged here.

    Args:
        written_name: As behind ``!`` in the recipe.
        fields: As in the recipe, variables substituted.
    """

    written_name: str
    fields: Mapping[str, Any] = Field(default_factory=dict)

    @property
    def name(self) -> str:
        """As in the recipe."""
        return self.written_name

    @property
    def params(self) -> tuple[str, ...]:
        """Patterns of the parameters that it names; none where it names them in another way."""
        named = self.fields.get("params") or ()
        return (named,) if isinstance(named, str) else tuple(map(str, named))

    @property
    def learning_rates(self) -> tuple[float, ...]:
        """The learning rates that it names."""
        found = (self.fields.get(name) for name in _RATES)
        return tuple(float(rate) for rate in found if isinstance(rate, int | float))

    def until(self, epochs: float) -> Self:
        """Returns itself: what an open end means is SparseML's to say."""
        return self

    def to_fields(self) -> dict[str, Any]:
        """Returns its fields as they were written."""
        return dict(self.fields)


def foreign_modifier(name: str, fields: Mapping[str, Any]) -> ForeignModifier:
    """Returns a modifier to be handed on.

    Raises:
        ValidationError: Its epochs are no epochs.
    """
    epochs = {
        field: fields[written]
        for field, names in _EPOCHS.items()
        for written in names
        if written in fields
    }
    return ForeignModifier.model_validate({"written_name": name, "fields": fields, **epochs})
