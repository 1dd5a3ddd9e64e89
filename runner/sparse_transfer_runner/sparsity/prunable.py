"""Which weights count as prunable: one rule for models in memory, checkpoints and exported files.

Prunable are the weights of Linear and convolution layers, without embeddings and without the head.
A BERT-like pooler counts as head: it is trained with the task, from a start that the task does not
share with the foundation. Convolutions that read fewer than four channels at a place are left out
too: depthwise ones, and the one that reads a picture's colours. They are few weights, the most
sensitive ones, and no kernel gains by their zeros; the field keeps them dense (Gale et al., "The
State of Sparsity in Deep Neural Networks", 2019, the first layer; Evci et al., "Rigging the
Lottery", 2020, depthwise ones).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

_NOT_FOUNDATION = re.compile(
    r"(^|\.)(\w*embed\w*|pooler|classifier|pre_classifier|score|head|lm_head|cls|qa_outputs|fc_out)\."
)
_PRUNABLE_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d)
_FEWEST_CHANNELS = 4
"""That a convolution must read at a place for its weights to be prunable."""


def is_of_foundation(name: str) -> bool:
    """Whether a parameter belongs to what is pruned and recovered: not to embeddings or head."""
    return not _NOT_FOUNDATION.search(name)


def is_prunable(name: str, shape: Sequence[int]) -> bool:
    """Whether a checkpoint's tensor is prunable, as far as its name and shape can tell.

    Args:
        name: Such as ``encoder.layer.0.output.dense.weight``.
        shape: Of the tensor: two dimensions for Linear, three or four for convolutions, whose
            second one counts the input channels of a group.
    """
    if not name.endswith(".weight") or len(shape) < 2 or not is_of_foundation(name):
        return False
    return len(shape) == 2 or shape[1] >= _FEWEST_CHANNELS


def prunable_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """Returns the prunable weights of a model by parameter name, in the order of its modules."""
    layers = {
        f"{name}.weight": module
        for name, module in model.named_modules()
        if isinstance(module, _PRUNABLE_LAYERS)
    }
    return {
        name: layer.weight
        for name, layer in layers.items()
        if isinstance(layer.weight, nn.Parameter) and is_prunable(name, layer.weight.shape)
    }


def sparsity_of(tensors: Mapping[str, Tensor]) -> float:
    """Returns zeros / weights over all given tensors, 0 when there are none."""
    total = sum(tensor.numel() for tensor in tensors.values())
    return zeros_in(tensors.values()) / total if total else 0.0


def zeros_in(tensors: Iterable[Tensor]) -> int:
    """Returns the number of weights that are exactly zero."""
    return sum(tensor.numel() - int(torch.count_nonzero(tensor.detach())) for tensor in tensors)
