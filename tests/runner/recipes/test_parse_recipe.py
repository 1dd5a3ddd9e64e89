"""Variables and their precedence, stages, and recipes in the style of published ones."""

from __future__ import annotations

import re

import pytest

from sparse_transfer_api.errors import InputError
from sparse_transfer_runner.recipes import parse_recipe

SIMPLE = """
num_epochs: 4
lr: 1e-3
qat_share: 0.75
unused: 5
modifiers:
  - !EpochRangeModifier
      end_epoch: eval(num_epochs)
  - !LearningRateFunctionModifier
      start_epoch: 0
      end_epoch: eval(num_epochs)
      lr_func: linear
      init_lr: eval(lr)
      final_lr: 0
  - !QuantizationModifier
      start_epoch: eval(qat_share * num_epochs)
"""

BERT_TRANSFER = """
version: 1.1.0
num_epochs: &num_epochs 13
init_lr: 1.5e-4
final_lr: 0
qat_start: &qat_start 8.0
observer_freeze: 12.0
hardness: 1.0
training_modifiers:
  - !EpochRangeModifier
    start_epoch: 0.0
    end_epoch: *num_epochs
  - !LearningRateFunctionModifier
    {lr_func: linear, start_epoch: 0, end_epoch: eval(num_epochs), init_lr: eval(init_lr),
     final_lr: eval(final_lr)}
quantization_modifiers:
  - !QuantizationModifier
      start_epoch: *qat_start
      disable_quantization_observer_epoch: eval(observer_freeze)
      freeze_bn_stats_epoch: eval(observer_freeze)
      quantize_embeddings: 1
      quantize_linear_activations: 0
      exclude_module_types: [LayerNorm, Tanh]
      submodules: [bert.embeddings, bert.encoder, bert.pooler, classifier]
distillation_modifiers:
  - !DistillationModifier
      hardness: eval(hardness)
      temperature: 2.0
      distill_output_keys: [logits]
constant_modifiers:
  - !ConstantPruningModifier
      start_epoch: 0.0
      params: __ALL_PRUNABLE__
regularization_modifiers:
  - !SetWeightDecayModifier {start_epoch: 0.0, weight_decay: 0.01}
"""

RESNET_TRANSFER = """<!-- A licence. -->
---
num_epochs: 10.0
init_lr: 0.0005
quantization_epochs: 6.0

training_modifiers:
  - !EpochRangeModifier
    start_epoch: 0.0
    end_epoch: eval(num_epochs)
  - !LearningRateFunctionModifier
    lr_func: cosine
    start_epoch: 0.0
    end_epoch: eval(num_epochs)
    init_lr: eval(init_lr)
    final_lr: 0.0

sparse_modifiers:
  - !ConstantPruningModifier
    start_epoch: 0.0
    params: __ALL_PRUNABLE__

quantized_modifiers:
  - !QuantizationModifier
    start_epoch: eval(num_epochs - quantization_epochs)
---
# Transfer to other pictures
"""

STAGED = """
final_lr: 0.0
sparse_stage:
  run_type: train
  lr: 2e-4
  end: 3
  sparse_modifiers:
    - !LearningRateFunctionModifier
      {lr_func: linear, start_epoch: 0, end_epoch: eval(end), init_lr: eval(lr),
       final_lr: eval(final_lr)}
    - !ConstantPruningModifier {params: 're:.*weight'}
int8_stage:
  lr: 1e-4
  int8_modifiers:
    - !LearningRateFunctionModifier
      {lr_func: linear, start_epoch: 3, end_epoch: 5, init_lr: eval(lr), final_lr: eval(final_lr)}
    - !LegacyQuantizationModifier {start: 3}
"""


def complaint_about(text: str, **settings: dict[str, object]) -> str:
    with pytest.raises(InputError) as error:
        parse_recipe(text, **settings, source="recipe.yaml")  # type: ignore[arg-type]
    return str(error.value)


def test_a_text_transfer_in_the_published_style_is_read() -> None:
    recipe = parse_recipe(BERT_TRANSFER)
    assert recipe.epochs == 13
    assert recipe.learning_rate_at(6.5) == pytest.approx(0.75e-4)
    assert (recipe.quantizes_at(7.99), recipe.quantizes_at(8)) == (False, True)
    assert (recipe.observes_at(11.99), recipe.observes_at(12)) == (True, False)
    assert recipe.distillation is not None
    assert (recipe.distillation.hardness, recipe.distillation.temperature) == (1.0, 2.0)
    assert recipe.pruning is not None
    assert recipe.pruning.params == ("__ALL_PRUNABLE__",)
    assert recipe.weight_decay == 0.01


def test_an_image_transfer_in_a_markdown_card_is_read() -> None:
    recipe = parse_recipe(RESNET_TRANSFER)
    assert recipe.epochs == 10
    assert recipe.learning_rate_at(5) == pytest.approx(2.5e-4)
    assert recipe.quantization is not None
    assert recipe.quantization.start_epoch == 4


def test_a_staged_recipe_is_read_with_each_stages_own_variables() -> None:
    recipe = parse_recipe(STAGED)
    assert recipe.epochs == 5
    assert recipe.learning_rate_at(0) == 2e-4
    assert recipe.learning_rate_at(3) == 1e-4
    assert recipe.quantizes_at(3)


def test_a_setting_reaches_the_variable_in_every_stage() -> None:
    recipe = parse_recipe(STAGED, args={"lr": 5e-4})
    assert recipe.learning_rate_at(0) == recipe.learning_rate_at(3) == 5e-4


def test_training_settings_win_over_arguments_and_those_over_the_recipe() -> None:
    assert parse_recipe(SIMPLE).epochs == 4
    assert parse_recipe(SIMPLE, {"num_epochs": 8}).epochs == 8
    recipe = parse_recipe(SIMPLE, {"num_epochs": 8, "lr": 0.5}, {"epochs": 2})
    assert (recipe.epochs, recipe.learning_rate_at(0)) == (2, 0.5)
    assert recipe.quantization is not None
    assert recipe.quantization.start_epoch == 1.5


def test_a_training_setting_that_is_not_given_leaves_the_recipes_value() -> None:
    recipe = parse_recipe(SIMPLE, overrides={"epochs": None, "learning_rate": 1e-2})
    assert (recipe.epochs, recipe.learning_rate_at(0)) == (4, 1e-2)


@pytest.mark.parametrize(
    ("setting", "variable", "value"),
    [
        ("epochs", "num_epochs", 7),
        ("epochs", "max_epochs", 7),
        ("learning_rate", "init_lr", 0.2),
        ("learning_rate", "lr", 0.2),
    ],
)
def test_a_training_setting_finds_its_variable(setting: str, variable: str, value: float) -> None:
    own = "num_epochs" if setting == "epochs" else "lr"
    text = re.sub(rf"\b{own}\b", variable, SIMPLE)
    recipe = parse_recipe(text, overrides={setting: value})
    assert value in (recipe.epochs, recipe.learning_rate_at(0))


def test_settings_reach_what_was_written_with_yaml_anchors() -> None:
    recipe = parse_recipe(BERT_TRANSFER, {"qat_start": 4}, {"epochs": 14})
    assert (recipe.epochs, recipe.quantizes_at(4)) == (14, True)


def test_an_argument_may_be_text_or_an_expression() -> None:
    assert parse_recipe(SIMPLE, {"lr": "2e-3"}).learning_rate_at(0) == 2e-3
    assert parse_recipe(SIMPLE, {"lr": "eval(unused / 100)"}).learning_rate_at(0) == 0.05


def test_an_argument_without_a_variable_is_refused_with_the_nearest_one() -> None:
    message = complaint_about(SIMPLE, args={"num_epoch": 3})
    assert "recipe.args.num_epoch: the recipe has no variable `num_epoch`" in message
    assert "did you mean `num_epochs`?" in message
    assert "(the recipe's variables: lr, num_epochs, qat_share, unused)" in message


def test_a_training_setting_without_a_variable_is_refused() -> None:
    text = SIMPLE.replace("eval(lr)", "0.1").replace("lr: 1e-3\n", "")
    message = complaint_about(text, overrides={"learning_rate": 1.0})
    assert "training.learningRate: the recipe has no variable `lr` or `init_lr`" in message


def test_a_setting_that_would_change_nothing_is_refused() -> None:
    message = complaint_about(SIMPLE, args={"unused": 1})
    assert "no modifier uses the recipe's variable `unused`" in message


def test_fewer_epochs_than_the_start_of_quantization_are_refused() -> None:
    message = complaint_about(BERT_TRANSFER, overrides={"epochs": 8})
    assert "QuantizationModifier: start_epoch 8 is not before the end of training (8)" in message
    assert "recipe.yaml:17" in message


@pytest.mark.parametrize("epochs", [0, -3, float("nan"), float("inf")])
def test_a_senseless_length_is_refused(epochs: float) -> None:
    assert "recipe.yaml" in complaint_about(SIMPLE, overrides={"epochs": epochs})


def test_a_variable_that_cannot_be_evaluated_is_refused_though_nothing_uses_it() -> None:
    message = complaint_about(SIMPLE.replace("unused: 5", "unused: eval(missing)"))
    assert "recipe.yaml:5: unused: eval(missing): there is no variable `missing`" in message


def test_the_resolved_text_has_no_variables_left() -> None:
    text = parse_recipe(SIMPLE, overrides={"epochs": 2}).text
    assert "eval" not in text
    assert "num_epochs" not in text
    assert "end_epoch: 2.0" in text


@pytest.mark.parametrize("text", [SIMPLE, BERT_TRANSFER, RESNET_TRANSFER, STAGED])
def test_the_resolved_text_is_the_same_recipe(text: str) -> None:
    recipe = parse_recipe(text)
    assert parse_recipe(recipe.text) == recipe
