"""Which backend runs a recipe: the one that is asked for, else the native one where it can."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sparse_transfer_api.errors import InputError
from sparse_transfer_api.records import Plan
from sparse_transfer_api.spec import Recipe as RecipeSpec
from sparse_transfer_api.spec import RecipeBackend
from sparse_transfer_runner.neuralmagic.flavour import is_installed, require_sparseml
from sparse_transfer_runner.recipes import SPARSEML, Recipe, parse_recipe
from sparse_transfer_runner.use_cases.protocol import UseCase

_FIELD = "spec.recipe.backend"
_ROWS, _TOKENS = 2, 8
"""Of what a model is tried with; one row alone cannot be normalized by a batch norm."""


def resolved_recipe(
    text: str, asked: RecipeSpec, overrides: Mapping[str, float | None], source: str
) -> Recipe:
    """Reads a recipe for the backend that will run it.

    With ``Auto`` that is the native one wherever it honours the whole recipe, so that the choice
    does not depend on what else is installed.

    Args:
        text: The recipe.
        asked: The user's ``spec.recipe``: backend and arguments.
        overrides: From ``spec.training``.
        source: What to call the recipe in errors.

    Raises:
        InputError: No backend that is here honours the recipe, or the one that is asked for is
            not here.
    """
    if asked.backend == RecipeBackend.SPARSEML:
        require_sparseml(f"{_FIELD}: {asked.backend}")
        return _for_sparseml(text, asked, overrides, source)
    try:
        return parse_recipe(text, asked.args, overrides, source)
    except InputError:
        if asked.backend == RecipeBackend.NATIVE or not is_installed("sparseml"):
            raise
    return _for_sparseml(text, asked, overrides, source)


def require_fitting_recipe(plan: Plan, use: UseCase, model: Path) -> None:
    """Makes sure that a recipe for SparseML fits the model, before anything is trained.

    Args:
        plan: With the resolved recipe.
        use: Builds the model.
        model: The foundation's folder.

    Raises:
        InputError: The recipe names what the model does not have, or leaves one that cannot run.
    """
    if plan.training.backend == SPARSEML:
        from sparse_transfer_runner.neuralmagic.manager import rehearse

        inputs = use.example_inputs(plan, _ROWS, _TOKENS)
        rehearse(plan.training.recipe, use.build(model, plan), inputs)


def backend_notes(recipe: Recipe) -> tuple[str, ...]:
    """Returns what a user should know about the backend of a recipe."""
    if recipe.backend != SPARSEML:
        return ()
    notes = ["the recipe runs on SparseML 1.8.0, whose development has ended"]
    if recipe.pruning is not None and not recipe.pruning.constant:
        notes.append(
            "the recipe prunes while it trains: the mask is taken from the zeros that it ends with"
        )
    if recipe.quantizes:
        notes.append(
            "files round what SparseML rounds to INT8 in Linear layers and convolutions, weights "
            "per output channel; all else stays in floating point in them"
        )
    return tuple(notes)


def _for_sparseml(
    text: str, asked: RecipeSpec, overrides: Mapping[str, float | None], source: str
) -> Recipe:
    from sparse_transfer_runner.neuralmagic.manager import build_manager

    recipe = parse_recipe(text, asked.args, overrides, source, backend=SPARSEML)
    build_manager(recipe.text, source)
    return recipe
