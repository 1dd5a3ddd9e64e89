"""How batches lie in memory where training computes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import conv2d, scaled_dot_product_attention
from torch.profiler import profile

from sparse_transfer_api.spec import Precision
from sparse_transfer_runner.training import hardware
from sparse_transfer_runner.training.hardware import (
    precision_context,
    resolved_precision,
    to_tensors,
)


def test_pictures_lie_pixel_by_pixel_and_convolutions_leave_them_so() -> None:
    pictures = np.random.default_rng(0).standard_normal((2, 3, 8, 8), np.float32)
    laid = to_tensors({"pixel_values": pictures})["pixel_values"].cpu()
    assert laid.is_contiguous(memory_format=torch.channels_last)
    weight = torch.randn(8, 3, 3, 3)
    found = conv2d(laid, weight)
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found, conv2d(torch.as_tensor(pictures), weight))


def test_texts_lie_as_they_did() -> None:
    batch = {"input_ids": np.arange(6).reshape(2, 3), "attention_mask": np.ones((2, 3), np.int64)}
    for name, values in to_tensors(batch).items():
        np.testing.assert_array_equal(values.cpu().numpy(), batch[name])


def test_attention_in_bf16_on_a_cpu_is_the_same_without_the_fused_kernel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    query, key, value = torch.randn(3, 2, 2, 8, 4)
    fused = scaled_dot_product_attention(query, key, value)
    with precision_context("bf16"), profile() as plain:
        found = scaled_dot_product_attention(query, key, value)
    torch.testing.assert_close(found.float(), fused, atol=0.05, rtol=0.05)
    assert not any("flash" in event.name for event in plain.events() or ())


@pytest.mark.parametrize(("gains", "expected"), [(True, "bf16"), (False, "fp32")])
def test_a_cpu_takes_bf16_only_where_the_model_gains_from_it(
    monkeypatch: pytest.MonkeyPatch, gains: bool, expected: str
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(hardware, "multiplies_bf16", lambda: True)
    assert resolved_precision(Precision.AUTO, lambda: gains) == expected
