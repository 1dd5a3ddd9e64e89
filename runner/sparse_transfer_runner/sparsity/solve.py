"""Layer-wise problems: choose a mask, and the best weights on it, for one Linear layer.

All of them minimise ``||W X - T||`` in the Frobenius norm over the rows of calibration data, where
``X`` are the layer's inputs and ``T`` the wanted outputs, given only ``H = X X^T`` and
``G = T X^T``. Weights are ``[out, in]``; a bias is one more input that is always 1 and never
pruned.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_Choose = Callable[[int, Tensor], Tensor | None]
_DAMPING = 0.01  # of the mean diagonal; keeps H invertible when inputs are dependent
_PENALTY = 1.0  # ADMM's rho, in units of the normalised H, whose diagonal is 1


@dataclass(frozen=True)
class LayerProblem:
    """The statistics of one layer.

    Args:
        start: Weights to stay near where the data says nothing, ``[out, in]``.
        hessian: ``H``, ``[in, in]``.
        target: ``G``, ``[out, in]``; ``start @ hessian`` to keep the layer's own outputs.
        free_columns: Trailing columns (the bias) that are never pruned.
    """

    start: Tensor
    hessian: Tensor
    target: Tensor
    free_columns: int = 0


def magnitude_mask(weights: Tensor, sparsity: float) -> Tensor:
    """Returns a boolean mask that drops the given share of smallest absolute weights.

    Exactly ``round(sparsity * weights)`` positions are dropped, whatever ties there are.
    """
    sizes = weights.abs().flatten()
    drop = round(sparsity * sizes.numel())
    if drop == 0:
        return torch.ones_like(weights, dtype=torch.bool)
    threshold = _smallest(sizes, drop)
    mask = sizes > threshold
    ties = (sizes == threshold).nonzero().flatten()
    mask[ties[drop - int((sizes < threshold).sum()) :]] = True
    return mask.view_as(weights)


def _smallest(values: Tensor, count: int) -> float:
    """Returns the ``count``-th smallest value; on a CPU numpy is several times faster."""
    if values.device.type == "cpu":
        return float(np.partition(values.numpy(), count - 1)[count - 1])
    return float(values.kthvalue(count).values)


def least_squares_on_mask(problem: LayerProblem, kept: Tensor, iterations: int = 20) -> Tensor:
    """Returns weights that are zero outside ``kept`` and solve the problem best on it.

    ADMM converges to the optimum of this convex problem; a few iterations come close enough.

    Args:
        problem: The layer's statistics.
        kept: Boolean ``[out, in]``, free columns included.
        iterations: ADMM iterations.
    """
    return _admm(problem, lambda _, __: kept, iterations)


def prune(
    problem: LayerProblem, sparsity: float, iterations: int = 30, growing: int = 15
) -> Tensor:
    """Chooses a mask of the given sparsity together with the weights on it.

    ADMM with a mask that grows by a cubic schedule over the first iterations, after Boža, "Fast and
    Effective Weight Update for Pruned Large Language Models" (2024).

    Args:
        problem: The layer's statistics.
        sparsity: Share of weights to set to zero, 0 to 1, free columns not counted.
        iterations: ADMM iterations.
        growing: How many of them the mask takes to reach its size.
    """
    columns = problem.start.shape[1] - problem.free_columns

    def grown(iteration: int, weights: Tensor) -> Tensor | None:
        if iteration > growing:
            return None
        share = sparsity * (1 - (1 - (iteration + 1) / (growing + 1)) ** 3)
        return _with_free_columns(
            magnitude_mask(weights[:, :columns], sparsity if iteration == growing else share),
            problem.free_columns,
        )

    return _admm(problem, grown, iterations)


def _with_free_columns(mask: Tensor, free: int) -> Tensor:
    return torch.cat([mask, mask.new_ones(len(mask), free)], dim=1) if free else mask


def _admm(problem: LayerProblem, choose: _Choose, iterations: int) -> Tensor:
    hessian = problem.hessian.clone()
    damping = _DAMPING * hessian.diagonal().mean()
    hessian.diagonal().add_(damping)
    scale = hessian.diagonal().sqrt()
    # In the scaled space every input has unit energy, so magnitudes compare across columns.
    normal = hessian / scale / scale[:, None]
    target = (problem.target + damping * problem.start) / scale
    eye = torch.eye(len(normal), dtype=normal.dtype, device=normal.device)
    step = torch.linalg.inv(normal + _PENALTY * eye)
    dense = torch.linalg.solve(normal, target, left=False)
    dual = torch.zeros_like(dense)
    sparse, kept = dense, torch.ones_like(dense, dtype=torch.bool)
    for iteration in range(iterations):
        moved = dense + dual
        chosen = choose(iteration, moved)
        kept = kept if chosen is None else chosen
        sparse = moved * kept
        dual = moved - sparse
        dense = (target + _PENALTY * (sparse - dual)) @ step
    return sparse / scale
