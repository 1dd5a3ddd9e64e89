"""Resolving everything that decides a training run: no setting is left to a default.

Precedence: ``spec.training`` > ``spec.recipe.args`` > the recipe. The recipe is the user's, else
the catalogue's for the foundation, else the packaged one for the treatment. Which backend runs it
is decided in ``backends``.
"""

from __future__ import annotations

import math

from sparse_transfer_api.errors import InputError
from sparse_transfer_api.records import TrainingSettings
from sparse_transfer_api.spec import SparseTransferSpec
from sparse_transfer_runner.catalog.reading import load_catalog
from sparse_transfer_runner.catalog.resolution import resolve_recipe
from sparse_transfer_runner.catalog.stubs import ZOO, parse_stub
from sparse_transfer_runner.recipes import (
    NATIVE,
    Recipe,
    baseline_recipe,
    default_recipe,
    parse_recipe,
)
from sparse_transfer_runner.storage import fetch
from sparse_transfer_runner.storage.addresses import shown

from .backends import resolved_recipe

BASELINE_RECIPE = "the baseline's recipe"
"""Where the baseline's recipe comes from: it is packaged."""


def transfer_recipe(
    spec: SparseTransferSpec, family: str, *, sparse: bool, quantize: bool, catalogued: str | None
) -> tuple[Recipe, str]:
    """Returns the recipe of the transfer, and where it came from.

    Args:
        spec: The user's spec.
        family: ``text`` or ``image``.
        sparse: The foundation has zeros to be kept.
        quantize: The level asks for INT8.
        catalogued: Address of the catalogue's recipe for the foundation.

    Raises:
        InputError: The recipe cannot be read or used, or drops the zeros it should keep.
        AccessError: It is not where it should be.
    """
    text, source = _recipe_text(spec, catalogued)
    if text is None:
        text = default_recipe(family, sparse=sparse, quantize=quantize)
    overrides = {"epochs": spec.training.epochs, "learning_rate": spec.training.learning_rate}
    recipe = resolved_recipe(text, spec.recipe, overrides, source)
    if sparse and recipe.pruning is None:
        raise InputError(
            f"{source}: keeps no zeros, so that the sparse foundation would become dense; add a "
            "ConstantPruningModifier with params __ALL_PRUNABLE__, or leave spec.recipe out"
        )
    return recipe, source


def dense_recipe(spec: SparseTransferSpec, family: str) -> Recipe:
    """Returns the recipe of the dense baseline: packaged, with the transfer's budget.

    The learning rate is the packaged one, which suits a dense model; the user's is the transfer's,
    and the baseline's at level 0 alone, where it is the product.

    Raises:
        InputError: A setting does not fit it.
    """
    overrides = {"epochs": spec.training.epochs}
    if spec.optim_level == 0:
        overrides["learning_rate"] = spec.training.learning_rate
    return parse_recipe(baseline_recipe(family), {}, overrides, BASELINE_RECIPE)


def refuse_recipe_at_level_zero(spec: SparseTransferSpec) -> None:
    """Refuses a recipe where the product is the dense baseline, which every level shares.

    Raises:
        InputError: There is one, or the model's identifier asks for one.
    """
    asking = _asking_for_a_recipe(spec)
    if asking is not None:
        raise InputError(
            f"{asking}: a recipe has no effect at level 0, where the dense baseline is the product;"
            " leave it out, or choose a level above 0 (spec.training works at every level)"
        )


def settings_of(
    recipe: Recipe, spec: SparseTransferSpec, *, batch_size: int, precision: str
) -> TrainingSettings:
    """Returns the settings of one training run.

    Args:
        recipe: Resolved.
        spec: The user's spec.
        batch_size: Rows of an optimizer step.
        precision: ``fp32``, ``bf16`` or ``fp16``.
    """
    return TrainingSettings.model_validate(
        {
            "epochs": recipe.epochs,
            "learning_rate": recipe.peak_learning_rate,
            "batch_size": batch_size,
            "seed": spec.training.seed,
            "precision": precision,
            "max_train_samples": spec.data.max_train_samples,
            "recipe": recipe.text,
            "backend": None if recipe.backend == NATIVE else recipe.backend,
        }
    )


def steps(settings: TrainingSettings, rows: int) -> int:
    """Returns the optimizer steps of a run over so many training rows."""
    return max(1, round(settings.epochs * math.ceil(rows / settings.batch_size)))


def _asking_for_a_recipe(spec: SparseTransferSpec) -> str | None:
    if spec.recipe.uri or spec.recipe.inline or spec.recipe.args:
        return "spec.recipe"
    uri = spec.model.uri or ""
    if uri.startswith(ZOO) and parse_stub(uri).recipe_type is not None:
        return f"spec.model.uri: {uri}"
    return None


def _recipe_text(spec: SparseTransferSpec, catalogued: str | None) -> tuple[str | None, str]:
    if spec.recipe.inline is not None:
        return spec.recipe.inline, "spec.recipe.inline"
    uri = spec.recipe.uri or catalogued
    if uri is None:
        return None, "the default recipe"
    if uri.startswith(ZOO):
        uri = resolve_recipe(uri, load_catalog())
    path = fetch(uri)
    try:
        return path.read_text("utf-8"), shown(uri)
    except (UnicodeDecodeError, IsADirectoryError) as error:
        raise InputError(f"{shown(uri)}: not a recipe file (expected YAML in UTF-8)") from error
