from __future__ import annotations

import pytest
import torch
from tests.runner.tiny_models import random_batch, tiny_classifier

from sparse_transfer_api.errors import InputError
from sparse_transfer_runner.training.distillation import (
    PROBLEM_MULTI,
    PROBLEM_POSITIONS,
    PROBLEM_REGRESSION,
    PROBLEM_SINGLE,
    PROBLEM_SPAN,
    LayerOutputs,
    hidden_state_errors,
    logit_loss,
    task_loss,
)
from sparse_transfer_runner.use_cases.protocol import IGNORED

PROBLEMS = [PROBLEM_SINGLE, PROBLEM_MULTI, PROBLEM_REGRESSION]


@pytest.mark.parametrize("problem", PROBLEMS)
def test_a_student_that_agrees_with_its_teacher_has_no_logit_loss(problem: str) -> None:
    logits = torch.tensor([[1.0, -2.0], [0.5, 3.0]])
    assert float(logit_loss(logits, logits, 2.0, problem)) == pytest.approx(0, abs=1e-6)
    assert float(logit_loss(logits + torch.tensor([1.0, 0.0]), logits, 2.0, problem)) > 0.01


@pytest.mark.parametrize(
    ("problem", "targets"),
    [
        (PROBLEM_SINGLE, torch.tensor([0, 1])),
        (PROBLEM_MULTI, torch.tensor([[1.0, 0.0], [0.0, 1.0]])),
    ],
)
def test_right_logits_cost_less_than_wrong_ones(problem: str, targets: torch.Tensor) -> None:
    right = torch.tensor([[4.0, -4.0], [-4.0, 4.0]])
    assert float(task_loss(right, targets, problem)) < 0.1
    assert float(task_loss(-right, targets, problem)) > 3


def test_regression_loss_takes_one_output_a_row() -> None:
    loss = task_loss(torch.tensor([[1.0], [2.0]]), torch.tensor([1.0, 4.0]), PROBLEM_REGRESSION)
    assert float(loss) == pytest.approx(2.0)


def test_only_labelled_positions_cost_something() -> None:
    logits = torch.randn(2, 3, 5)
    targets = torch.tensor([[1, IGNORED, 2, 0], [IGNORED, 4, IGNORED, IGNORED]])
    labelled = torch.stack([logits[0, 0], logits[0, 2], logits[1, 1]])
    wanted = task_loss(labelled, torch.tensor([1, 2, 4]), PROBLEM_SINGLE)
    torch.testing.assert_close(task_loss(logits, targets, PROBLEM_POSITIONS), wanted)
    teacher = torch.randn(2, 4, 5)
    followed = torch.stack([teacher[0, 0], teacher[0, 2], teacher[1, 1]])
    torch.testing.assert_close(
        logit_loss(logits, teacher, 2.0, PROBLEM_POSITIONS, targets),
        logit_loss(labelled, followed, 2.0, PROBLEM_SINGLE),
    )


def test_a_batch_without_any_label_costs_nothing() -> None:
    logits, targets = torch.randn(1, 3, 5), torch.full((1, 3), IGNORED)
    assert float(task_loss(logits, targets, PROBLEM_POSITIONS)) == 0
    assert float(logit_loss(logits, logits + 1, 2.0, PROBLEM_POSITIONS, targets)) == 0


def test_both_ends_of_a_span_count_alike() -> None:
    logits, targets = torch.randn(2, 6, 2), torch.tensor([[1, 3], [0, 0]])
    ends = [task_loss(logits[:, :, place], targets[:, place], PROBLEM_SINGLE) for place in (0, 1)]
    torch.testing.assert_close(task_loss(logits, targets, PROBLEM_SPAN), sum(ends) / 2)
    teacher = torch.randn(2, 8, 2)
    followed = [
        logit_loss(logits[:, :, place], teacher[:, :6, place], 2.0, PROBLEM_SINGLE)
        for place in (0, 1)
    ]
    torch.testing.assert_close(logit_loss(logits, teacher, 2.0, PROBLEM_SPAN), sum(followed) / 2)


def test_the_gradient_keeps_its_size_over_temperatures() -> None:
    teacher = torch.tensor([[0.1, -0.1]])
    norms = []
    for temperature in (4.0, 8.0):
        student = torch.tensor([[-0.1, 0.1]], requires_grad=True)
        logit_loss(student, teacher, temperature, PROBLEM_SINGLE).backward()
        assert student.grad is not None
        norms.append(float(student.grad.norm()))
    assert norms[0] == pytest.approx(norms[1], rel=0.02)


def test_padding_does_not_count_in_hidden_states() -> None:
    valid = torch.tensor([[True, True, False]])
    wanted = torch.randn(1, 3, 4)
    own = wanted.clone()
    own[:, 2] += 100
    assert float(hidden_state_errors([own], [wanted], valid)) == 0
    own[:, 0] += 1
    error = hidden_state_errors([own], [wanted], valid, normalize=False)
    assert float(error) == pytest.approx(0.5)


def test_named_layers_are_recorded_afresh_in_every_pass() -> None:
    model = tiny_classifier()
    outputs = LayerOutputs(model, [r"re:.*\.layer\.\d+$"])
    for seed in (0, 1):
        batch = random_batch(seed)
        states = model(**batch, output_hidden_states=True).hidden_states
        assert len(outputs.latest) == 2
        assert torch.equal(outputs.latest[-1], states[-1])


def test_layer_names_that_match_nothing_are_refused() -> None:
    with pytest.raises(InputError, match="match no module"):
        LayerOutputs(tiny_classifier(), ["nowhere"])
