from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sparse_transfer_api.errors import InputError
from sparse_transfer_api.spec import SparseTransferSpec, parse_experiment
from sparse_transfer_runner.packaging.points import (
    HeadlinePoint,
    Point,
    headline_point,
    longest_input,
    measured_points,
    shaped,
)


def _spec(**fields: Any) -> SparseTransferSpec:
    document = {
        "apiVersion": "sparsetransfer.dev/v1alpha1",
        "kind": "SparseTransferExperiment",
        "metadata": {"name": "film-reviews"},
        "spec": {"useCase": "sentiment", "data": {"uri": "file:///data"}, **fields},
    }
    return parse_experiment(document, "test").spec


@pytest.mark.parametrize(
    ("fields", "longest", "expected"),
    [
        pytest.param({}, 512, HeadlinePoint("onnxruntime", Point(1, 128)), id="defaults"),
        pytest.param({}, 64, HeadlinePoint("onnxruntime", Point(1, 64)), id="a shorter model"),
        pytest.param({}, None, HeadlinePoint("onnxruntime", Point(1, None)), id="images"),
        pytest.param(
            {"export": {"targets": ["openvino", "onnxruntime"]}},
            512,
            HeadlinePoint("openvino", Point(1, 128)),
            id="the first target",
        ),
        pytest.param(
            {"benchmark": {"headline": {"engine": "openvino", "batch": 4, "sequence": 32}}},
            512,
            HeadlinePoint("openvino", Point(4, 32)),
            id="as asked",
        ),
    ],
)
def test_the_headline(fields: dict[str, Any], longest: int | None, expected: HeadlinePoint) -> None:
    assert headline_point(_spec(**fields), longest) == expected


def test_the_headline_is_measured_first_and_once() -> None:
    spec = _spec(benchmark={"batchSizes": [16, 1], "sequenceLengths": [32, 128]})
    assert measured_points(spec, 512) == (
        Point(1, 128),
        Point(16, 32),
        Point(1, 32),
        Point(16, 128),
    )


def test_lengths_that_the_model_cannot_take_are_named() -> None:
    spec = _spec(benchmark={"sequenceLengths": [128, 1024]})
    with pytest.raises(InputError, match="1024 tokens, but the model takes at most 512"):
        measured_points(spec, 512)


@pytest.mark.parametrize(
    ("config", "trained", "longest"),
    [
        ({"max_position_embeddings": 512}, 64, 512),
        ({}, 64, 128),
        ({}, 256, 256),
        ({"max_position_embeddings": 512}, None, None),
    ],
)
def test_the_longest_input(config: dict[str, Any], trained: int | None, longest: int) -> None:
    assert longest_input(config, trained) == longest


def test_one_row_takes_any_shape() -> None:
    example = {"input_ids": np.arange(4)[None], "pixels": np.ones((1, 3, 2, 2))}
    inputs = shaped(example, Point(2, 6))
    np.testing.assert_array_equal(inputs["input_ids"], [[0, 1, 2, 3, 0, 1]] * 2)
    assert inputs["pixels"].shape == (2, 3, 2, 2)
    assert shaped(example, Point(3, 2))["input_ids"].shape == (3, 2)
