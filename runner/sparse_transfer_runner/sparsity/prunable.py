"""Which weights count as prunable: one rule for models in memory, checkpoints and exported files.

Prunable are the weights of Linear and convolution layers, without embeddings and without the head.
A BERT-like pooler counts as head: it is trained with the task, from a start that the task does not
share with the foundation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

_NOT_FOUNDATION = re.compile(
    r"(^|\.)(\w*embed\w*|pooler|classifier|pre_classifier|score|head|lm_head|cls|qa_outputs|fc_out)\."
)
_PRUNABLE_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d)


def is_prunable_name(name: str, dimensions: int) -> bool:
    """Whether a checkpoint's tensor is prunable, as far as its name and shape can tell.

    Args:
        name: Such as ``encoder.layer.0.output.dense.weight``.
        dimensions: Of the tensor; 2 for Linear, 3 or 4 for convolutions.
    """
    return name.endswith(".weight") and dimensions >= 2 and not _NOT_FOUNDATION.search(name)


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
        if isinstance(layer.weight, nn.Parameter) and is_prunable_name(name, layer.weight.dim())
    }


def sparsity_of(tensors: Mapping[str, Tensor]) -> float:
    """Returns zeros / weights over all given tensors, 0 when there are none."""
    total = sum(tensor.numel() for tensor in tensors.values())
    return zeros_in(tensors.values()) / total if total else 0.0


def zeros_in(tensors: Iterable[Tensor]) -> int:
    """Returns the number of weights that are exactly zero."""
    return sum(tensor.numel() - int(torch.count_nonzero(tensor.detach())) for tensor in tensors)
