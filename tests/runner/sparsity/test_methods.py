"""Each method against a plain implementation of what its paper says."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sparse_transfer_runner.sparsity import methods
from sparse_transfer_runner.sparsity.methods import METHODS, Pruned, by_sparsegpt, by_wanda
from sparse_transfer_runner.sparsity.patterns import Pattern, Quota
from sparse_transfer_runner.sparsity.refinement import polish, refine
from sparse_transfer_runner.sparsity.solve import LayerProblem


def problem_of(
    seed: int, out: int = 6, size: int = 8, rows: int = 50, free: int = 0
) -> tuple[LayerProblem, Tensor]:
    """Returns a layer whose inputs are dependent and of unlike sizes, and its inputs."""
    chance = torch.Generator().manual_seed(seed)
    inputs = torch.randn(rows, size, generator=chance, dtype=torch.float64)
    inputs = inputs @ torch.randn(size, size, generator=chance, dtype=torch.float64)
    inputs *= torch.logspace(0, 1, size, dtype=torch.float64)
    if free:
        inputs[:, -free:] = 1
    weights = torch.randn(out, size, generator=chance, dtype=torch.float64)
    hessian = inputs.T @ inputs
    energy = float((inputs @ weights.T).square().sum())
    return LayerProblem(weights, hessian, weights @ hessian, free, energy), inputs


def textbook_obs(problem: LayerProblem, kept: Tensor) -> Tensor:
    """Eliminates column by column, inverting what is left of the Hessian anew for each."""
    hessian, target = problem.damped()
    weights = target @ torch.linalg.inv(hessian)
    for column in range(problem.columns):
        inverse = torch.linalg.inv(hessian[column:, column:])
        for row in range(len(weights)):
            if not kept[row, column]:
                weights[row, column:] -= weights[row, column] / inverse[0, 0] * inverse[0]
                weights[row, column] = 0
    return weights


@pytest.mark.parametrize("pattern", Pattern)
@pytest.mark.parametrize(("at_once", "free"), [(128, 0), (4, 0), (4, 1), (128, 1)])
def test_sparsegpt_is_the_textbook_s_elimination_column_by_column(
    monkeypatch: pytest.MonkeyPatch, pattern: Pattern, at_once: int, free: int
) -> None:
    monkeypatch.setattr(methods, "_COLUMNS_AT_ONCE", at_once)
    problem, _ = problem_of(0, size=12 + free, free=free)
    pruned = by_sparsegpt(problem, Quota(36, pattern))
    torch.testing.assert_close(pruned.weights, textbook_obs(problem, pruned.kept))


def test_sparsegpt_drops_what_costs_least_of_the_columns_at_once() -> None:
    problem, _ = problem_of(1)
    hessian, target = problem.damped()
    dense = target @ torch.linalg.inv(hessian)
    costs = torch.empty_like(dense)
    for column in range(dense.shape[1]):
        costs[:, column] = (
            dense[:, column].square() / torch.linalg.inv(hessian[column:, column:])[0, 0]
        )
    kept = by_sparsegpt(problem, Quota(24)).kept
    assert costs[~kept].max() < costs[kept].min()


def test_wanda_drops_the_smallest_products_of_weight_and_input_norm_of_each_row() -> None:
    problem, inputs = problem_of(2)
    pruned = by_wanda(problem, Quota(24))
    scores = problem.start.abs() * inputs.norm(dim=0)
    for row, kept in zip(scores, pruned.kept, strict=True):
        assert set((~kept).nonzero().flatten().tolist()) == set(row.argsort()[:4].tolist())
    assert torch.equal(pruned.weights, problem.start * pruned.kept)


def test_wanda_gives_what_rows_cannot_share_to_where_it_costs_least() -> None:
    problem, inputs = problem_of(3)
    kept = by_wanda(problem, Quota(26)).kept
    counts = (~kept).sum(dim=1)
    assert sorted(counts.tolist()) == [4, 4, 4, 4, 5, 5]
    fifth = (problem.start.abs() * inputs.norm(dim=0)).sort(dim=1).values[:, 4]
    assert fifth[counts == 5].max() < fifth[counts == 4].min()


@settings(max_examples=60, deadline=None)
@given(
    method=st.sampled_from(sorted(METHODS)),
    pattern=st.sampled_from(Pattern),
    seed=st.integers(0, 99),
    out=st.integers(1, 7),
    blocks=st.integers(1, 5),
    free=st.integers(0, 1),
    sparsity=st.floats(0, 1),
)
def test_exactly_the_quota_is_dropped_in_whole_units(
    method: str,
    pattern: Pattern,
    seed: int,
    out: int,
    blocks: int,
    free: int,
    sparsity: float,
) -> None:
    problem, _ = problem_of(seed, out, 4 * blocks + free, free=free)
    quota = Quota.of(sparsity, out * 4 * blocks, pattern)
    pruned = METHODS[method](problem, quota)
    assert int((~pruned.kept).sum()) == quota.zeros
    assert torch.all(pruned.weights[~pruned.kept] == 0)
    assert torch.all(pruned.kept[:, problem.columns :])
    units = pruned.kept[:, : problem.columns].unflatten(1, (-1, pattern.width))
    assert torch.equal(units.any(dim=2), units.all(dim=2))


@settings(max_examples=40, deadline=None)
@given(
    method=st.sampled_from(sorted(METHODS)),
    pattern=st.sampled_from(Pattern),
    seed=st.integers(0, 99),
    sparsity=st.sampled_from([0.0, 0.3, 0.5, 0.9]),
)
def test_refinement_keeps_the_quota_and_never_makes_the_error_greater(
    method: str, pattern: Pattern, seed: int, sparsity: float
) -> None:
    problem, _ = problem_of(seed, size=17, free=1)
    quota = Quota.of(sparsity, problem.start[:, :16].numel(), pattern)
    first = METHODS[method](problem, quota)
    polished, refined = polish(problem, first), refine(problem, first, pattern, 6)
    assert damped_error(problem, polished) <= damped_error(problem, first) + 1e-9
    assert damped_error(problem, refined) <= damped_error(problem, polished) + 1e-9
    assert torch.equal(polished.kept, first.kept)
    for each in (polished, refined):
        assert int((~each.kept).sum()) == quota.zeros
        assert torch.all(each.weights[~each.kept] == 0)
    units = refined.kept[:, :16].unflatten(1, (-1, pattern.width))
    assert torch.equal(units.any(dim=2), units.all(dim=2))


def damped_error(problem: LayerProblem, pruned: Pruned) -> float:
    """Returns what the methods minimise, relative and but for a constant."""
    hessian, target = problem.damped()
    weights = pruned.weights
    assert problem.energy is not None
    return float(((weights @ hessian - 2 * target) * weights).sum()) / problem.energy


def test_polishing_long_enough_is_the_least_squares_solution_on_the_mask() -> None:
    problem, _ = problem_of(4)
    pruned = polish(problem, METHODS["magnitude"](problem, Quota(24)), iterations=60)
    hessian, target = problem.damped()
    for row, kept in enumerate(pruned.kept):
        exact = torch.linalg.solve(hessian[kept][:, kept], target[row, kept])
        torch.testing.assert_close(pruned.weights[row, kept], exact)


def test_exchanging_weights_improves_on_a_bad_mask() -> None:
    problem, _ = problem_of(5, out=20, size=32, rows=400)
    chance = torch.Generator().manual_seed(0)
    kept = torch.rand(problem.start.shape, generator=chance) > 0.7
    bad = Pruned(problem.start * kept, kept)
    refined = refine(problem, bad, Pattern.UNSTRUCTURED, 20)
    assert problem.error(refined.weights) < 0.5 * problem.error(polish(problem, bad).weights)


@pytest.mark.parametrize("pattern", Pattern)
def test_methods_rank_as_their_papers_say(pattern: Pattern) -> None:
    problem, inputs = problem_of(6, out=32, size=64, rows=400)
    quota = Quota.of(0.6, problem.start.numel(), pattern)
    errors = {name: problem.error(each(problem, quota).weights) for name, each in METHODS.items()}
    assert max(errors["admm"], errors["sparsegpt"]) < errors["wanda"] < errors["magnitude"]
    weights = METHODS["admm"](problem, quota).weights
    missed = (inputs @ (weights - problem.start).T).square().sum()
    assert errors["admm"] == pytest.approx(float(missed) / (problem.energy or 1), rel=1e-6)


@pytest.mark.parametrize("pattern", Pattern)
@pytest.mark.parametrize("method", METHODS)
def test_a_layer_that_reads_nothing_but_zeros_keeps_its_weights(
    method: str, pattern: Pattern
) -> None:
    start = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    nothing = LayerProblem(start, torch.zeros(8, 8), torch.zeros(4, 8), energy=0.0)
    pruned = refine(nothing, METHODS[method](nothing, Quota(16, pattern)), pattern, rounds=1)
    assert int((~pruned.kept).sum()) == 16
    torch.testing.assert_close(pruned.weights, start * pruned.kept)
