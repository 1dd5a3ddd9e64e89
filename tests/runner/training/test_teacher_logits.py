"""The teacher's logits: kept where they are small, else computed with each batch."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from tests.runner.tiny_models import tiny_classifier, write_tiny_encoder
from tests.runner.training.small_run import RECIPE, Rows
from torch import nn

from sparse_transfer_runner.recipes import parse_recipe
from sparse_transfer_runner.training import transfer
from sparse_transfer_runner.training.backend import Teacher
from sparse_transfer_runner.training.hardware import to_tensors
from sparse_transfer_runner.training.inference import logits_bytes, logits_of
from sparse_transfer_runner.use_cases.question_model import build_answerer


@pytest.mark.parametrize("positions", [False, True], ids=["of rows", "of positions"])
def test_the_memory_of_logits_is_known_before_they_are_computed(
    tmp_path: Path, positions: bool
) -> None:
    model: nn.Module = tiny_classifier()
    if positions:
        model = build_answerer(write_tiny_encoder(tmp_path / "model"), seed=0)

    assert logits_bytes(model, Rows()) == logits_of(model, Rows()).nbytes


@pytest.mark.parametrize(("budget", "forwards"), [(1 << 30, 0), (8, 1)])
def test_logits_beyond_the_budget_are_computed_with_the_student(
    monkeypatch: pytest.MonkeyPatch, budget: int, forwards: int
) -> None:
    monkeypatch.setattr(transfer, "_KEPT_LOGITS_BYTES", budget)
    model, rows = tiny_classifier(seed=3), Rows()
    wanted = torch.as_tensor(logits_of(model, rows))[:4]

    teacher = followed(model, rows)
    calls: list[object] = []
    model.register_forward_hook(lambda *call: calls.append(call))
    found = teacher.logits(to_tensors(rows.collate(range(4))), torch.arange(4))

    assert len(calls) == forwards
    assert torch.allclose(found, wanted, atol=1e-5)


def followed(model: nn.Module, rows: Rows) -> Teacher:
    """Returns the teacher as the transfer follows it."""
    task = SimpleNamespace(
        plan=SimpleNamespace(training=SimpleNamespace(precision="fp32")),
        train=rows,
        use_case=None,
        stop_check=lambda: lambda done: None,
    )
    looks = SimpleNamespace(look=lambda: None)
    teacher = transfer._followed(cast(Any, task), model, parse_recipe(RECIPE), cast(Any, looks))
    assert teacher is not None
    return teacher
