"""1x1 convolutions in onnxruntime: bytes in, bytes out, channels last."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.kernels.layers import Layer, pointwise, session, sparse_weight

SCALES: dict[str, Any] = {
    "input_scale": 0.03,
    "input_zero_point": 120,
    "output_scale": 0.09,
    "output_zero_point": 100,
}


def pixels(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("limits", [(0, 255), (100, 166)])
@pytest.mark.parametrize(("batch", "count"), [(1, 1), (1, 49), (3, 196), (0, 4)])
def test_results_are_those_of_the_dense_product(
    batch: int, count: int, limits: tuple[int, int], threads: int
) -> None:
    weight, bias = sparse_weight(148, 96, 0.3), np.linspace(-1, 1, 148, dtype=np.float32)
    layer, x = Layer.of(weight, bias), pixels(batch, count, 96)
    model = pointwise(layer, lowest=limits[0], highest=limits[1], **SCALES)
    found = session(model, threads).run(None, {"x": x})[0]
    steps = (x.astype(np.float64) - 120) * 0.03
    exact = steps @ (weight.astype(np.float64) * layer.scales[:, None]).T + bias
    assert found.dtype == np.uint8
    apart = np.abs(found - np.clip(exact / 0.09 + 100, *limits))
    assert (apart <= 0.501).all()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"output_scale": 0.0}, "the results' scale is 0"),
        ({"output_zero_point": 256}, "output_zero_point is 256; expected 0 to 255"),
        ({"lowest": -1}, "lowest is -1; expected 0 to 255"),
        ({"lowest": 9, "highest": 8}, "limited to 9 to 8"),
    ],
)
def test_attributes_that_mean_nothing_are_refused(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(Exception, match=words):
        session(pointwise(Layer.of(sparse_weight(8, 16, 0.5)), **{**SCALES, **changed}))


@pytest.mark.parametrize("missing", ["input_scale", "output_scale"])
def test_both_scales_have_to_be_there(missing: str) -> None:
    scales = {name: value for name, value in SCALES.items() if name != missing}
    with pytest.raises(Exception, match="missing"):
        session(pointwise(Layer.of(sparse_weight(8, 16, 0.5)), **scales))


def test_outputs_are_whole_blocks() -> None:
    with pytest.raises(Exception, match="6 outputs; expected a multiple of 4"):
        session(pointwise(Layer.of(sparse_weight(6, 16, 0.5)), **SCALES))
