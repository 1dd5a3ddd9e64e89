"""One-shot methods: choose which weights of a layer become zero, and set the others.

Each takes the statistics of one layer and a quota, and drops exactly that. Methods that update the
kept weights make up for what is dropped, and for the errors of the layers before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .patterns import Quota, keep_all_but, keep_in_rows_all_but
from .solve import LayerProblem, admm

_COLUMNS_AT_ONCE = 128
"""SparseGPT chooses the mask of so many columns at once, as the paper does; a multiple of 4."""


@dataclass(frozen=True)
class Pruned:
    """What a method made of a layer.

    Args:
        weights: ``[out, in]``, free columns included; zero where dropped.
        kept: Boolean mask of the same shape.
    """

    weights: Tensor
    kept: Tensor


Method = Callable[[LayerProblem, Quota], Pruned]


def by_magnitude(problem: LayerProblem, quota: Quota) -> Pruned:
    """Drops the smallest weights and leaves the others as they are; looks at no data."""
    weights = problem.start[:, : problem.columns]
    return _masked(problem, keep_all_but(weights.square(), quota))


def by_wanda(problem: LayerProblem, quota: Quota) -> Pruned:
    """Drops what is small in weight times input norm, row by row, and leaves the others.

    Sun et al., "A Simple and Effective Pruning Approach for Large Language Models" (2023): the
    score of a weight is ``|w| * ||x||``, compared among the inputs of one output. Here squared,
    which ranks alike and adds up over the weights of a block.
    """
    energy = problem.hessian.diagonal()[: problem.columns]
    weights = problem.start[:, : problem.columns]
    return _masked(problem, keep_in_rows_all_but(weights.square() * energy, quota))


def by_sparsegpt(problem: LayerProblem, quota: Quota) -> Pruned:
    """Goes through the columns, and makes up for each dropped weight in the columns to come.

    Frantar & Alistarh, "SparseGPT: Massive Language Models Can be Accurately Pruned in One-Shot"
    (2023). It starts from the dense least-squares solution, whose error is then the problem's own:
    ``||W X - T||^2 = ||(W - W*) X||^2 + const``.
    """
    hessian, target = problem.damped()
    lower = torch.linalg.cholesky(hessian)
    weights = torch.cholesky_solve(target.T, lower).T.contiguous()
    # Row j of the upper factor is the row of the inverse of H without the columns before j, by the
    # root of its first entry: what eliminating those columns one after another would give.
    inverse = torch.linalg.cholesky(torch.cholesky_inverse(lower), upper=True)
    kept = torch.ones_like(weights, dtype=torch.bool)
    dropped = 0
    for begin in range(0, problem.columns, _COLUMNS_AT_ONCE):
        end = min(begin + _COLUMNS_AT_ONCE, problem.columns)
        due = quota.part(end / problem.columns).zeros
        block, factor = weights[:, begin:end].clone(), inverse[begin:end, begin:end]
        mask = keep_all_but(
            (block / factor.diagonal()).square(), Quota(due - dropped, quota.pattern)
        )
        dropped = due
        errors = torch.zeros_like(block)
        for column in range(end - begin):
            errors[:, column] = block[:, column] * ~mask[:, column] / factor[column, column]
            block[:, column:] -= errors[:, column, None] * factor[column, column:]
        weights[:, begin:end] = block * mask
        weights[:, end:] -= errors @ inverse[begin:end, end:]
        kept[:, begin:end] = mask
    return Pruned(weights, kept)


def by_admm(problem: LayerProblem, quota: Quota, iterations: int = 30, growing: int = 15) -> Pruned:
    """Chooses the mask together with the weights on it, by ADMM.

    The mask grows by a cubic schedule over the first iterations, after Boža, "Fast and Effective
    Weight Update for Pruned Large Language Models" (2024).

    Args:
        problem: The layer's statistics.
        quota: How much to drop.
        iterations: ADMM iterations.
        growing: How many of them the mask takes to reach its size.
    """

    def grown(iteration: int, weights: Tensor) -> Tensor | None:
        if iteration > growing:
            return None
        share = 1 - (1 - (iteration + 1) / (growing + 1)) ** 3
        now = quota if iteration == growing else quota.part(share)
        return problem.with_free(keep_all_but(weights[:, : problem.columns].square(), now))

    return Pruned(*admm(problem, grown, iterations))


METHODS: Mapping[str, Method] = {
    "admm": by_admm,
    "sparsegpt": by_sparsegpt,
    "wanda": by_wanda,
    "magnitude": by_magnitude,
}


def _masked(problem: LayerProblem, mask: Tensor) -> Pruned:
    kept = problem.with_free(mask)
    return Pruned(problem.start * kept, kept)
