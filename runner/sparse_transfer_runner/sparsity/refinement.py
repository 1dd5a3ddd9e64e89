"""Better weights on a mask, and better masks: what a one-shot method leaves on the table.

Both look at one layer's statistics alone, and never make its error greater.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .methods import Pruned
from .patterns import Pattern, Quota, keep_all_but
from .solve import LayerProblem

_FIRST_SWAPS = 0.1
"""Of the kept units, how many change places in the first round."""


def polish(problem: LayerProblem, pruned: Pruned, iterations: int = 10) -> Pruned:
    """Solves for the kept weights by conjugate gradients, each row by itself.

    Preconditioned by the diagonal, as Meng et al., "ALPS: Improved Optimization for Highly Sparse
    One-Shot Pruning for Large Language Models" (2024) do after choosing the mask.

    Args:
        problem: The layer's statistics.
        pruned: Where to start.
        iterations: Steps; ``in`` of them would be exact.
    """
    hessian, target = problem.damped()
    return Pruned(_polished(hessian, target, pruned, iterations), pruned.kept)


def refine(
    problem: LayerProblem, pruned: Pruned, pattern: Pattern, rounds: int, iterations: int = 10
) -> Pruned:
    """Exchanges kept weights for dropped ones where that pays, then solves for the kept ones.

    A round is a step of hard thresholding pursuit (Foucart, "Hard Thresholding Pursuit", 2011)
    that moves only a share of the weights: all at once, inputs that say the same would enter
    together. A round that makes the error greater is taken back, and the next one moves half.

    Args:
        problem: The layer's statistics.
        pruned: A method's result.
        pattern: Of the mask; it is kept, and so is the number of zeros.
        rounds: How many.
        iterations: Of the solution after each.
    """
    hessian, target = problem.damped()
    best = Pruned(_polished(hessian, target, pruned, iterations), pruned.kept)
    error = _error(hessian, target, best.weights)
    share = _FIRST_SWAPS
    for _ in range(rounds):
        tried = _exchanged(hessian, target, best, problem.columns, pattern, share)
        tried = Pruned(_polished(hessian, target, tried, iterations), tried.kept)
        found = _error(hessian, target, tried.weights)
        if found < error:
            best, error = tried, found
        else:
            share /= 2
    return best


def _exchanged(
    hessian: Tensor, target: Tensor, pruned: Pruned, columns: int, pattern: Pattern, share: float
) -> Pruned:
    """Moves up to a share of the kept units to where the error falls most by one step."""
    diagonal = hessian.diagonal()
    step = (target - pruned.weights @ hessian) / diagonal
    # What a weight is worth: the error that its own best value, all others fixed, takes away.
    moved = torch.where(pruned.kept, pruned.weights, step)
    worth = (moved.square() * diagonal)[:, :columns]
    kept = pruned.kept[:, :columns]
    units = int(kept.sum()) // pattern.width
    entering = pattern.width * max(1, round(share * units))
    total, zeros = kept.numel(), kept.numel() - pattern.width * units
    # Only the dropped units that are worth most may enter, so no more than these can leave.
    outside = keep_all_but(worth * ~kept, Quota(total - min(entering, zeros), pattern)) & ~kept
    chosen = keep_all_but(worth * (kept | outside), Quota(zeros, pattern))
    chosen = torch.cat([chosen, pruned.kept[:, columns:]], dim=1)
    return Pruned(moved * chosen, chosen)


def _polished(hessian: Tensor, target: Tensor, pruned: Pruned, iterations: int) -> Tensor:
    kept = pruned.kept.to(hessian.dtype)
    diagonal = hessian.diagonal()
    weights = pruned.weights.clone()
    residual = (target - weights @ hessian) * kept
    direction = residual / diagonal
    size = (residual * direction).sum(dim=1, keepdim=True)
    for _ in range(iterations):
        image = (direction @ hessian) * kept
        curvature = (direction * image).sum(dim=1, keepdim=True)
        # A row that is solved has nothing left to move, and must not divide nothing by nothing.
        length = torch.where(curvature > 0, size / curvature, 0.0)
        weights += length * direction
        residual -= length * image
        scaled = residual / diagonal
        following = (residual * scaled).sum(dim=1, keepdim=True)
        direction = scaled + torch.where(size > 0, following / size, 0.0) * direction
        size = following
    return weights


def _error(hessian: Tensor, target: Tensor, weights: Tensor) -> float:
    """Returns ``||W X - T||^2`` but for a constant."""
    return float(((weights @ hessian - 2 * target) * weights).sum(dtype=torch.float64))
