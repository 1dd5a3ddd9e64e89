"""The least-squares start: the dense teacher's knowledge, put on the foundation's mask.

The foundation brings the mask, the teacher (the same architecture, fine-tuned from the same parent)
the weights: each layer's kept weights become those that reproduce the teacher's outputs best on the
training data. Embeddings, norms and head are the teacher's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from .blockwise import Part, reconstruct
from .masks import Masks
from .solve import LayerProblem, least_squares_on_mask
from .walk import Inputs


@torch.no_grad()
def start_from_teacher(
    model: nn.Module,
    teacher: nn.Module,
    masks: Masks,
    batches: Sequence[Inputs],
    on_unit: Callable[[int, int], None] = lambda done, total: None,
    *,
    finished: int = 0,
    look: Callable[[], None] = lambda: None,
) -> None:
    """Replaces the model's weights in place; its masks keep.

    Args:
        model: The masked foundation with its head; or, where some units are finished, what an
            earlier call had made of it.
        teacher: Dense, of the same architecture.
        masks: The foundation's.
        batches: Training inputs to solve on; a few hundred rows suffice.
        on_unit: Called with the number of finished units and of all.
        finished: Leading units that an earlier call had finished; all others are solved.
        look: Called between two pieces of work; breaks the work off by raising.
    """
    kept = {id(weight): masks.kept[name] for name, weight in masks.weights.items()}
    masked = set(kept)
    own = dict(model.named_parameters())
    # Biases of finished units were solved for; the rest that is copied here they hold already.
    for name, parameter in teacher.named_parameters() if not finished else ():
        if id(own[name]) not in masked:
            own[name].copy_(parameter)

    def solve(problem: LayerProblem, part: Part) -> Tensor:
        weight = part.layer.module.weight
        # What the recipe leaves out of the mask is solved for as a whole.
        mask = part.of(kept.get(id(weight), torch.ones_like(weight))).bool()
        return least_squares_on_mask(problem, problem.with_free(mask))

    reconstruct(model, teacher, batches, solve, on_unit, finished=finished, look=look)
    masks.apply()
