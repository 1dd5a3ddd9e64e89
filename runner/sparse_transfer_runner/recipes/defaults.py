"""The recipes that are used where an experiment brings none; packaged YAML files."""

from __future__ import annotations

from importlib.resources import files

from sparse_transfer_api.errors import InputError

FAMILIES = ("detection", "image", "segmentation", "text")
_LIKE = {"segmentation": "detection"}
"""Families that train by another one's recipes."""


def default_recipe(family: str, *, sparse: bool, quantize: bool) -> str:
    """Returns the text of the recipe for a transfer.

    Args:
        family: as a use case states it.
        sparse: The foundation's zeros are to be kept.
        quantize: The product is INT8. With neither, the recipe is the baseline's.

    Raises:
        InputError: There are no recipes for such a family.
    """
    if not sparse and not quantize:
        return baseline_recipe(family)
    form = f"{'sparse' if sparse else 'dense'}{'-int8' if quantize else ''}"
    return _read(family, form)


def baseline_recipe(family: str) -> str:
    """Returns the text of the recipe for the dense fp32 baseline.

    Raises:
        InputError: There are no recipes for such a family.
    """
    return _read(family, "baseline")


def _read(family: str, form: str) -> str:
    if family not in FAMILIES:
        raise InputError(
            f"no default recipes for {family!r} models, only for {', '.join(FAMILIES)}; "
            "give one in recipe.uri or recipe.inline"
        )
    return (
        files(__package__)
        .joinpath("data", f"{_LIKE.get(family, family)}-{form}.yaml")
        .read_text("utf-8")
    )
