"""A pass over a split: in batches as large as memory allows."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
import torch
from tests.runner.tiny_models import tiny_classifier
from tests.runner.training.small_run import Rows
from torch import Tensor, nn

from sparse_transfer_api.contract import ExitCode
from sparse_transfer_api.errors import OutOfMemory
from sparse_transfer_runner.training.inference import logits_of

IMPOSSIBLE_BYTES = 1 << 60


class Crowded(nn.Module):
    """Takes more memory than there is for more rows than fit.

    Args:
        model: The model.
        fit: Rows.
    """

    def __init__(self, model: nn.Module, fit: int) -> None:
        super().__init__()
        self._model = model
        self._fit = fit
        self.seen: list[int] = []

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        if len(input_ids) > self._fit:
            torch.empty(IMPOSSIBLE_BYTES, dtype=torch.uint8)
        self.seen.append(len(input_ids))
        return self._model(input_ids, attention_mask)


def test_a_batch_that_does_not_fit_is_looked_at_in_parts_to_the_same_outputs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model, rows = tiny_classifier(), Rows()
    batches: list[int] = []
    crowded = Crowded(model, fit=9)

    with caplog.at_level(logging.WARNING):
        found = logits_of(crowded, rows, on_batch=batches.append)

    np.testing.assert_allclose(found, logits_of(model, rows), atol=1e-5)
    assert sum(crowded.seen) == len(rows)
    assert max(crowded.seen) <= 9
    assert batches == [1]
    assert "goes on with 8 of each batch of 64" in caplog.text


def test_where_no_part_fits_the_pass_ends_with_what_was_tried() -> None:
    with pytest.raises(OutOfMemory, match=r"looking at 40 rows: .*tried 64, .* rows") as failed:
        logits_of(Crowded(tiny_classifier(), fit=0), Rows())

    assert failed.value.exit_code == ExitCode.MEMORY


def test_another_error_is_none_of_memory() -> None:
    with pytest.raises(RuntimeError, match="shapes"):
        logits_of(Wrong(), Rows())


class Wrong(nn.Module):
    """Fails for a reason of its own."""

    def forward(self, **inputs: Tensor) -> Any:
        raise RuntimeError("shapes cannot be multiplied")
