"""INT8 in training: weights and activations are rounded as the shipped file will round them.

Linear and convolution layers. A batch norm behind a convolution need not be folded for that: it
multiplies whole output channels, which only changes the channels' scales.

The scheme is the one that CPU engines run fast: weights symmetric int8 per output channel,
activations asymmetric uint8 per tensor. Gradients pass straight through inside the range (Jacob
et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference", 2018). Parameters stay where they are, so masks keep working, and a checkpoint from
before quantization still fits after.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from sparse_transfer_api.base import Part, Record

WEIGHT_LEVELS = 127
"""Weights use -127..127: symmetric, so that zero is exact and negation is free."""
ACTIVATION_LEVELS = 255
_MOMENTUM = 0.05  # of the running range; about the last 20 steps decide
_SMALLEST_SCALE = 1e-8


_LAYERS = frozenset({"Linear", "Conv2d", "Conv2dSame"})
"""By class, since a class derived from one may compute with something else than its weight."""


class ActivationScale(Part):
    """How one module's input is quantized: ``q = clamp(round(x / scale) + zero_point, 0, 255)``."""

    input_scale: float
    input_zero_point: int


class QuantizationRecord(Record):
    """``quantization.json``: the learned activation scales by module name."""

    scheme: str = "int8: weights symmetric per output channel, activations uint8 per tensor"
    modules: dict[str, ActivationScale]


def weight_scales(weight: Tensor) -> Tensor:
    """Returns the scale of each output channel, ``[out]``, of a weight ``[out, ...]``."""
    largest = weight.detach().abs().flatten(1).amax(dim=1)
    return (largest / WEIGHT_LEVELS).clamp(min=_SMALLEST_SCALE)


def fake_quantize_weight(weight: Tensor) -> Tensor:
    """Rounds a weight ``[out, ...]`` to int8 per output channel and back."""
    scales = weight_scales(weight)
    zero_points = torch.zeros_like(scales, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(
        weight, scales, zero_points, 0, -WEIGHT_LEVELS, WEIGHT_LEVELS
    )


def quantizable_layers(model: nn.Module, weights: Iterable[str]) -> dict[str, nn.Module]:
    """Returns the layers by name that can be rounded.

    Args:
        model: Any model.
        weights: Names of the weights in question, such as ``encoder.layer.0.output.dense.weight``.
    """
    names = [name.removesuffix(".weight") for name in weights]
    layers = {name: model.get_submodule(name) for name in names}
    return {name: layer for name, layer in layers.items() if is_quantizable(layer)}


def is_quantizable(module: nn.Module) -> bool:
    """Whether a module is a layer that can be rounded."""
    return type(module).__name__ in _LAYERS


def weight_of(layer: nn.Module) -> Tensor:
    """Returns a layer's weight, ``[out, ...]``."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight


def with_weight(layer: nn.Module, weight: Tensor, values: Tensor) -> Tensor:
    """Returns what a layer makes of its input with another weight in its weight's place."""
    # Attributes of the instance go before a module's parameters, which stay where they are.
    vars(layer)["weight"] = weight
    try:
        output: Tensor = type(layer).forward(layer, values)
    finally:
        del vars(layer)["weight"]
    return output


@dataclass
class _Range:
    """The running range of one module's input."""

    low: Tensor
    high: Tensor
    seen: bool = False

    def observe(self, low: Tensor, high: Tensor, momentum: float) -> None:
        if self.seen:
            self.low.lerp_(low, momentum)
            self.high.lerp_(high, momentum)
        else:
            self.low.copy_(low)
            self.high.copy_(high)
            self.seen = True

    def parameters(self) -> tuple[Tensor, Tensor]:
        """Returns scale and zero point; zero is always representable exactly."""
        low, high = self.low.clamp(max=0), self.high.clamp(min=0)
        scale = ((high - low) / ACTIVATION_LEVELS).clamp(min=_SMALLEST_SCALE)
        return scale, (-low / scale).round().clamp(0, ACTIVATION_LEVELS).to(torch.int32)


@dataclass
class _SharedInput:
    """The last quantized input: query, key and value read one tensor, which is rounded once."""

    source: weakref.ref[Tensor] | None = None
    bounds: tuple[Tensor, Tensor] | None = None
    rounded: Tensor | None = None


class FakeQuantizer:
    """Attaches INT8 rounding to layers, and takes it off again.

    Args:
        modules: Layers by name, of those that ``quantizable_layers`` returns.
    """

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        self.observing = True
        self.share = 1.0
        """What part of a batch the forward passes see: all of a batch count as one."""
        self._modules = dict(modules)
        self._ranges = {
            name: _Range(weight_of(module).new_zeros(()), weight_of(module).new_zeros(()))
            for name, module in self._modules.items()
        }
        self._shared = _SharedInput()
        self._handles: list[RemovableHandle] = []

    def attach(self) -> None:
        """Starts rounding; ranges are observed while a module trains and ``observing`` is set."""
        for name, module in self._modules.items():
            self._handles.append(
                module.register_forward_pre_hook(
                    lambda module, inputs, seen=self._ranges[name]: self._round_input(
                        module, inputs, seen
                    )
                )
            )
            module.forward = _QuantizedForward(module)

    def detach(self) -> None:
        """Stops rounding and leaves plain fp32 modules."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        for module in self._modules.values():
            module.__dict__.pop("forward", None)
        self._shared = _SharedInput()

    def forget(self) -> None:
        """Lets go of the last rounded input, and of the graph behind it."""
        self._shared = _SharedInput()

    def ranges(self) -> Callable[[], None]:
        """Returns what puts the observed ranges back to what they are now."""
        kept = self.state_dict()
        return lambda: self.load_state_dict(kept)

    def record(self) -> QuantizationRecord:
        """Returns the learned scales."""
        scales = {name: observed.parameters() for name, observed in self._ranges.items()}
        return QuantizationRecord(
            modules={
                name: ActivationScale(input_scale=float(scale), input_zero_point=int(zero_point))
                for name, (scale, zero_point) in scales.items()
            }
        )

    def state_dict(self) -> dict[str, Any]:
        """Returns what a checkpoint needs."""
        return {
            "observing": self.observing,
            "ranges": {
                name: (observed.low.clone(), observed.high.clone(), observed.seen)
                for name, observed in self._ranges.items()
            },
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores ``state_dict``'s content."""
        self.observing = state["observing"]
        for name, (low, high, seen) in state["ranges"].items():
            observed = self._ranges[name]
            observed.low.copy_(low)
            observed.high.copy_(high)
            observed.seen = seen

    @property
    def _momentum(self) -> float:
        return _MOMENTUM if self.share == 1 else 1 - (1 - _MOMENTUM) ** self.share

    def _round_input(
        self, module: nn.Module, inputs: tuple[Tensor, ...], observed: _Range
    ) -> tuple[Tensor, ...]:
        values = inputs[0]
        shared = self._shared
        if shared.source is None or shared.source() is not values:
            self._shared = shared = _SharedInput(weakref.ref(values))
        if self.observing and module.training:
            if shared.bounds is None:
                low, high = values.detach().aminmax()
                shared.bounds = low.float(), high.float()
            observed.observe(*shared.bounds, self._momentum)
        if shared.rounded is None:
            scale, zero_point = observed.parameters()
            shared.rounded = torch.fake_quantize_per_tensor_affine(
                values, scale, zero_point, 0, ACTIVATION_LEVELS
            )
        return (shared.rounded, *inputs[1:])


@dataclass(frozen=True)
class _QuantizedForward:
    """A layer's forward with its weight rounded."""

    module: nn.Module = field(repr=False)

    def __call__(self, values: Tensor) -> Tensor:
        return with_weight(self.module, fake_quantize_weight(weight_of(self.module)), values)
