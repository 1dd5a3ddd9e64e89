"""Copies of a training state, so that training may go on while one is written.

The copies live in main memory that is used again for the next one: allocating gigabytes anew takes
several times longer than copying them.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from torch import Tensor

_Path = tuple[Hashable, ...]


class Snapshots:
    """Takes one copy at a time: the next one overwrites the last."""

    def __init__(self) -> None:
        self._buffers: dict[_Path, Tensor] = {}

    def of(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Returns a copy of nested mappings, lists and tuples of tensors and immutable values."""
        copied: dict[str, Any] = self._copied(state, ())
        return copied

    def _copied(self, value: Any, path: _Path) -> Any:
        if isinstance(value, Tensor):
            return self._copied_tensor(value.detach(), path)
        if isinstance(value, Mapping):
            return {key: self._copied(each, (*path, key)) for key, each in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(
                self._copied(each, (*path, index)) for index, each in enumerate(value)
            )
        return value

    def _copied_tensor(self, tensor: Tensor, path: _Path) -> Tensor:
        buffer = self._buffers.get(path)
        if buffer is None or (buffer.shape, buffer.dtype) != (tensor.shape, tensor.dtype):
            buffer = self._buffers[path] = torch.empty_like(tensor, device="cpu")
        return buffer.copy_(tensor)
