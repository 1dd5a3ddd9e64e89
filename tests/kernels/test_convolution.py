"""Convolutions in onnxruntime: bytes in, bytes out, channels last."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tests.kernels.layers import Layer, convolution, session, sparse_weight

CHANNELS = 8
SCALES: dict[str, Any] = {
    "input_scale": 0.03,
    "input_zero_point": 120,
    "output_scale": 0.4,
    "output_zero_point": 100,
}


def exact(
    pictures: NDArray[np.uint8], weight: NDArray[Any], layer: Layer, **attributes: Any
) -> NDArray[np.float32]:
    """Returns what onnxruntime's own convolution makes of the same numbers."""
    kernel = attributes.pop("kernel_shape")
    floats = weight.astype(np.float32) * layer.scales[:, None]
    constants = {
        "weight": floats.reshape(len(weight), *kernel, CHANNELS).transpose(0, 3, 1, 2),
        "bias": layer.bias,
    }
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", *constants], ["y"], **attributes)],
        "convolution",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None] * 4)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.ascontiguousarray(v), n) for n, v in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    running = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    steps = (pictures.astype(np.float32) - 120) * np.float32(0.03)
    found: NDArray[np.float32] = running.run(None, {"x": steps.transpose(0, 3, 1, 2)})[0]
    return found.transpose(0, 2, 3, 1)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("kernel", "strides", "pads"),
    [
        ((3, 3), (1, 1), (1, 1, 1, 1)),
        ((3, 3), (2, 2), (1, 1, 1, 1)),
        ((1, 1), (2, 2), (0, 0, 0, 0)),
        ((5, 2), (1, 3), (4, 0, 2, 1)),
    ],
)
@pytest.mark.parametrize(("batch", "height", "width"), [(1, 14, 14), (3, 5, 9), (0, 4, 4)])
def test_results_are_those_of_the_dense_convolution(
    batch: int,
    height: int,
    width: int,
    kernel: tuple[int, int],
    strides: tuple[int, int],
    pads: tuple[int, int, int, int],
    threads: int,
) -> None:
    inputs = kernel[0] * kernel[1] * CHANNELS
    weight, bias = sparse_weight(20, inputs, 0.4), np.linspace(-1, 1, 20, dtype=np.float32)
    layer = Layer.of(weight, bias)
    shape = (batch, height, width, CHANNELS)
    x = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    model = convolution(layer, kernel, strides, pads, **SCALES)
    found = session(model, threads).run(None, {"x": x})[0]
    wanted = exact(x, weight, layer, kernel_shape=kernel, strides=strides, pads=pads)
    assert found.dtype == np.uint8
    assert found.shape == wanted.shape
    assert (np.abs(found - np.clip(wanted / 0.4 + 100, 0, 255)) <= 0.51).all()


def test_the_shape_of_the_result_is_known_before_it_runs() -> None:
    layer = Layer.of(sparse_weight(12, 9 * CHANNELS, 0.5))
    model = convolution(layer, (3, 3), (2, 2), (1, 1, 1, 1), size=(10, 7), **SCALES)
    (found,) = session(model).get_outputs()
    assert found.shape == ["batch", 5, 4, 12]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"kernel_height": 0}, "is no convolution"),
        ({"stride_width": 0}, "is no convolution"),
        ({"pad_top": 3}, "is no convolution"),
        ({"pad_left": -1}, "is no convolution"),
        ({"kernel_width": 5}, "72 inputs for 15 pixels"),
        ({"kernel_width": 1 << 62}, "is no convolution"),
    ],
)
def test_attributes_that_mean_nothing_are_refused(changed: dict[str, Any], words: str) -> None:
    layer = Layer.of(sparse_weight(8, 9 * CHANNELS, 0.5))
    model = convolution(layer, (3, 3), (1, 1), (1, 1, 1, 1), **{**SCALES, **changed})
    with pytest.raises(Exception, match=words):
        session(model)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((1, 9, 9, 12), "expected 8 in its last dimension"),
        ((1, 1, 1, 8), r"a picture of \[1, 1\] for a kernel of \[3, 3\]"),
    ],
)
def test_pictures_that_do_not_fit_are_refused(shape: tuple[int, ...], words: str) -> None:
    layer = Layer.of(sparse_weight(8, 9 * CHANNELS, 0.5))
    running = session(convolution(layer, (3, 3), (1, 1), (0, 0, 0, 0), **SCALES))
    with pytest.raises(Exception, match=words):
        running.run(None, {"x": np.zeros(shape, np.uint8)})
