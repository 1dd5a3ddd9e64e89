"""Which weights count as prunable: one rule for models in memory, checkpoints and exported files.

Prunable are the weights of Linear and convolution layers, without embeddings and without the head.
A BERT-like pooler counts as head: it is trained with the task, from a start that the task does not
share with the foundation. A model that names its head itself is believed: in image models a name
such as ``classifier`` may stand for most of the weights, of which one layer alone is the head.

Convolutions that read fewer than four channels at a place are left out too: depthwise ones, and the
one that reads a picture's colours. They are few weights, the most sensitive ones, and no kernel
gains by their zeros; the field keeps them dense (Gale et al., "The State of Sparsity in Deep Neural
Networks", 2019, the first layer; Evci et al., "Rigging the Lottery", 2020, depthwise ones).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

_NOT_FOUNDATION = re.compile(
    r"(^|\.)(\w*embed\w*|pooler|classifier|pre_classifier|score|head|lm_head|cls|qa_outputs|fc_out)\."
)
_EMBEDDING = re.compile(r"(^|\.)\w*embed\w*\.")
_PRUNABLE_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d)
_FEWEST_CHANNELS = 4
"""That a convolution must read at a place for its weights to be prunable."""


@runtime_checkable
class NamesItsHead(Protocol):
    """A model that knows which of its modules are the head."""

    head_modules: tuple[str, ...]


def is_of_foundation(model: nn.Module, name: str) -> bool:
    """Whether a model's parameter belongs to what is pruned and recovered: no embedding or head."""
    if not isinstance(model, NamesItsHead):
        return not _NOT_FOUNDATION.search(name)
    in_head = any(name.startswith(f"{module}.") for module in model.head_modules)
    return not in_head and not _EMBEDDING.search(name)


def foundation_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """Returns all weights of Linear and convolution layers but embeddings' and the head's.

    By parameter name, in the order of the model's modules.
    """
    layers = {
        f"{name}.weight": module
        for name, module in model.named_modules()
        if isinstance(module, _PRUNABLE_LAYERS)
    }
    return {
        name: layer.weight
        for name, layer in layers.items()
        if isinstance(layer.weight, nn.Parameter) and is_of_foundation(model, name)
    }


def prunable_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """Returns the prunable weights of a model by parameter name, in the order of its modules."""
    return {
        name: weight
        for name, weight in foundation_weights(model).items()
        if _has_prunable_shape(weight.shape)
    }


def _has_prunable_shape(shape: Sequence[int]) -> bool:
    return len(shape) == 2 or shape[1] >= _FEWEST_CHANNELS


def sparsity_of(tensors: Mapping[str, Tensor]) -> float:
    """Returns zeros / weights over all given tensors, 0 when there are none."""
    total = sum(tensor.numel() for tensor in tensors.values())
    return zeros_in(tensors.values()) / total if total else 0.0


def zeros_in(tensors: Iterable[Tensor]) -> int:
    """Returns the number of weights that are exactly zero."""
    return sum(tensor.numel() - int(torch.count_nonzero(tensor.detach())) for tensor in tensors)
