"""The packaged recipes: complete, tunable in every figure, and what the design says."""

from __future__ import annotations

import pytest

from sparse_transfer_api.errors import InputError
from sparse_transfer_runner.recipes import baseline_recipe, default_recipe, parse_recipe
from sparse_transfer_runner.recipes.defaults import FAMILIES
from sparse_transfer_runner.recipes.yaml_document import read_document

FORMS = [
    (family, sparse, quantize)
    for family in FAMILIES
    for sparse in (True, False)
    for quantize in (True, False)
]


@pytest.mark.parametrize(("family", "sparse", "quantize"), FORMS)
def test_a_default_recipe_does_what_its_form_says(
    family: str, sparse: bool, quantize: bool
) -> None:
    recipe = parse_recipe(default_recipe(family, sparse=sparse, quantize=quantize))
    assert (recipe.pruning is not None) is sparse
    assert (recipe.quantization is not None) is quantize
    assert recipe.notes == ()
    assert parse_recipe(recipe.text) == recipe


@pytest.mark.parametrize(("family", "sparse", "quantize"), FORMS)
def test_every_variable_of_a_default_recipe_can_be_set(
    family: str, sparse: bool, quantize: bool
) -> None:
    text = default_recipe(family, sparse=sparse, quantize=quantize)
    for name, located in read_document(text, "default").variables.items():
        assert parse_recipe(text, {name: located.value}) == parse_recipe(text)


@pytest.mark.parametrize(("family", "sparse", "quantize"), FORMS)
def test_training_settings_stretch_a_default_recipe(
    family: str, sparse: bool, quantize: bool
) -> None:
    text = default_recipe(family, sparse=sparse, quantize=quantize)
    usual = parse_recipe(text)
    longer = parse_recipe(text, overrides={"epochs": 3 * usual.epochs, "learning_rate": 1e-5})
    assert longer.epochs == 3 * usual.epochs
    peak = max(longer.learning_rate_at(longer.epochs * share / 100) for share in range(101))
    assert peak == pytest.approx(1e-5)
    for share in (0.1, 0.39, 0.41, 0.74, 0.76, 0.96):
        assert longer.quantizes_at(share * longer.epochs) == usual.quantizes_at(
            share * usual.epochs
        )
        assert longer.observes_at(share * longer.epochs) == usual.observes_at(share * usual.epochs)


def test_a_sparse_text_transfer_quantizes_in_its_last_quarter() -> None:
    recipe = parse_recipe(default_recipe("text", sparse=True, quantize=True))
    starts = [recipe.quantizes_at(share * recipe.epochs) for share in (0.74, 0.75, 1)]
    observes = [recipe.observes_at(share * recipe.epochs) for share in (0.75, 0.94, 0.96)]
    assert (starts, observes) == ([False, True, True], [True, True, False])


def test_a_text_transfer_learns_from_the_baseline_with_its_embeddings_frozen() -> None:
    recipe = parse_recipe(default_recipe("text", sparse=True, quantize=True))
    assert recipe.distils_at(0)
    assert recipe.hidden_distillation is None
    assert recipe.is_frozen("bert.embeddings.word_embeddings.weight")
    assert not recipe.is_frozen("bert.embeddings.LayerNorm.weight")
    assert not recipe.is_frozen("bert.encoder.layer.0.output.dense.weight")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_baseline_is_plain_training(family: str) -> None:
    recipe = parse_recipe(baseline_recipe(family))
    assert recipe.pruning is None
    assert recipe.quantization is None
    assert recipe.distillation is None
    assert recipe.hidden_distillation is None
    assert recipe.frozen == ()
    assert baseline_recipe(family) == default_recipe(family, sparse=False, quantize=False)


def test_a_warm_up_may_be_left_out() -> None:
    recipe = parse_recipe(baseline_recipe("text"), {"warmup_share": 0})
    assert recipe.learning_rate_at(0) == max(recipe.learning_rate_at(e / 10) for e in range(20))


def test_a_family_without_recipes_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"only for detection, image, segmentation, text; give one in recipe\.uri"
    ):
        default_recipe("sound", sparse=True, quantize=True)
