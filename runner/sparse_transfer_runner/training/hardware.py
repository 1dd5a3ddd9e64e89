"""Where training computes, in which arithmetic, and how pictures lie in memory there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from sparse_transfer_api.spec import Precision
from sparse_transfer_runner.engines.cpu import multiplies_bf16
from sparse_transfer_runner.use_cases.protocol import Batch

_PICTURES = 4
"""Dimensions of a batch of them."""
_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


def device() -> torch.device:
    """Returns the device to train on."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def resolved_precision(asked: Precision, gains_from_bf16: Callable[[], bool]) -> str:
    """Returns the arithmetic of training: as asked, else bf16 where this machine is fast at it.

    Args:
        asked: By the user.
        gains_from_bf16: Whether a CPU that multiplies bf16 trains the model faster in it.

    Returns:
        ``fp32``, ``bf16`` or ``fp16``.
    """
    if asked != Precision.AUTO:
        return asked.lower()
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if multiplies_bf16() and gains_from_bf16() else "fp32"


@contextmanager
def precision_context(precision: str) -> Iterator[None]:
    """The context in which a forward pass computes at the given precision."""
    kind, dtype = device().type, _AUTOCAST.get(precision)
    # torch's fused attention takes several times as long in bf16 on a CPU, backward above all.
    plainly = kind == "cpu" and dtype is not None
    with (
        torch.autocast(kind, dtype) if dtype else nullcontext(),
        sdpa_kernel(SDPBackend.MATH) if plainly else nullcontext(),
    ):
        yield


def to_tensors(batch: Batch) -> dict[str, Tensor]:
    """Moves a batch to the training device."""
    return {
        name: laid_out(torch.as_tensor(values, device=device())) for name, values in batch.items()
    }


def laid_out(values: Tensor) -> Tensor:
    """Returns pictures with the channels of a pixel side by side, and anything else as it is.

    Convolutions keep that order, and compute up to twice as fast in it.
    """
    pictures = values.dim() == _PICTURES
    return values.contiguous(memory_format=torch.channels_last) if pictures else values
