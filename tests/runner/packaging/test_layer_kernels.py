"""What is recorded of layers that leave their zeros out, or do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparse_transfer_runner.engines.forms import Form
from sparse_transfer_runner.engines.protocol import LayerTime
from sparse_transfer_runner.packaging.layer_kernels import (
    FASTER,
    FP32,
    SLOWER,
    UNTIMED,
    WHOLE,
    kernel_notes,
    layer_kernels,
)
from sparse_transfer_runner.packaging.selection import Candidate

GAINS = LayerTime(0.2, 0.1, 0.2)
LOSES = LayerTime(0.6, 0.3, 0.2)


def candidate(form: Form, kept: tuple[str, ...] = ()) -> Candidate:
    return Candidate(form, Path("model.onnx"), kept)


@pytest.mark.parametrize(
    ("time", "chosen", "sparse", "reason"),
    [
        (GAINS, candidate(Form.SPARSE_BLOCKS), True, FASTER),
        (GAINS, candidate(Form.REDUCED_SPARSE_BLOCKS), True, FASTER),
        (GAINS, candidate(Form.MATMUL_INTEGER_FUSED), False, WHOLE),
        (GAINS, candidate(Form.SPARSE_BLOCKS, ("layer",)), False, FP32),
        (LOSES, candidate(Form.SPARSE_BLOCKS), False, SLOWER),
        (LOSES, candidate(Form.QDQ), False, SLOWER),
        (LayerTime(), candidate(Form.QDQ_OUTPUTS), False, UNTIMED),
    ],
)
def test_each_layer_has_its_reason(
    time: LayerTime, chosen: Candidate, sparse: bool, reason: str
) -> None:
    (kernel,) = layer_kernels({"layer": time}, chosen)
    assert (kernel.sparse, kernel.reason) == (sparse, reason)
    assert (kernel.blocks, kernel.sparse_ms, kernel.dense_ms) == (
        time.blocks,
        time.sparse_ms,
        time.dense_ms,
    )


@pytest.mark.parametrize(
    ("times", "form", "said"),
    [
        ({"a": GAINS, "b": LOSES}, Form.SPARSE_BLOCKS, None),
        ({}, Form.QDQ, None),
        ({"a": LOSES, "b": LayerTime()}, Form.QDQ, "no layer gains by leaving its zeros out"),
        ({"a": GAINS, "b": LOSES}, Form.QDQ, "layers alone gain by leaving zeros out"),
        ({"a": LayerTime()}, Form.QDQ_OUTPUTS, "no layer that the sparse kernels take"),
    ],
)
def test_a_file_without_sparse_layers_says_why(
    times: dict[str, LayerTime], form: Form, said: str | None
) -> None:
    notes = kernel_notes(layer_kernels(times, candidate(form)), "amx_int8")
    if said is None:
        assert notes == []
    else:
        assert said in notes[0]
        assert "on amx_int8" in notes[0]
