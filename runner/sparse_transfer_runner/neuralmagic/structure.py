"""A model's modules before SparseML rearranges them, so that they can be put back.

For quantization-aware training SparseML wraps modules, replaces classes and hangs observers on what
is left: ``query`` becomes ``query.module``. The parameters themselves stay the same objects, so
that the original modules, put back where they were, hold the trained weights.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

_LEFT_BEHIND = ("qconfig", "quantization_scheme")


@dataclass(frozen=True)
class _Module:
    """One module as it was."""

    module: nn.Module
    children: Mapping[str, nn.Module | None]
    forward_hooks: Mapping[int, Any]
    pre_hooks: Mapping[int, Any]


class Structure:
    """The modules of a model at one time.

    Args:
        model: Not changed.
    """

    def __init__(self, model: nn.Module) -> None:
        self._parameters = {id(parameter) for parameter in model.parameters()}
        self._modules = [
            _Module(
                module,
                dict(module._modules),
                OrderedDict(module._forward_hooks),
                OrderedDict(module._forward_pre_hooks),
            )
            for module in model.modules()
        ]

    def put_back(self, model: nn.Module) -> None:
        """Makes the model what it was, with the weights that it has now.

        Raises:
            RuntimeError: Parameters were replaced, so that the trained ones would be lost: a
                defect of the program, or a modifier that should have been refused.
        """
        if {id(parameter) for parameter in model.parameters()} != self._parameters:
            raise RuntimeError("SparseML replaced parameters of the model; its result is lost")
        for saved in self._modules:
            saved.module._modules = dict(saved.children)
            saved.module._forward_hooks = OrderedDict(saved.forward_hooks)
            saved.module._forward_pre_hooks = OrderedDict(saved.pre_hooks)
            for name in _LEFT_BEHIND:
                saved.module.__dict__.pop(name, None)
