"""What the sparse kernels are to reach, and whether they do; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .encoders import DENSE, SPARSE

NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Goal:
    """How many times faster than others an encoder is to be.

    Args:
        encoder: Its name.
        tokens: A sequence's.
        against: Those to beat; the fastest counts.
        gate: The least factor.
        stretch: What would be good.
    """

    encoder: str
    tokens: int
    against: tuple[str, ...]
    gate: float
    stretch: float


_BERT, _MINILM = "BERT-base, 90 % block4", "MiniLM, 80 % block4"
_FP32, _DEEPSPARSE = ("onnxruntime fp32",), ("deepsparse INT8",)

GOALS = (
    Goal(_BERT, 128, _FP32, 6, 9),
    Goal(_BERT, 128, DENSE, 1.5, 2.2),
    Goal(_BERT, 32, DENSE, 1.5, 2.5),
    Goal("BERT-base, 90 % unstructured", 128, _FP32, 4, 5.5),
    Goal(_MINILM, 128, _FP32, 4, 5),
)
APART = Goal(_BERT, 128, _DEEPSPARSE, 1.2, 1.7)
"""Against DeepSparse on unstructured zeros, which is measured in an environment of its own."""


def factor(medians: Mapping[str, float], goal: Goal) -> float | str:
    """Returns how many times faster than the fastest of the others the sparse kernels are.

    Args:
        medians: Milliseconds by subject, at the goal's point.
        goal: Whose others.
    """
    others = [medians[name] for name in goal.against if name in medians]
    if SPARSE not in medians or not others:
        return NOT_MEASURED
    return round(min(others) / medians[SPARSE], 2)
