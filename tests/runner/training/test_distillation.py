from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import nullcontext

import pytest
import torch
from tests.runner.tiny_models import random_batch, tiny_classifier
from tests.runner.training.small_run import FOLLOWING
from torch import nn

from sparse_transfer_api.errors import InputError
from sparse_transfer_runner.recipes import parse_recipe
from sparse_transfer_runner.training.backend import NativeBackend, Teacher
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


def test_errors_are_relative_to_the_size_of_what_is_followed() -> None:
    wanted = torch.full((2, 3, 4), 2.0)
    error = hidden_state_errors([wanted + 1, wanted], [wanted, wanted], None, epsilon=0.0)
    assert error.tolist() == pytest.approx([1 / 4, 0])


def trained(following: Mapping[str, float]) -> tuple[nn.Module, nn.Module]:
    """Trains a student for a few steps; returns it and its teacher.

    Args:
        following: Gains by patterns of layer names.
    """
    lines = [
        f"  - !PerLayerDistillationModifier {{gain: {gain}, student_layer_names: {names}}}"
        for names, gain in following.items()
    ]
    recipe = parse_recipe("\n".join([FOLLOWING, *lines]))
    student, teacher = tiny_classifier(seed=0).train(), tiny_classifier(seed=3).eval()
    backend = NativeBackend(student, recipe, PROBLEM_SINGLE, teacher=Teacher(teacher, nullcontext))
    backend.enter(0.5)
    optimizer = torch.optim.Adam(student.parameters(), 0.005)
    for step in range(30):
        inputs = random_batch(step)
        rows = torch.arange(len(inputs["input_ids"]))
        optimizer.zero_grad()
        backend.loss(inputs, rows % 2, rows).backward()
        optimizer.step()
    return student.eval(), teacher


def distance(student: nn.Module, teacher: nn.Module, states: str) -> float:
    """Returns how far a student's hidden states or attentions are from its teacher's."""
    inputs = random_batch(99)
    valid = inputs["attention_mask"].bool()
    found = []
    for model in (student, teacher):
        model.set_attn_implementation("eager")
        with torch.no_grad():
            layers = model(**inputs, **{f"output_{states}": True})[states]
        # Of attention `[batch, heads, from, to]`: rows of tokens, as hidden states have them.
        found.append([e.transpose(1, 2).flatten(2) if e.dim() == 4 else e for e in layers])
    return float(hidden_state_errors(*found, valid).mean())


def test_the_more_hidden_states_weigh_the_nearer_a_student_gets_to_them() -> None:
    states = r"['re:.*\.layer\.\d+$']"
    gains = ({}, {states: 1.0}, {states: 10.0})
    alone, followed, closely = (distance(*trained(each), "hidden_states") for each in gains)
    assert closely < followed < alone


def test_queries_and_keys_bring_a_student_nearer_to_its_teachers_attention() -> None:
    states, inputs = r"re:.*\.layer\.\d+$", r"re:.*\.self\.(query|key|value)$"
    alone, followed = (
        distance(*trained({json.dumps(layers): 10.0}), "attentions")
        for layers in ([states], [states, inputs])
    )
    assert followed < alone


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
