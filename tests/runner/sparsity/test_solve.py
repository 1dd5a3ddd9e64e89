from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sparse_transfer_runner.sparsity.methods import by_admm
from sparse_transfer_runner.sparsity.patterns import Quota
from sparse_transfer_runner.sparsity.solve import (
    LayerProblem,
    least_squares_on_mask,
    magnitude_mask,
)


def correlated_problem(out: int = 12, size: int = 16) -> tuple[LayerProblem, Tensor]:
    """Returns a layer with dependent inputs, as hidden states are, and its inputs."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(400, size, generator=generator) @ torch.randn(
        size, size, generator=generator
    )
    weights = torch.randn(out, size, generator=generator)
    hessian = inputs.T @ inputs
    return LayerProblem(weights, hessian, weights @ hessian), inputs


def error(problem: LayerProblem, inputs: Tensor, weights: Tensor) -> float:
    wanted = inputs @ problem.start.T
    return float((inputs @ weights.T - wanted).square().sum() / wanted.square().sum())


@given(
    sparsity=st.floats(0, 1),
    rows=st.integers(1, 9),
    columns=st.integers(1, 9),
    levels=st.sampled_from([1, 2, 1000]),
)
def test_exactly_the_asked_share_is_dropped_and_never_a_larger_weight(
    sparsity: float, rows: int, columns: int, levels: int
) -> None:
    weights = torch.randint(1, levels + 1, (rows, columns)).float()
    mask = magnitude_mask(weights, sparsity)
    assert int((~mask).sum()) == round(sparsity * rows * columns)
    if mask.any() and not mask.all():
        assert weights[~mask].max() <= weights[mask].min()


@pytest.mark.parametrize("sparsity", [0.3, 0.8])
def test_admm_prunes_exactly_and_better_than_magnitude(sparsity: float) -> None:
    problem, inputs = correlated_problem()
    pruned = by_admm(problem, Quota.of(sparsity, problem.start.numel())).weights
    zeros = int((pruned == 0).sum())
    assert zeros == round(sparsity * pruned.numel())
    by_size = problem.start * magnitude_mask(problem.start, sparsity)
    assert error(problem, inputs, pruned) < 0.5 * error(problem, inputs, by_size)


def test_least_squares_reaches_the_optimum_on_the_mask() -> None:
    problem, inputs = correlated_problem()
    kept = magnitude_mask(problem.start, 0.5)
    solved = least_squares_on_mask(problem, kept, iterations=3000)
    assert torch.all(solved[~kept] == 0)
    exact = torch.zeros_like(solved)
    for row, columns in enumerate(kept):
        chosen = inputs[:, columns]
        exact[row, columns] = torch.linalg.lstsq(chosen, inputs @ problem.start[row]).solution
    assert error(problem, inputs, solved) <= 1.05 * error(problem, inputs, exact) + 1e-6


def test_few_iterations_already_beat_the_untouched_weights() -> None:
    problem, inputs = correlated_problem()
    kept = magnitude_mask(problem.start, 0.5)
    solved = least_squares_on_mask(problem, kept)
    assert error(problem, inputs, solved) < 0.7 * error(problem, inputs, problem.start * kept)


def test_the_bias_column_is_never_pruned() -> None:
    problem, _ = correlated_problem()
    with_bias = LayerProblem(problem.start, problem.hessian, problem.target, free_columns=1)
    quota = Quota.of(0.9, problem.start[:, :-1].numel())
    pruned = by_admm(with_bias, quota).weights
    assert torch.all(pruned[:, -1] != 0)
    assert int((pruned[:, :-1] == 0).sum()) == round(0.9 * pruned[:, :-1].numel())
