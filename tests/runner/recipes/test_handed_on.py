"""Recipes for SparseML itself: what the native backend does not honour is handed on as it is."""

from __future__ import annotations

import pytest

from sparse_transfer_api.errors import InputError
from sparse_transfer_runner.recipes import SPARSEML, Recipe, parse_recipe
from sparse_transfer_runner.recipes.foreign import ForeignModifier
from sparse_transfer_runner.recipes.known import REFUSED, SPARSEML_ONLY

BEGINNING = """
num_epochs: 4
lr: 0.001
modifiers:
  - !EpochRangeModifier {end_epoch: eval(num_epochs)}
  - !SetLearningRateModifier {learning_rate: eval(lr)}
"""
GRADUAL = """
  - !GMPruningModifier
      params: [re:.*query.weight]
      init_sparsity: 0.5
      final_sparsity: 0.8
      start_epoch: 0
      end_epoch: eval(0.5 * num_epochs)
      update_frequency: 0.1
"""


def read(modifiers: str) -> Recipe:
    return parse_recipe(BEGINNING + modifiers, source="mine.yaml", backend=SPARSEML)


def test_variables_are_substituted_and_fields_kept() -> None:
    recipe = read(GRADUAL)
    (pruning,) = [m for m in recipe.modifiers if isinstance(m, ForeignModifier)]
    assert pruning.to_fields() == {
        "params": ["re:.*query.weight"],
        "init_sparsity": 0.5,
        "final_sparsity": 0.8,
        "start_epoch": 0,
        "end_epoch": 2.0,
        "update_frequency": 0.1,
    }
    assert (pruning.start_epoch, pruning.end_epoch) == (0.0, 2.0)


def test_the_resolved_text_reads_back_as_the_same_recipe() -> None:
    recipe = read(GRADUAL)
    assert parse_recipe(recipe.text, backend=SPARSEML) == recipe


def test_its_mask_is_the_one_that_training_ends_with() -> None:
    pruning = read(GRADUAL).pruning
    assert pruning is not None
    assert not pruning.constant
    assert pruning.params == ("re:.*query.weight",)


def test_a_constant_mask_stays_one() -> None:
    pruning = read("  - !ConstantPruningModifier {params: __ALL_PRUNABLE__}\n").pruning
    assert pruning is not None
    assert pruning.constant


HANDED_ON = {
    "a field of SparseML's alone": "!QuantizationModifier {num_calibration_steps: 4}",
    "a value of SparseML's alone": "!QuantizationModifier {scheme: tensorrt}",
    "a mask that begins later": "!ConstantPruningModifier {params: a, start_epoch: 1}",
    "every layer's output": "!PerLayerDistillationModifier {}",
}


@pytest.mark.parametrize("modifier", HANDED_ON.values(), ids=HANDED_ON)
def test_what_the_native_backend_refuses_of_a_modifier_is_handed_on(modifier: str) -> None:
    with pytest.raises(InputError, match="native backend"):
        parse_recipe(f"{BEGINNING}  - {modifier}\n")
    assert isinstance(read(f"  - {modifier}\n").modifiers[-1], ForeignModifier)


def test_quantization_and_distillation_are_seen_in_what_is_handed_on() -> None:
    quantized = read("  - !QuantizationModifier {num_calibration_steps: 4}\n")
    assert quantized.quantizes
    assert not quantized.distils
    assert read("  - !PerLayerDistillationModifier {}\n").distils


def test_the_highest_learning_rate_is_the_highest_that_is_named() -> None:
    stepwise = "  - !LearningRateModifier {lr_class: ExponentialLR, lr_kwargs: {gamma: 0.9}, "
    recipe = read(f"{stepwise}init_lr: 0.25}}\n")
    assert recipe.peak_learning_rate == 0.25
    assert read(GRADUAL).peak_learning_rate == 0.001


@pytest.mark.parametrize("name", sorted(SPARSEML_ONLY))
def test_a_modifier_that_sparseml_runs_is_handed_on(name: str) -> None:
    assert read(f"  - !{name} {{}}\n").modifiers[-1].name == name


@pytest.mark.parametrize("backend", ["native", SPARSEML])
@pytest.mark.parametrize(("name", "reason"), REFUSED.items())
def test_a_modifier_that_no_backend_runs_is_refused_with_the_reason(
    name: str, reason: str, backend: str
) -> None:
    with pytest.raises(InputError, match=rf"mine.yaml:7: {name} {reason}; no backend runs it"):
        parse_recipe(
            f"{BEGINNING}  - !{name} {{}}\n",
            source="mine.yaml",
            backend=backend,  # type: ignore[arg-type]
        )


def test_an_unknown_modifier_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(InputError) as refused:
        read("  - !GMPrunerModifier {}\n")
    assert "mine.yaml cannot be used by the sparseml backend" in str(refused.value)
    assert "mine.yaml:7: GMPrunerModifier is not a modifier of SparseML 1.8" in str(refused.value)
    assert "did you mean GMPruningModifier?" in str(refused.value)


WRONG = {
    "an epoch that is none": ("!GMPruningModifier {start_epoch: soon}", "start_epoch"),
    "a start after the end": ("!GMPruningModifier {start_epoch: 9}", "not before the end"),
}


@pytest.mark.parametrize(("modifier", "said"), WRONG.values(), ids=WRONG)
def test_epochs_are_checked_whoever_runs_it(modifier: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read(f"  - {modifier}\n")


def test_a_recipe_without_a_learning_rate_is_refused() -> None:
    with pytest.raises(InputError, match="no modifier names a learning rate above 0"):
        parse_recipe("modifiers:\n  - !EpochRangeModifier {end_epoch: 1}\n", backend=SPARSEML)
