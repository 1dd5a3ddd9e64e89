"""The operators in onnxruntime: right results, and no session of a file that is not right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper
from tests.kernels.layers import BLOCK, Layer, rounded, session, sparse_weight


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("batch", "tokens"), [(1, 1), (1, 32), (3, 50), (2, 128), (0, 4)])
def test_results_are_those_of_the_dense_product(batch: int, tokens: int, threads: int) -> None:
    weight, bias = sparse_weight(150, 96, 0.3), np.linspace(-1, 1, 150, dtype=np.float32)
    layer = Layer.of(weight, bias)
    x = np.random.default_rng(1).standard_normal((batch, tokens, 96)).astype(np.float32)
    model = layer.model(input_scale=0.03, input_zero_point=120)
    found = session(model, threads).run(None, {"x": x})[0]
    exact = rounded(x, 0.03, 120) @ (weight.astype(np.float64) * layer.scales[:, None]).T + bias
    np.testing.assert_allclose(found, exact, atol=1e-4)


def test_without_a_scale_that_of_the_values_is_taken() -> None:
    layer = Layer.of(sparse_weight(40, 64, 0.5))
    x = np.random.default_rng(2).standard_normal((2, 7, 64)).astype(np.float32)
    scale = float((x.max() - x.min()) / 255)
    found = session(layer.model()).run(None, {"x": x})[0]
    fixed = layer.model(input_scale=scale, input_zero_point=round(-float(x.min()) / scale))
    np.testing.assert_allclose(found, session(fixed).run(None, {"x": x})[0], atol=1e-5)


@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_activations_are_onnxruntimes_own(activation: str) -> None:
    layer = Layer.of(sparse_weight(64, 64, 0.4))
    x = np.random.default_rng(3).standard_normal((1, 20, 64)).astype(np.float32)
    plain = session(layer.model()).run(None, {"x": x})[0]
    found = session(layer.model(activation=activation)).run(None, {"x": x})[0]
    node = helper.make_node("Relu" if activation == "relu" else "Gelu", ["x"], ["y"])
    shape = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "xy"]
    graph = helper.make_graph([node], "activation", [shape[0]], [shape[1]])
    opsets = [helper.make_opsetid("", 20)]
    own = helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()
    np.testing.assert_allclose(found, session(own).run(None, {"x": plain})[0], atol=1e-5)


def test_sums_do_not_saturate() -> None:
    layer = Layer.of(np.full((16, 4096), 127, np.int8))
    x = np.full((1, 16, 4096), 255, np.float32)
    model = layer.model(input_scale=1.0, input_zero_point=0)
    found = session(model).run(None, {"x": x})[0]
    np.testing.assert_allclose(found[0, 0], 127.0 * 255 * 4096 * layer.scales, rtol=1e-6)


def test_rows_of_other_features_are_refused() -> None:
    running = session(Layer.of(sparse_weight(8, 16, 0.5)).model())
    with pytest.raises(Exception, match="expected 16 in its last dimension"):
        running.run(None, {"x": np.zeros((1, 2, 12), np.float32)})


def _changed(values: NDArray[Any], place: int, value: int) -> NDArray[Any]:
    copy = values.copy()
    copy[place] = value
    return copy


DAMAGES: dict[str, tuple[Callable[[Layer], Layer], str]] = {
    "a block beyond the inputs": (
        lambda layer: replace(layer, columns=_changed(layer.columns, -1, 60_000)),
        "block 60000 of 24 there are",
    ),
    "a block twice": (
        lambda layer: replace(layer, columns=_changed(layer.columns, 1, layer.columns[0])),
        "expected rising ones",
    ),
    "weights that are cut off": (lambda layer: replace(layer, values=layer.values[:-1]), "weights"),
    "columns that are cut off": (
        lambda layer: replace(layer, columns=layer.columns[:-1]),
        "weights",
    ),
    "an offset beyond the blocks": (
        lambda layer: replace(layer, offsets=_changed(layer.offsets, 3, 2**30)),
        "offsets of outputs do not rise",
    ),
    "an offset below zero": (
        lambda layer: replace(layer, offsets=_changed(layer.offsets, 1, -1)),
        "offsets of outputs do not rise",
    ),
    "a scale of zero": (
        lambda layer: replace(layer, scales=_changed(layer.scales, 2, 0)),
        "output 2: its scale is 0",
    ),
    "a scale that is no number": (
        lambda layer: replace(layer, scales=layer.scales * np.float32(np.nan)),
        "output 0: its scale is NaN",
    ),
    "too few scales": (lambda layer: replace(layer, scales=layer.scales[:-1]), "scales for"),
    "too few biases": (
        lambda layer: replace(layer, bias=np.zeros(3, np.float32)),
        "3 biases for 40 outputs",
    ),
    "features that are no blocks": (lambda layer: replace(layer, features=94), "multiple of 4"),
    "negative features": (lambda layer: replace(layer, features=-4), "-4 inputs"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_refused_when_the_session_is_made(damage: str) -> None:
    change, words = DAMAGES[damage]
    with pytest.raises(Exception, match=words):
        session(change(Layer.of(sparse_weight(40, 96, 0.5))).model())


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"activation": "swish"}, 'activation "swish"'),
        ({"input_scale": 0.0}, "activations' scale is 0"),
        ({"input_scale": 1.0, "input_zero_point": 256}, "expected 0 to 255"),
    ],
)
def test_attributes_that_mean_nothing_are_refused(attributes: dict[str, Any], words: str) -> None:
    with pytest.raises(Exception, match=words):
        session(Layer.of(sparse_weight(8, 16, 0.5)).model(**attributes))


@settings(max_examples=60, deadline=None)
@given(
    columns=st.lists(st.integers(0, 65535), max_size=12),
    offsets=st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=5),
    features=st.integers(-8, 128),
)
def test_whatever_a_file_holds_it_runs_or_is_refused(
    columns: list[int], offsets: list[int], features: int
) -> None:
    layer = Layer(
        features,
        np.ones((len(columns), BLOCK), np.int8),
        np.array(columns, np.uint16),
        np.array(offsets, np.int32),
        np.ones(len(offsets) - 1, np.float32),
    )
    try:
        running = session(layer.model())
    except Exception:  # noqa: BLE001 - refused, by whatever class onnxruntime has for it
        return
    assert np.isfinite(running.run(None, {"x": np.ones((1, 3, features), np.float32)})[0]).all()
