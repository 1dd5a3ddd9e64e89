"""Whatever a recipe says, its resolved text says the same."""

from __future__ import annotations

import json
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sparse_transfer_runner.recipes import parse_recipe
from sparse_transfer_runner.recipes.yaml_text import RecipeDumper

EPOCHS = 10.0

epochs = st.floats(0, EPOCHS, exclude_max=True)
rates = st.floats(1e-9, 1)
names = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1).filter(
    lambda name: not name.startswith(("re:", "eval("))
)
patterns = st.lists(names | st.sampled_from(["re:.*weight", "__ALL__"]), min_size=1, max_size=3)


def modifier(kind: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields).map(lambda given: {kind: given})


def ranged(kind: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    def build(parts: tuple[dict[str, Any], list[float], bool]) -> dict[str, Any]:
        given, bounds, open_end = parts
        start, end = sorted(bounds)
        return {kind: {**given, "start_epoch": start, "end_epoch": -1 if open_end else end}}

    bounds = st.lists(epochs, min_size=2, max_size=2)
    return st.tuples(st.fixed_dictionaries(fields), bounds, st.booleans()).map(build)


args = st.fixed_dictionaries({"num_bits": st.just(8)})
scheme = st.sampled_from(
    [None, "default", {"weights": {"symmetric": True, "strategy": "channel"}}, {}]
)
override = scheme | st.just({"weights": None, "input_activations": None})
recipes = st.tuples(
    st.just({"EpochRangeModifier": {"start_epoch": 0, "end_epoch": EPOCHS}}),
    rates.map(lambda rate: {"SetLearningRateModifier": {"learning_rate": rate}}),
    st.fixed_dictionaries({"params": patterns}).map(lambda f: {"ConstantPruningModifier": f}),
    modifier(
        "QuantizationModifier",
        start_epoch=epochs,
        freeze_bn_stats_epoch=st.just(EPOCHS),
        ignore=st.lists(names, max_size=2),
        submodules=st.lists(names, max_size=2),
        scheme=scheme,
        scheme_overrides=st.dictionaries(names, override, max_size=2),
        quantize_embeddings=st.booleans(),
        strict=st.booleans(),
        model_fuse_fn_kwargs=st.just({}),
    ),
    ranged("DistillationModifier", hardness=st.floats(0, 1), temperature=st.floats(0.1, 10)),
    ranged(
        "PerLayerDistillationModifier",
        gain=st.floats(0, 10),
        normalize=st.booleans(),
        student_layer_names=patterns,
    ),
    st.fixed_dictionaries(
        {"params": patterns, "trainable": st.booleans(), "params_strict": st.booleans()}
    ).map(lambda f: {"TrainableParamsModifier": f}),
    modifier("SetWeightDecayModifier", weight_decay=st.floats(0, 1)).map(
        lambda m: {"SetWeightDecayModifier": {"weight_decay": 0.0, **m["SetWeightDecayModifier"]}}
    ),
)


@settings(max_examples=150)
@given(recipes.flatmap(lambda parts: st.permutations(parts)))
def test_the_resolved_text_parses_to_an_equal_recipe(modifiers: list[dict[str, Any]]) -> None:
    # By a dumper that quotes names such as 0E0, which recipes read as numbers.
    text = yaml.dump(
        {"modifiers": modifiers}, Dumper=RecipeDumper, allow_unicode=True, sort_keys=False
    )
    recipe = parse_recipe(text)
    again = parse_recipe(recipe.text)
    assert again == recipe
    assert again.text == recipe.text


def test_names_that_look_like_numbers_stay_names() -> None:
    names = ["0E0", "1e-4", ".5e3", "12", "0x1F", "true", "null"]
    modifiers = [
        {"EpochRangeModifier": {"start_epoch": 0, "end_epoch": EPOCHS}},
        {"SetLearningRateModifier": {"learning_rate": 1e-4}},
        {"ConstantPruningModifier": {"params": names}},
    ]
    recipe = parse_recipe(json.dumps({"modifiers": modifiers}))
    assert parse_recipe(recipe.text) == recipe
    (pruning,) = (each for each in recipe.modifiers if hasattr(each, "params"))
    assert list(pruning.params) == names
