"""What the documents and docstrings show is what works."""

from __future__ import annotations

import inspect
import re
import textwrap
from pathlib import Path

import pytest
import yaml

from sparse_transfer_runner.recipes import default_recipe, parse_recipe
from sparse_transfer_runner.recipes.known import SUPPORTED
from sparse_transfer_runner.recipes.parsing import SETTING_VARIABLES

PAGE = (Path(__file__).parents[3] / "docs" / "recipes.md").read_text("utf-8")


@pytest.mark.parametrize("block", re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL))
def test_a_recipe_in_the_documents_is_one(block: str) -> None:
    recipe = parse_recipe(block)
    assert parse_recipe(recipe.text) == recipe


@pytest.mark.parametrize("block", re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL))
def test_arguments_in_the_documents_fit_the_default_recipe(block: str) -> None:
    arguments = yaml.safe_load(block)["recipe"]["args"]
    assert parse_recipe(default_recipe("text", sparse=True, quantize=True), arguments)


@pytest.mark.parametrize("name", SUPPORTED)
def test_every_supported_modifier_is_documented(name: str) -> None:
    assert f"`{name}`" in PAGE


@pytest.mark.parametrize("setting", SETTING_VARIABLES)
def test_every_variable_that_a_setting_finds_is_documented(setting: str) -> None:
    assert ", ".join(f"`{name}`" for name in SETTING_VARIABLES[setting]) in PAGE


@pytest.mark.parametrize("name", SUPPORTED)
def test_the_example_in_a_modifiers_docstring_works(name: str) -> None:
    example = textwrap.dedent(inspect.getdoc(SUPPORTED[name]).partition("Example::\n")[2])  # type: ignore[union-attr]
    others = ["!EpochRangeModifier {end_epoch: 2}", "!SetLearningRateModifier {learning_rate: 0.1}"]
    needed = [f"  - {other}" for other in others if other.split()[0] not in example]
    text = "\n".join(
        ["num_epochs: 2", "modifiers:", textwrap.indent(example.strip(), "  "), *needed]
    )
    assert SUPPORTED[name] in {type(modifier) for modifier in parse_recipe(text).modifiers}
