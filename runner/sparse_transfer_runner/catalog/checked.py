"""What the check of a model finds, whatever its format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class CheckedModel:
    """A model folder without errors.

    Args:
        digest: SHA-256 over the folder's files.
        format: Such as ``huggingface-safetensors``.
        architecture: Class of the encoder, such as ``BertModel``.
        sparsity: Zeros / prunable weights, 0 to 1.
        parameters: Weights of the whole model, with a head of two labels.
    """

    digest: str
    format: str
    architecture: str
    sparsity: float
    parameters: int


def problem_of(tensor: Tensor, expected: torch.Size | None, told_by: str) -> str | None:
    """Returns what is wrong with a weight, or None.

    Args:
        tensor: As it lies in the file.
        expected: Its shape; None where any will do.
        told_by: What says so, such as ``config.json``.
    """
    import torch

    if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
        count = tensor.numel() - int(torch.isfinite(tensor).sum())
        return f"{count} of {tensor.numel()} values are NaN or infinite; expected finite weights"
    if expected is not None and tensor.shape != expected:
        return f"has shape {list(tensor.shape)}; {told_by} describes {list(expected)}"
    return None
