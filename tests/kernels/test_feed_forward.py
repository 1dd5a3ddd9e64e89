"""Two layers with bytes between them: the results of the layers apart."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.kernels.layers import Layer, feed_forward, session, sparse_weight

HIDDEN = {"hidden_scale": 0.02, "hidden_zero_point": 9}


def layers(width: int, hidden: int) -> tuple[Layer, Layer]:
    return (
        Layer.of(sparse_weight(hidden, width, 0.3), np.linspace(-1, 1, hidden, dtype=np.float32)),
        Layer.of(
            sparse_weight(width, hidden, 0.3, seed=1), np.linspace(1, -1, width, dtype=np.float32)
        ),
    )


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("activation", ["", "relu", "gelu"])
@pytest.mark.parametrize(("batch", "tokens"), [(1, 1), (3, 50), (2, 128), (0, 4)])
def test_results_are_those_of_the_layers_apart(
    batch: int, tokens: int, activation: str, threads: int
) -> None:
    first, second = layers(48, 200)
    x = np.random.default_rng(1).standard_normal((batch, tokens, 48)).astype(np.float32)
    given = {"input_scale": 0.03, "input_zero_point": 120}
    between = session(first.model(activation=activation, **given), threads).run(None, {"x": x})[0]
    apart = second.model(
        input_scale=HIDDEN["hidden_scale"], input_zero_point=HIDDEN["hidden_zero_point"]
    )
    wanted = session(apart, threads).run(None, {"x": between})[0]
    both = feed_forward(first, second, activation=activation, **given, **HIDDEN)
    found = session(both, threads).run(None, {"x": x})[0]
    np.testing.assert_array_equal(found, wanted)


def test_the_shape_of_results_is_known_before_the_first_run() -> None:
    first, second = layers(48, 200)
    loaded = session(feed_forward(first, replace(second), **HIDDEN))
    assert loaded.get_outputs()[0].shape == ["batch", "tokens", 48]


@pytest.mark.parametrize(
    ("hidden", "attributes", "words"),
    [
        (200, {}, "second layer's scale is missing"),
        (200, {"hidden_scale": 0.0}, "activations' scale is 0"),
        (200, {"hidden_scale": 1.0, "hidden_zero_point": -1}, "hidden_zero_point is -1"),
        (202, HIDDEN, "multiple of 4"),
        (196, HIDDEN, "there are"),
    ],
)
def test_layers_that_do_not_fit_are_refused(
    hidden: int, attributes: dict[str, Any], words: str
) -> None:
    first, second = layers(48, 200)
    if hidden != 200:
        first = Layer.of(sparse_weight(hidden, 48, 0.3), np.zeros(hidden, np.float32))
    with pytest.raises(Exception, match=words):
        session(feed_forward(first, second, **attributes))
