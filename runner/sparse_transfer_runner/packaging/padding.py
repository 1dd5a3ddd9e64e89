"""Convolutions that pad by the size of what comes in, as TensorFlow's do, at the export's size.

Traced as they are, each would compute its padding anew in every inference.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparse_transfer_runner.use_cases.protocol import Batch

_SAME = "Conv2dSame"
"""timm's class."""


@contextmanager
def fixed_padding(model: nn.Module, inputs: Batch) -> Iterator[None]:
    """Lets such layers of a model pad as they do for inputs of the example's size, until the end.

    Args:
        model: Any model; most have no such layers.
        inputs: An example.
    """
    layers = [module for module in model.modules() if type(module).__name__ == _SAME]
    sizes: dict[nn.Module, tuple[int, int]] = {}

    def note(layer: nn.Module, values: tuple[Any, ...]) -> None:
        sizes[layer] = (int(values[0].shape[-2]), int(values[0].shape[-1]))

    if layers:
        handles = [layer.register_forward_pre_hook(note) for layer in layers]
        model(**{name: torch.as_tensor(values) for name, values in inputs.items()})
        for handle in handles:
            handle.remove()
    for layer in layers:
        layer.forward = _Padded(layer, sizes[layer])
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


@dataclass(frozen=True)
class _Padded:
    """A layer's forward for inputs of one size.

    Args:
        layer: The convolution.
        size: Height and width of its inputs.
    """

    layer: Any = field(repr=False)
    size: tuple[int, int]

    def __call__(self, values: Tensor) -> Tensor:
        layer = self.layer
        high, wide = (
            _needed(side, layer.kernel_size[axis], layer.stride[axis], layer.dilation[axis])
            for axis, side in enumerate(self.size)
        )
        padding = [wide // 2, wide - wide // 2, high // 2, high - high // 2]
        return F.conv2d(
            F.pad(values, padding),
            layer.weight,
            layer.bias,
            layer.stride,
            0,
            layer.dilation,
            layer.groups,
        )


def _needed(side: int, kernel: int, stride: int, dilation: int) -> int:
    """Returns the padding that gives ``ceil(side / stride)`` outputs."""
    return max((-(-side // stride) - 1) * stride + (kernel - 1) * dilation + 1 - side, 0)
