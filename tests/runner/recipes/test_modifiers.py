"""What of each modifier is honoured, and what is refused by name."""

from __future__ import annotations

import pytest

from sparse_transfer_api.errors import InputError
from sparse_transfer_runner.recipes import QuantizationModifier, Recipe, parse_recipe

BASE = """
training_modifiers:
  - !EpochRangeModifier {start_epoch: 0, end_epoch: 4}
  - !SetLearningRateModifier {start_epoch: 0, learning_rate: 0.1}
more_modifiers:
"""
BACKEND = "the `sparseml` backend of the neuralmagic flavour runs it"


def with_modifier(modifier: str) -> Recipe:
    return parse_recipe(f"{BASE}  - {modifier}\n", source="recipe.yaml")


def quantization(fields: str) -> QuantizationModifier:
    modifier = with_modifier(f"!QuantizationModifier {{{fields}}}").quantization
    assert modifier is not None
    return modifier


REFUSED = {
    "a typing mistake in a name": (
        "!QuantisationModifier {}",
        "did you mean QuantizationModifier?",
    ),
    "gradual pruning": (
        "!GMPruningModifier {}",
        "GMPruningModifier is not supported by the native",
    ),
    "a stepwise learning rate": (
        "!LearningRateModifier {}",
        "(nearest: SetLearningRateModifier;",
    ),
    "an unknown field": (
        "!ConstantPruningModifier {params: __ALL__, parms: x}",
        "ConstantPruningModifier.parms: not a field that the native backend knows; did you mean "
        "`params`?",
    ),
    "a field of SparseML's alone": (
        "!ConstantPruningModifier {params: __ALL__, xyz: 1}",
        f"if SparseML has it, {BACKEND}",
    ),
    "a missing field": ("!ConstantPruningModifier {}", "ConstantPruningModifier.params: Field"),
    "no parameters": ("!ConstantPruningModifier {params: []}", "at least 1 item"),
    "an empty parameter": ("!ConstantPruningModifier {params: ['']}", "matches nothing"),
    "a broken pattern": (
        "!ConstantPruningModifier {params: ['re:(']}",
        "ConstantPruningModifier.params.0: 're:(' is not a regular expression",
    ),
    "a mask taken late": (
        "!ConstantPruningModifier {params: __ALL__, start_epoch: 1}",
        "ConstantPruningModifier.start_epoch: 1.0 is not supported by the native backend, only 0.0",
    ),
    "zeros given up early": (
        "!ConstantPruningModifier {params: __ALL__, end_epoch: 3}",
        "but zeros are kept to the end; leave it out",
    ),
    "freezing for a while": (
        "!TrainableParamsModifier {params: __ALL__, trainable: False, end_epoch: 2}",
        "but parameters are frozen for all of training",
    ),
    "an end before the start": (
        "!DistillationModifier {start_epoch: 3, end_epoch: 2}",
        "DistillationModifier: end_epoch 2 lies before start_epoch 3",
    ),
    "an end after training": (
        "!DistillationModifier {end_epoch: 5}",
        "after the end of training (4)",
    ),
    "a start after training": (
        "!DistillationModifier {start_epoch: 4}",
        "DistillationModifier: start_epoch 4 is not before the end of training (4)",
    ),
    "quantizing after training": (
        "!QuantizationModifier {start_epoch: 4}",
        "QuantizationModifier: start_epoch 4 is not before the end of training (4)",
    ),
    "two distillations": (
        "!DistillationModifier {}\n  - !DistillationModifier {}",
        "DistillationModifier: is given twice",
    ),
    "a hardness above 1": (
        "!DistillationModifier {hardness: 1.5}",
        "DistillationModifier.hardness: Input should be less than or equal to 1, not 1.5",
    ),
    "no temperature": ("!DistillationModifier {temperature: 0}", "greater than 0"),
    "a value that is no number": ("!DistillationModifier {temperature: .nan}", "finite number"),
    "distilling other outputs": (
        "!DistillationModifier {distill_output_keys: [attentions]}",
        f"'attentions' is not supported by the native backend, which distils logits (one of 0, "
        f"logits, start_logits, end_logits); {BACKEND}",
    ),
    "other inputs for the teacher": (
        "!DistillationModifier {teacher_input_keys: [input_ids]}",
        "teacher_input_keys",
    ),
    "hidden states of every layer": (
        "!PerLayerDistillationModifier {}",
        "student_layer_names which",
    ),
    "hidden states of other layers": (
        "!PerLayerDistillationModifier {student_layer_names: [a], teacher_layer_names: [b]}",
        "pairs layers of the same name",
    ),
    "projected hidden states": (
        "!PerLayerDistillationModifier {student_layer_names: [a], project_features: True}",
        "project_features: True is not supported",
    ),
    "a rate for one group": (
        "!SetLearningRateModifier {learning_rate: 0.1, param_groups: [1]}",
        "param_groups: (1,) is not supported",
    ),
    "a rate of zero": (
        "!SetLearningRateModifier {learning_rate: 0}",
        "SetLearningRateModifier.learning_rate: Input should be greater than 0, not 0",
    ),
    "a negative rate": (
        "!LearningRateFunctionModifier {lr_func: linear, init_lr: -1, final_lr: 0, end_epoch: 4}",
        "init_lr: Input should be greater than or equal to 0, not -1",
    ),
    "an unknown function": (
        "!LearningRateFunctionModifier {lr_func: cubic, init_lr: 1, final_lr: 0, end_epoch: 4}",
        "lr_func: Input should be 'linear', 'cosine' or 'cyclic_linear', not 'cubic'",
    ),
    "late weight decay": (
        "!SetWeightDecayModifier {weight_decay: 0.1, start_epoch: 1}",
        "only 0.0",
    ),
    "an end of quantization": ("!QuantizationModifier {end_epoch: 3}", "only -1.0; leave it out"),
    "observers off too early": (
        "!QuantizationModifier {start_epoch: 2, disable_quantization_observer_epoch: 1}",
        "disable_quantization_observer_epoch 1 lies before start_epoch 2",
    ),
    "four bits": (
        "!QuantizationModifier {scheme: {weights: {num_bits: 4, symmetric: True}}}",
        "only 8",
    ),
    "four bits, older form": ("!QuantizationModifier {weight_bits: 4}", "weight_bits: 4 is not"),
    "asymmetric weights": (
        "!QuantizationModifier {scheme: {weights: {symmetric: False}}}",
        "QuantizationModifier.scheme: weights: the native backend quantizes them symmetrically",
    ),
    "symmetric inputs": (
        "!QuantizationModifier {scheme: {input_activations: {symmetric: True}}}",
        "asymmetrically per tensor",
    ),
    "inputs by channel": (
        "!QuantizationModifier {scheme: {input_activations: {strategy: channel}}}",
        "asymmetrically per tensor",
    ),
    "quantized outputs": (
        "!QuantizationModifier {scheme: {output_activations: {num_bits: 8}}}",
        "quantized output activations are not supported",
    ),
    "quantized outputs, older form": (
        "!QuantizationModifier {quantize_linear_activations: 1}",
        "quantize_linear_activations: True is not supported",
    ),
    "weights only": (
        "!QuantizationModifier {scheme: {input_activations: null}}",
        "only the weights",
    ),
    "one layer's weights only": (
        "!QuantizationModifier {scheme_overrides: {classifier: {input_activations: null}}}",
        "`classifier`: quantizing only the weights",
    ),
    "TensorRT": ("!QuantizationModifier {scheme: tensorrt}", "only default or deepsparse"),
    "TensorRT, older form": ("!QuantizationModifier {tensorrt: True}", "tensorrt: True is not"),
    "a reduced range": ("!QuantizationModifier {reduce_range: True}", "reduce_range: True is not"),
    "a model's own fusing": ("!QuantizationModifier {model_fuse_fn_name: fuse}", "'fuse' is not"),
    "observers of one's own": (
        "!QuantizationModifier {weight_qconfig_kwargs: {observer: x}}",
        "weight_qconfig_kwargs: {'observer': 'x'} is not supported",
    ),
    "calibration steps": ("!QuantizationModifier {num_calibration_steps: 9}", "9 is not supported"),
    "SparseML's newest form": (
        "!QuantizationModifier {config_groups: {}}",
        "config_groups: not a field that the native backend knows",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_honoured_is_refused_by_name(case: str) -> None:
    modifier, complaint = REFUSED[case]
    with pytest.raises(InputError) as error:
        with_modifier(modifier)
    assert complaint in str(error.value)


def test_every_problem_is_reported_at_once_each_with_its_line() -> None:
    text = "\n".join(
        [
            "num_epochs: 2",
            "modifiers:",
            "  - !EpochRangeModifier",
            "    end_epoch: eval(num_epoch)",
            "  - !GMPruningModifier",
            "    params: __ALL__",
            "  - !DistillationModifier",
            "    start_epoch: 0",
            "    hardness: 2",
            "    temperature: -1",
        ]
    )
    with pytest.raises(InputError) as error:
        parse_recipe(text, source="my.yaml")
    assert [problem.line for problem in error.value.problems] == [4, 5, 9, 10]
    assert {problem.where for problem in error.value.problems} == {"my.yaml"}


def test_a_recipe_without_an_end_is_refused() -> None:
    with pytest.raises(InputError, match="add an EpochRangeModifier"):
        parse_recipe("modifiers:\n  - !SetLearningRateModifier {learning_rate: 0.1}")


def test_without_an_epoch_range_training_ends_with_the_last_modifier() -> None:
    recipe = parse_recipe(
        "modifiers:\n"
        "  - !LearningRateFunctionModifier\n"
        "    {lr_func: cosine, init_lr: 0.1, final_lr: 0, end_epoch: 3}\n"
        "  - !DistillationModifier {end_epoch: 2}\n"
    )
    assert recipe.epochs == 3


def test_an_open_end_lasts_until_training_ends() -> None:
    recipe = with_modifier("!DistillationModifier {start_epoch: 1, end_epoch: -1}")
    assert recipe.distillation is not None
    assert recipe.distillation.end_epoch == 4
    assert [recipe.distils_at(epoch) for epoch in (0, 0.99, 1, 3.99)] == [False, False, True, True]


def test_distillation_of_hidden_states_names_its_layers() -> None:
    recipe = with_modifier(
        "!PerLayerDistillationModifier {gain: 2, end_epoch: 3, teacher_layer_names: [a.0, a.1]}"
    )
    assert recipe.hidden_distillation is not None
    assert recipe.hidden_distillation.layers == ("a.0", "a.1")
    assert recipe.hidden_distillation.gain == 2
    assert [recipe.distils_hidden_at(epoch) for epoch in (0, 2.9, 3)] == [True, True, False]


def test_the_parameters_of_several_pruning_modifiers_are_joined() -> None:
    recipe = with_modifier(
        "!ConstantPruningModifier {params: ['re:a'], update_frequency: 0.1}\n"
        "  - !ConstantPruningModifier {start: 0, targets: [b, 're:a']}"
    )
    assert recipe.pruning is not None
    assert recipe.pruning.params == ("re:a", "b")


def test_where_two_modifiers_match_a_parameter_the_later_one_counts() -> None:
    recipe = with_modifier(
        "!TrainableParamsModifier {params: __ALL__, trainable: False}\n"
        "  - !TrainableParamsModifier {params: ['re:.*bias'], trainable: True}"
    )
    assert recipe.frozen == ("__ALL__",)
    assert recipe.is_frozen("dense.weight")
    assert not recipe.is_frozen("dense.bias")


def test_nothing_is_frozen_or_decayed_unless_the_recipe_says_so() -> None:
    recipe = with_modifier("!DistillationModifier {}")
    assert not recipe.is_frozen("dense.weight")
    assert recipe.weight_decay is None
    assert with_modifier("!SetWeightDecayModifier {weight_decay: 0.01}").weight_decay == 0.01


def test_quantization_follows_its_epochs() -> None:
    recipe = with_modifier(
        "!QuantizationModifier {start_epoch: 2, disable_quantization_observer_epoch: 3, "
        "freeze_bn_stats_epoch: 3.5}"
    )
    epochs = (1.9, 2, 2.9, 3, 3.5)
    assert [recipe.quantizes_at(e) for e in epochs] == [False, True, True, True, True]
    assert [recipe.observes_at(e) for e in epochs] == [False, True, True, False, False]
    assert [recipe.freezes_batch_norm_at(e) for e in epochs] == [False, False, False, False, True]


def test_observers_never_stop_unless_the_recipe_says_so() -> None:
    recipe = with_modifier("!QuantizationModifier {start_epoch: 2}")
    assert recipe.observes_at(3.999)
    assert not recipe.freezes_batch_norm_at(3.999)
    assert not with_modifier("!DistillationModifier {}").observes_at(3)


@pytest.mark.parametrize(
    ("fields", "module", "expected"),
    [
        ("", "bert.encoder.layer.0.output.dense", True),
        ("ignore: [classifier]", "classifier", False),
        ("ignore: [classifier]", "classifier.out", False),
        ("ignore: [Linear]", "bert.pooler.dense", False),
        ("exclude_module_types: [LayerNorm, Tanh]", "bert.pooler.dense", True),
        ("submodules: [bert.encoder]", "bert.encoder.layer.0.output.dense", True),
        ("submodules: [bert.encoder]", "bert.encoders.dense", False),
        ("submodules: [bert.encoder]", "classifier", False),
        (
            "scheme_overrides: {classifier: {input_activations: null, weights: null}}",
            "classifier",
            False,
        ),
        ("scheme_overrides: {classifier: default}", "classifier", True),
        ("scheme_overrides: {Embedding: {input_activations: null}}", "classifier", True),
    ],
)
def test_a_layer_is_quantized_unless_the_recipe_leaves_it_out(
    fields: str, module: str, expected: bool
) -> None:
    assert quantization(fields).quantizes(module, "Linear") is expected


def test_names_that_fit_no_module_are_found_unless_the_recipe_is_not_strict() -> None:
    modules = {"bert.pooler": "BertPooler", "bert.pooler.dense": "Linear"}
    fields = "ignore: [Tanh, bert.pooler, Linear], scheme_overrides: {Embeding: default}"
    assert quantization(fields).unmatched(modules) == ("Tanh", "Embeding")
    assert quantization(f"{fields}, strict: False").unmatched(modules) == ()


@pytest.mark.parametrize(
    "fields",
    ["quantize_embeddings: 1", "scheme_overrides: {Embedding: {input_activations: null}}"],
)
def test_a_recipe_that_would_quantize_embeddings_is_told_that_they_are_not(fields: str) -> None:
    (note,) = with_modifier(f"!QuantizationModifier {{{fields}}}").notes
    assert "embeddings are trained in floating point" in note


@pytest.mark.parametrize(
    "fields",
    [
        "scheme: null",
        "scheme: default",
        "scheme: deepsparse",
        "scheme: {input_activations: {num_bits: 8, symmetric: False, kwargs: {}}, "
        "weights: {num_bits: 8, symmetric: True, strategy: channel}, output_activations: null, "
        "target_hardware: deepsparse}",
        "model_fuse_fn_name: no_fuse, model_fuse_fn_kwargs: {}",
        "ignore: null, num_calibration_steps: 0, end_epoch: -1",
        "submodules: [a], quantize_linear_activations: 0, quantize_conv_activations: False, "
        "quantize_embedding_activations: 0, activation_bits: 8, weight_bits: 8, tensorrt: False, "
        "exclude_batchnorm: True, custom_quantizable_module_types: [], reduce_range: False, "
        "activation_qconfig_kwargs: {}, quantize_embeddings: False",
    ],
)
def test_what_amounts_to_the_backends_own_int8_is_accepted(fields: str) -> None:
    recipe = with_modifier(f"!QuantizationModifier {{{fields}}}")
    assert recipe.notes == ()
    assert parse_recipe(recipe.text) == recipe
