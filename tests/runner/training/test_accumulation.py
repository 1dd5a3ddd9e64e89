from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnxruntime.capi.onnxruntime_pybind11_state import RuntimeException
from tests.runner.tiny_models import random_batch, tiny_classifier, tiny_config
from tests.runner.training.small_run import (
    BATCH,
    FOLLOWING,
    STEPS,
    StopAfter,
    in_folder,
    new_run,
)
from torch import Tensor, nn
from transformers import BertForTokenClassification

from sparse_transfer_api.contract import MAX_BATCH_HALVINGS, ExitCode
from sparse_transfer_api.errors import OutOfMemory, Stopped
from sparse_transfer_runner.out_of_memory import is_out_of_memory
from sparse_transfer_runner.recipes import parse_recipe
from sparse_transfer_runner.training.accumulation import Accumulation
from sparse_transfer_runner.training.backend import NativeBackend, Teacher
from sparse_transfer_runner.training.backoff import Backoff
from sparse_transfer_runner.training.loop import TrainingRun
from sparse_transfer_runner.training.shares import Share, counted_labels, shares
from sparse_transfer_runner.use_cases.protocol import IGNORED

ROWS = 8
IMPOSSIBLE_BYTES = 1 << 60
FOLLOWING_INSIDE = (
    FOLLOWING
    + """
  - !PerLayerDistillationModifier
      {start_epoch: 0.0, gain: 2.0, student_layer_names: ['re:bert.encoder.layer.[0-9]+']}
"""
)


@given(st.integers(1, 70), st.integers(0, MAX_BATCH_HALVINGS), st.sampled_from([1, 2]))
def test_micro_batches_are_the_batch_in_order_and_of_like_size(
    rows: int, halvings: int, least: int
) -> None:
    backoff = Backoff(batch_size=70, halvings=halvings)
    parts = backoff.parts(range(rows), least)
    assert [row for part in parts for row in part] == list(range(rows))
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= min(least, rows)
    assert max(sizes) <= max(backoff.micro_batch, 2 * least - 1)


@pytest.mark.parametrize(
    ("targets", "labels"),
    [
        (np.array([0, 1, 1]), 3),
        (np.array([[0.0, 1.0], [1.0, 1.0]], dtype=np.float32), 2),
        (np.array([[3, IGNORED, IGNORED], [1, 2, IGNORED]]), 3),
    ],
    ids=["classes", "several labels at once", "a label for each token"],
)
def test_labels_are_counted_as_means_over_them_do(targets: NDArray[Any], labels: int) -> None:
    assert counted_labels(targets) == labels


def test_means_over_tokens_add_up_to_the_mean_of_the_batch() -> None:
    torch.manual_seed(0)
    logits = torch.randn(6, 5, 3)
    targets = torch.randint(0, 3, (6, 5))
    targets[torch.rand(6, 5) < 0.6] = IGNORED
    parts = [slice(0, 1), slice(1, 4), slice(4, 6)]
    found = shares([targets[part].numpy() for part in parts], [5, 15, 10])

    def loss(rows: slice) -> Tensor:
        return F.cross_entropy(
            logits[rows].flatten(0, 1), targets[rows].flatten(), ignore_index=IGNORED
        )

    summed = sum(share.labels * loss(rows) for share, rows in zip(found, parts, strict=True))
    assert float(summed) == pytest.approx(float(loss(slice(0, 6))))


def tagged() -> NDArray[np.int64]:
    """Returns a tag for some of each row's tokens."""
    inputs = random_batch(0, ROWS)
    tags = np.random.default_rng(0).integers(0, 2, inputs["input_ids"].shape)
    skipped = np.random.default_rng(1).random(tags.shape) < 0.4
    return np.where(skipped | (inputs["attention_mask"].numpy() == 0), IGNORED, tags)


def classifier(problem: str, seed: int = 0) -> nn.Module:
    """Returns a model with the outputs that a problem has."""
    if problem == "token_classification":
        torch.manual_seed(seed)
        return BertForTokenClassification(tiny_config()).eval()
    return tiny_classifier(seed, labels=1 if problem == "regression" else 2)


PROBLEMS: dict[str, NDArray[Any]] = {
    "single_label_classification": np.array([0, 1, 1, 0, 1, 0, 0, 1]),
    "multi_label_classification": np.eye(2, dtype=np.float32)[[0, 1, 1, 0, 1, 0, 0, 1]],
    "regression": np.linspace(-1, 1, ROWS).astype(np.float32),
    "token_classification": tagged(),
}


def gradients_of(
    halvings: int,
    problem: str = "single_label_classification",
    recipe: str = FOLLOWING,
) -> tuple[float, dict[str, Tensor]]:
    """Returns the loss and the gradients of one batch, in so many halvings."""
    student, teacher = classifier(problem), classifier(problem, seed=3)
    student.train()
    inputs, targets = random_batch(0, ROWS), PROBLEMS[problem]
    backend = NativeBackend(
        student, parse_recipe(recipe), problem, teacher=Teacher(teacher, nullcontext)
    )
    backend.enter(0.5)

    def read(rows: Sequence[int]) -> tuple[Mapping[str, Tensor], Tensor, Tensor]:
        mask = inputs["attention_mask"][list(rows)]
        longest = int(mask.sum(1).max())
        batch = {name: each[list(rows), :longest] for name, each in inputs.items()}
        return batch, torch.as_tensor(targets[list(rows)]), torch.as_tensor(list(rows))

    accumulation = Accumulation(
        student,
        backend,
        torch.amp.GradScaler("cpu", enabled=False),
        Backoff(ROWS, halvings),
        inputs["attention_mask"].sum(1).tolist(),
        targets,
    )
    loss = accumulation.gradients(range(ROWS), read, nullcontext, "here")
    return float(loss), {
        name: parameter.grad
        for name, parameter in student.named_parameters()
        if parameter.grad is not None
    }


@pytest.mark.parametrize("halvings", [1, 2, 3])
@pytest.mark.parametrize(
    ("problem", "recipe"),
    [
        *((problem, FOLLOWING) for problem in PROBLEMS),
        ("single_label_classification", FOLLOWING_INSIDE),
    ],
    ids=[*PROBLEMS, "hidden states"],
)
def test_gradients_of_micro_batches_add_up_to_those_of_the_batch(
    problem: str, recipe: str, halvings: int
) -> None:
    whole, expected = gradients_of(0, problem, recipe)
    loss, found = gradients_of(halvings, problem, recipe)
    assert loss == pytest.approx(whole, rel=1e-5)
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-6, msg=name)


def test_batch_norms_get_two_rows_at_least_and_count_a_batch_once() -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(3).train()
    values = torch.randn(8, 3) + 4

    class Loss:
        def measure(self, parts: object) -> None:
            pass

        def figures(self) -> Callable[[], None]:
            return lambda: None

        def loss(self, inputs: Mapping[str, Tensor], *_: object) -> Tensor:
            assert len(inputs["values"]) >= 2
            return torch.as_tensor(norm(inputs["values"])).square().sum()

    def read(rows: Sequence[int]) -> tuple[Mapping[str, Tensor], Tensor, Tensor]:
        return {"values": values[list(rows)]}, torch.zeros(len(rows)), torch.zeros(len(rows))

    accumulation = Accumulation(
        norm,
        Loss(),  # type: ignore[arg-type]
        torch.amp.GradScaler("cpu", enabled=False),
        Backoff(8, halvings=3),
        [1] * 8,
        np.zeros(8),
    )
    accumulation.gradients(range(8), read, nullcontext, "here")
    assert norm.momentum == 0.1
    expected = 0.1 * values.mean(0)
    torch.testing.assert_close(norm.running_mean, expected, rtol=0.05, atol=0.0)


class Normalized(nn.Module):
    """A batch norm before a layer that is rounded."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.norm = nn.BatchNorm1d(3)
        self.linear = nn.Linear(3, 2)

    def forward(self, values: Tensor) -> Any:
        return SimpleNamespace(logits=self.linear(self.norm(values)))


def figures_after_a_batch(halvings: int, fit: int) -> tuple[dict[str, Tensor], Any]:
    """Returns the running figures of a model and of its INT8 ranges after one batch of rows.

    Args:
        halvings: Known to be needed before.
        fit: Rows beyond which a forward pass is the last thing that fits into memory.
    """
    model = Normalized().train()
    backend = NativeBackend(
        model,
        parse_recipe(f"{FOLLOWING}  - !QuantizationModifier {{start_epoch: 0.0}}\n"),
        "single_label_classification",
        quantizable={"linear": model.linear},
    )
    values, targets = torch.randn(ROWS, 3), torch.zeros(ROWS, dtype=torch.int64)
    loss = backend.loss

    def crowded(inputs: Any, *rest: Any) -> Tensor:
        found = loss(inputs, *rest)
        if len(inputs["values"]) > fit:
            torch.empty(IMPOSSIBLE_BYTES, dtype=torch.uint8)
        return found

    backend.loss = crowded  # type: ignore[method-assign]
    backend.enter(0.5)
    accumulation = Accumulation(
        model,
        backend,
        torch.amp.GradScaler("cpu", enabled=False),
        Backoff(ROWS, halvings),
        [1] * ROWS,
        targets.numpy(),
    )

    def read(rows: Sequence[int]) -> tuple[Mapping[str, Tensor], Tensor, Tensor]:
        return {"values": values[list(rows)]}, targets[list(rows)], torch.as_tensor(list(rows))

    accumulation.gradients(range(ROWS), read, nullcontext, "here")
    assert accumulation.backoff.halvings == 1
    return dict(model.named_buffers()), backend.state_dict()["quantizer"]["ranges"]["linear"]


def test_a_try_that_failed_leaves_no_trace_in_running_figures() -> None:
    buffers, observed = figures_after_a_batch(1, fit=ROWS)
    again, observed_again = figures_after_a_batch(0, fit=ROWS // 2)
    for name, tensor in buffers.items():
        assert torch.equal(tensor, again[name]), name
    assert observed == observed_again


class Crowded:
    """Takes more memory than there is where more rows are worked on at once than fit."""

    def __init__(self, training: TrainingRun, fit: int, from_step: int = 0) -> None:
        self._loss = training.backend.loss
        self._training = training
        self._fit = fit
        self._from_step = from_step
        self.seen: list[int] = []

    def __call__(self, inputs: Any, targets: Tensor, rows: Tensor, share: Share) -> Tensor:
        if len(rows) > self._fit and self._training._done >= self._from_step:
            torch.empty(IMPOSSIBLE_BYTES, dtype=torch.uint8)
        self.seen.append(len(rows))
        return self._loss(inputs, targets, rows, share)


def without_dropout(training: TrainingRun) -> TrainingRun:
    for module in training.model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return training


def test_a_run_out_of_memory_goes_on_with_half_the_rows_to_the_same_result(tmp_path: Path) -> None:
    training = without_dropout(new_run(in_folder(tmp_path / "whole"))[0])
    with training.checkpoints:
        expected = training.fit()
    training = without_dropout(new_run(in_folder(tmp_path / "crowded"))[0])
    crowded = Crowded(training, fit=3, from_step=7)
    training.backend.loss = crowded  # type: ignore[method-assign]
    with training.checkpoints:
        history = training.fit()
    assert crowded.seen == [BATCH] * 7 + [2] * 4 * (STEPS - 7)
    assert training.backoff.halvings == 2
    assert [point.micro_batch for point in history] == [None] * 7 + [2] * (len(history) - 7)
    before_int8 = [(a, b) for a, b in zip(history, expected, strict=True) if not a.quantizing]
    for found, wanted in before_int8:
        assert found.loss == pytest.approx(wanted.loss, rel=1e-3), found.step


def test_a_resumed_run_keeps_its_micro_batch_and_is_exact(tmp_path: Path) -> None:
    straight, _ = new_run(in_folder(tmp_path / "straight"), halvings=2)
    with straight.checkpoints:
        expected = straight.fit()
    first, _ = new_run(in_folder(tmp_path / "stopped"), StopAfter(9), halvings=2)
    with first.checkpoints, pytest.raises(Stopped):
        first.fit()
    again, _ = new_run(in_folder(tmp_path / "stopped", attempt=2))
    with again.checkpoints:
        assert again.fit() == expected
    for name, tensor in again.model.state_dict().items():
        assert torch.equal(tensor, straight.model.state_dict()[name]), name


def test_a_row_that_does_not_fit_ends_with_what_was_tried(tmp_path: Path) -> None:
    training, _ = new_run(in_folder(tmp_path))
    training.backend.loss = Crowded(training, fit=0)  # type: ignore[method-assign]
    with training.checkpoints, pytest.raises(OutOfMemory) as failed:
        training.fit()
    assert failed.value.exit_code == ExitCode.MEMORY
    assert "transfer, step 1 of 20: memory does not suffice" in str(failed.value)
    assert "tried 8, 4, 2, 1 rows at once of each batch of 8" in str(failed.value)
    assert "allocate memory" in str(failed.value)


def test_a_batch_is_halved_only_so_often() -> None:
    backoff = Backoff(batch_size=1 << (MAX_BATCH_HALVINGS + 2))
    for _ in range(MAX_BATCH_HALVINGS):
        backoff.halve(backoff.micro_batch, 1, "here", "full")
    assert backoff.micro_batch == 4
    with pytest.raises(OutOfMemory, match="tried 128, 64, 32, 16, 8, 4 rows"):
        backoff.halve(4, 1, "here", "full")


@given(batch_size=st.integers(1, 70), rows=st.integers(1, 70), least=st.integers(1, 2))
def test_a_batch_that_never_fits_comes_to_an_end(batch_size: int, rows: int, least: int) -> None:
    backoff = Backoff(batch_size)
    with pytest.raises(OutOfMemory):
        for _ in range(MAX_BATCH_HALVINGS + 1):
            parts = backoff.parts(range(min(rows, batch_size)), least)
            backoff.halve(max(map(len, parts)), least, "here", "full")


@pytest.mark.parametrize(
    ("batch_size", "killed_with", "micro_batch"),
    [(32, 0, 16), (32, 3, 2), (32, 4, 1), (3, 1, 1)],
)
def test_a_kill_halves_what_the_killed_attempt_worked_on(
    batch_size: int, killed_with: int, micro_batch: int
) -> None:
    backoff = Backoff(batch_size)
    backoff.after_a_kill(killed_with)
    assert backoff.micro_batch == micro_batch


@pytest.mark.parametrize(("batch_size", "killed_with"), [(256, 5), (32, 5), (8, 3), (1, 0)])
def test_a_kill_with_the_smallest_micro_batch_is_final(batch_size: int, killed_with: int) -> None:
    with pytest.raises(OutOfMemory, match=r"earlier attempts were killed .* 1 rows|, 8 rows"):
        Backoff(batch_size).after_a_kill(killed_with)


def allocated_by_torch() -> None:
    torch.empty(IMPOSSIBLE_BYTES, dtype=torch.uint8)


def allocated_by_numpy() -> None:
    np.zeros(IMPOSSIBLE_BYTES, dtype=np.uint8)


def on_an_accelerator() -> None:
    raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def thrown_in_cpp() -> None:
    raise RuntimeError("std::bad_alloc")


def refused_to_onednn() -> None:
    raise RuntimeError("could not create a primitive")


def refused_to_a_mapped_file() -> None:
    raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))


def refused_to_onnxruntime() -> None:
    raise RuntimeException("Failed to allocate memory for requested buffer of size 4096")


@pytest.mark.parametrize(
    "happens",
    [
        allocated_by_torch,
        allocated_by_numpy,
        on_an_accelerator,
        thrown_in_cpp,
        refused_to_onednn,
        refused_to_a_mapped_file,
        refused_to_onnxruntime,
    ],
)
def test_each_librarys_want_of_memory_is_recognized(happens: Callable[[], None]) -> None:
    with pytest.raises(Exception) as raised:
        happens()
    assert is_out_of_memory(raised.value)


def test_other_errors_are_no_want_of_memory(tmp_path: Path) -> None:
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out_of_memory(ValueError("std::bad_alloc"))
