"""The activation scales that SparseML's quantization-aware training learned."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from sparse_transfer_runner.quantization.fake_quantize import (
    ACTIVATION_LEVELS,
    ActivationScale,
    QuantizationRecord,
)


def learned_scales(model: nn.Module) -> QuantizationRecord:
    """Returns the input scale of each Linear and convolution layer that is rounded to INT8.

    What SparseML rounds in another way (embeddings, other bits) is not in it: in the files it stays
    in floating point.

    Args:
        model: With SparseML's wrappers still on.
    """
    return QuantizationRecord(modules=dict(_scales(model)))


def _scales(model: nn.Module) -> Iterator[tuple[str, ActivationScale]]:
    from torch.ao.nn.qat import Conv2d, Linear
    from torch.ao.quantization import FakeQuantizeBase, QuantWrapper

    for name, wrapper in model.named_modules():
        if not isinstance(wrapper, QuantWrapper):
            continue
        if not isinstance(wrapper.module, Linear | Conv2d):
            continue
        inputs = getattr(wrapper.quant, "activation_post_process", None)
        weights = wrapper.module.weight_fake_quant
        if not isinstance(inputs, FakeQuantizeBase) or not isinstance(weights, FakeQuantizeBase):
            continue
        scale = _unsigned_scale(inputs)
        if scale is not None:
            yield name, scale


def _unsigned_scale(observer: Any) -> ActivationScale | None:
    """Returns the scale of a fake quantization with zero at its lowest level; None unless INT8."""
    lowest = int(observer.quant_min)
    if int(observer.quant_max) - lowest != ACTIVATION_LEVELS:
        return None
    return ActivationScale(
        input_scale=float(observer.scale), input_zero_point=int(observer.zero_point) - lowest
    )
