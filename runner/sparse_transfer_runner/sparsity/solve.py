"""Layer-wise problems, and the best weights on a given mask.

All of them minimise ``||W X - T||`` in the Frobenius norm over the rows of calibration data, where
``X`` are the layer's inputs and ``T`` the wanted outputs, given only ``H = X X^T`` and
``G = T X^T``. Weights are ``[out, in]``; a bias is one more input that is always 1 and never
pruned. Methods that choose the mask too are in ``methods``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .patterns import Pattern, Quota, keep_by_size

_DAMPING = 0.01  # of the mean diagonal; keeps H invertible when inputs are dependent
_PENALTY = 1.0  # ADMM's rho, in units of the normalised H, whose diagonal is 1

Choose = Callable[[int, Tensor], Tensor | None]
"""An iteration's number and its weights, scaled so that inputs have unit energy -> a new mask, free
columns included, or None to keep the last one."""


@dataclass(frozen=True)
class LayerProblem:
    """The statistics of one layer.

    Args:
        start: Weights to stay near where the data says nothing, ``[out, in]``.
        hessian: ``H``, ``[in, in]``.
        target: ``G``, ``[out, in]``; ``start @ hessian`` to keep the layer's own outputs.
        free_columns: Trailing columns (the bias) that are never pruned.
        energy: ``||T||^2``; None where nobody asks for errors.
    """

    start: Tensor
    hessian: Tensor
    target: Tensor
    free_columns: int = 0
    energy: float | None = None

    @property
    def columns(self) -> int:
        """Inputs that can be pruned."""
        return self.start.shape[1] - self.free_columns

    def damped(self) -> tuple[Tensor, Tensor]:
        """Returns ``H`` and ``G`` of a problem that is solvable, and stays near the start."""
        hessian = self.hessian.clone()
        damping = _DAMPING * hessian.diagonal().mean()
        # Where all inputs are zero, as behind dead channels, any weights do: the start stays.
        damping = torch.where(damping > 0, damping, 1.0)
        hessian.diagonal().add_(damping)
        return hessian, self.target + damping * self.start

    def with_free(self, mask: Tensor) -> Tensor:
        """Returns a mask of the prunable columns with the free ones kept."""
        if not self.free_columns:
            return mask
        return torch.cat([mask, mask.new_ones(len(mask), self.free_columns)], dim=1)

    def error(self, weights: Tensor) -> float:
        """Returns ``||W X - T||^2 / ||T||^2`` of the given weights, 0 for wanted outputs."""
        assert self.energy is not None, "statistics were collected without the wanted energy"
        missed = ((weights @ self.hessian - 2 * self.target) * weights).sum(dtype=torch.float64)
        return max(0.0, 1 + float(missed) / self.energy) if self.energy > 0 else 0.0


def magnitude_mask(
    weights: Tensor, sparsity: float, pattern: Pattern = Pattern.UNSTRUCTURED
) -> Tensor:
    """Returns a boolean mask that drops the given share of smallest weights.

    Exactly ``round(sparsity * weights)`` positions are dropped, whatever ties there are; with a
    pattern, so many whole units, by the sum of their squares.
    """
    return keep_by_size(weights, Quota.of(sparsity, weights.numel(), pattern))


def least_squares_on_mask(problem: LayerProblem, kept: Tensor, iterations: int = 20) -> Tensor:
    """Returns weights that are zero outside ``kept`` and solve the problem best on it.

    ADMM converges to the optimum of this convex problem; a few iterations come close enough.

    Args:
        problem: The layer's statistics.
        kept: Boolean ``[out, in]``, free columns included.
        iterations: ADMM iterations.
    """
    return admm(problem, lambda _, __: kept, iterations)[0]


def admm(problem: LayerProblem, choose: Choose, iterations: int) -> tuple[Tensor, Tensor]:
    """Alternates between the least-squares solution and the nearest weights on a mask.

    Boyd et al., "Distributed Optimization and Statistical Learning via ADMM" (2011), section 9.1.

    Args:
        problem: The layer's statistics.
        choose: Called in every iteration for the mask to go on with.
        iterations: How many.

    Returns:
        The weights, and the boolean mask on which they are, both ``[out, in]``.
    """
    hessian, target = problem.damped()
    scale = hessian.diagonal().sqrt()
    # In the scaled space every input has unit energy, so magnitudes compare across columns.
    normal = hessian / scale / scale[:, None]
    target = target / scale
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
    return sparse / scale, kept
