"""The mask: taken once, saved, applied after every optimizer step, checked, never re-derived.

A mask belongs to a tensor, not to a name, so that wrappers that rename modules cannot detach it.
It is kept in the weights' own type: one fused multiplication over all weights is an order of
magnitude faster than masking by booleans (``benchmarks/training_step``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from sparse_transfer_api.errors import InputError

from .patterns import Pattern, kept_units
from .prunable import zeros_in


class MaskBroken(RuntimeError):
    """A weight that the mask holds at zero is not zero: a defect of the program."""


@dataclass(frozen=True)
class Masks:
    """Masks of a model's weights.

    Args:
        weights: The masked parameters, by their name when the masks were taken.
        kept: For each, a tensor of its shape, type and device: 1 where kept, 0 where held at zero.
    """

    weights: Mapping[str, nn.Parameter]
    kept: Mapping[str, Tensor]

    @classmethod
    def take(
        cls, weights: Mapping[str, nn.Parameter], pattern: Pattern = Pattern.UNSTRUCTURED
    ) -> Masks:
        """Takes the masks from the zeros of the starting weights.

        With a pattern, a zero is held where its whole unit is zero.
        """
        return cls.of(
            weights,
            {name: kept_units(weight.detach(), pattern) for name, weight in weights.items()},
        )

    @classmethod
    def of(cls, weights: Mapping[str, nn.Parameter], kept: Mapping[str, Tensor]) -> Masks:
        """Makes masks of boolean tensors, true where kept."""
        return cls(
            weights,
            {name: kept[name].to(weight.dtype).contiguous() for name, weight in weights.items()},
        )

    @classmethod
    def from_bits(cls, weights: Mapping[str, nn.Parameter], bits: Mapping[str, Tensor]) -> Masks:
        """Makes the masks again whose ``bits`` were kept."""
        return cls.of(weights, {name: _unpacked(bits[name], weights[name]) for name in weights})

    def save(self, path: Path) -> None:
        """Writes the masks as uint8 tensors by parameter name, 1 where kept."""
        save_file({name: mask.to(torch.uint8).cpu() for name, mask in self.kept.items()}, path)

    @cached_property
    def bits(self) -> Mapping[str, Tensor]:
        """The masks by parameter name, eight weights in a byte: uint8 ``[weights / 8]``."""
        return {
            name: torch.from_numpy(np.packbits((mask != 0).cpu().numpy()))
            for name, mask in self.kept.items()
        }

    def require(self, bits: Mapping[str, Tensor]) -> None:
        """Makes sure that these are the masks that an earlier attempt trained with.

        Args:
            bits: Its ``bits``.

        Raises:
            InputError: They differ.
        """
        own = self.bits
        same = own.keys() == bits.keys() and all(torch.equal(own[name], bits[name]) for name in own)
        if not same:
            raise InputError(
                "the foundation's zeros are not where they were when training began: it has "
                "changed since; set spec.model.revision to another value, and run the experiment "
                "again (or put back the foundation that was there)"
            )

    @property
    def total(self) -> int:
        """Prunable weights."""
        return sum(mask.numel() for mask in self.kept.values())

    @property
    def masked(self) -> int:
        """Weights held at zero."""
        return zeros_in(self.kept.values())

    @property
    def sparsity(self) -> float:
        """Masked / prunable."""
        return self.masked / self.total if self.total else 0.0

    @torch.no_grad()
    def apply(self) -> None:
        """Sets every masked weight to zero, in one fused pass."""
        if self.weights:
            torch._foreach_mul_(list(self.weights.values()), list(self.kept.values()))

    @torch.no_grad()
    def apply_to(self, copies: Mapping[str, Tensor]) -> None:
        """Sets what is masked to zero in copies of the weights, such as a moving average.

        Args:
            copies: By the weights' names; others are left alone.
        """
        if self.kept:
            torch._foreach_mul_([copies[name] for name in self.kept], list(self.kept.values()))

    def attach(self, optimizer: Optimizer) -> RemovableHandle:
        """Applies the masks now, and after every step of the optimizer from here on."""
        self.apply()
        return optimizer.register_step_post_hook(lambda *_: self.apply())

    @torch.no_grad()
    def check(self) -> None:
        """Makes sure that every masked weight is exactly zero.

        Raises:
            MaskBroken: Names the weights and counts the positions.
        """
        revived = {
            name: count
            for name, weight in self.weights.items()
            if (count := int(torch.count_nonzero(weight * (1 - self.kept[name]))))
        }
        if revived:
            raise MaskBroken(f"masked weights are not zero: {revived}")


def _unpacked(bits: Tensor, weight: Tensor) -> Tensor:
    flags = np.unpackbits(bits.cpu().numpy(), count=weight.numel()).astype(bool)
    return torch.from_numpy(flags).view(weight.shape).to(weight.device)
