"""The INT8 forms, and the scale of an activation; values only.

Weights are symmetric int8 per output channel, activations asymmetric uint8 per tensor: the scheme
that training rounds by. Symmetric weights keep zeros exactly zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

ACTIVATION_LEVELS = 255
WEIGHT_LEVELS = 127
REDUCED_LEVELS = 63
"""Seven-bit weights: two products of uint8 and such a weight fit 16 bits, so nothing saturates."""
SMALLEST_SCALE = 1e-8


class Form(StrEnum):
    """How a file computes; the names that results and reports show."""

    FP32 = "fp32"
    MATMUL_INTEGER_FUSED = "matmul-integer-fused"
    """QuantizeLinear, then onnxruntime's MatMulIntegerToFloat with scales and bias inside."""
    MATMUL_INTEGER = "matmul-integer"
    """QuantizeLinear, MatMulInteger, Cast, and a per-channel Mul: standard operators only."""
    MATMUL_INTEGER_CENTRED = "matmul-integer-centred"
    """The same with the weights' zero point stated, without which DeepSparse aborts."""
    QDQ = "qdq"
    """Quantize and dequantize pairs around float operators, weights ``[in, out]``."""
    QDQ_OUTPUTS = "qdq-outputs"
    """The same with the outputs of convolutions quantized too, and their biases to 32 bits."""
    DYNAMIC = "dynamic"
    """Activation scales computed at run time."""
    SPARSE_BLOCKS = "sparse-blocks"
    """Blocks of four weights that are not all zero in some layers, one of the forms in others."""
    REDUCED_FUSED = "matmul-integer-fused-7bit"
    REDUCED_QDQ = "qdq-7bit"
    REDUCED_QDQ_OUTPUTS = "qdq-outputs-7bit"
    REDUCED_SPARSE_BLOCKS = "sparse-blocks-7bit"
    NNCF = "nncf-ptq"
    """OpenVINO's own post-training quantization."""

    @property
    def weight_levels(self) -> int:
        """The largest magnitude of a quantized weight."""
        return REDUCED_LEVELS if self.endswith("-7bit") else WEIGHT_LEVELS


@dataclass(frozen=True)
class InputScale:
    """How an activation is quantized: ``q = clamp(round(x / scale) + zero_point, 0, 255)``."""

    scale: float
    zero_point: int

    @classmethod
    def of_range(cls, low: float, high: float) -> InputScale:
        """Returns the scale that covers a range; zero is always representable exactly."""
        low, high = min(low, 0.0), max(high, 0.0)
        scale = max((high - low) / ACTIVATION_LEVELS, SMALLEST_SCALE)
        return cls(scale, min(max(round(-low / scale), 0), ACTIVATION_LEVELS))

    @property
    def low(self) -> float:
        """The smallest representable value."""
        return -self.zero_point * self.scale

    @property
    def high(self) -> float:
        """The largest representable value."""
        return (ACTIVATION_LEVELS - self.zero_point) * self.scale


def joint_scale(scales: Sequence[InputScale]) -> InputScale:
    """Returns one scale for modules that read the same tensor, such as query, key and value.

    Equal scales stay exactly what training learned; else the joint range is covered.
    """
    if len(set(scales)) == 1:
        return scales[0]
    return InputScale.of_range(min(s.low for s in scales), max(s.high for s in scales))
