"""Which weights count as prunable: one rule for models in memory, checkpoints and exported files.

Prunable are the weights of Linear and convolution layers, without embeddings and without the head.
A BERT-like pooler counts as head: it is trained with the task, from a start that the task does not
share with the foundation. A model that names its head itself is believed: in image models a name
such as ``classifier`` may stand for most of the weights, of which one layer alone is the head.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

_NOT_FOUNDATION = re.compile(
    r"(^|\.)(\w*embed\w*|pooler|classifier|pre_classifier|score|head|lm_head|cls|qa_outputs|fc_out)\."
)
_EMBEDDING = re.compile(r"(^|\.)\w*embed\w*\.")
_PRUNABLE_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d)


def is_prunable_name(name: str, dimensions: int) -> bool:
    """Whether a checkpoint's tensor is prunable, as far as its name and shape can tell.

    Args:
        name: Such as ``encoder.layer.0.output.dense.weight``.
        dimensions: Of the tensor; 2 for Linear, 3 or 4 for convolutions.
    """
    return name.endswith(".weight") and dimensions >= 2 and not _NOT_FOUNDATION.search(name)


@runtime_checkable
class NamesItsHead(Protocol):
    """A model that knows which of its modules are the head."""

    head_modules: tuple[str, ...]


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
        if isinstance(layer.weight, nn.Parameter) and _is_prunable(model, name, layer.weight.dim())
    }


def _is_prunable(model: nn.Module, name: str, dimensions: int) -> bool:
    if not isinstance(model, NamesItsHead):
        return is_prunable_name(name, dimensions)
    in_head = any(name.startswith(f"{module}.") for module in model.head_modules)
    return not in_head and not _EMBEDDING.search(name)


def sparsity_of(tensors: Mapping[str, Tensor]) -> float:
    """Returns zeros / weights over all given tensors, 0 when there are none."""
    total = sum(tensor.numel() for tensor in tensors.values())
    return zeros_in(tensors.values()) / total if total else 0.0


def zeros_in(tensors: Iterable[Tensor]) -> int:
    """Returns the number of weights that are exactly zero."""
    return sum(tensor.numel() - int(torch.count_nonzero(tensor.detach())) for tensor in tensors)
