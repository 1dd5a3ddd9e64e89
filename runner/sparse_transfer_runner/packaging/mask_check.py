"""Counts in a file what the mask promised: every masked position decodes to exactly zero."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparse_transfer_api.errors import OutputVanished
from sparse_transfer_runner.engines.protocol import FileWeights

from .evaluation import LayerSparsity

Masks = Mapping[str, NDArray[Any]]
"""By parameter name, ``[out, in]``; 1 where a weight is kept."""

_WEIGHT = ".weight"


@dataclass(frozen=True)
class MaskCount:
    """What a file holds at masked positions.

    Args:
        layers: Each prunable layer, with the share of its weights that is masked and zero.
        zeros: Masked positions that decode to exactly zero.
        total: Prunable weights.
        revived: Masked positions that are not zero.
        missing: Masked layers that the file does not hold under their name.
    """

    layers: tuple[LayerSparsity, ...]
    zeros: int
    total: int
    revived: int
    missing: tuple[str, ...]

    @property
    def intact(self) -> bool:
        """Whether the whole mask is in the file."""
        return not self.revived and not self.missing

    @property
    def sparsity(self) -> float:
        """Masked positions that decode to exactly zero / prunable weights."""
        return self.zeros / self.total if self.total else 0.0


def load_masks(path: Path) -> Masks:
    """Reads saved masks; none where there is no file.

    Raises:
        OutputVanished: The file is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if not path.is_file():
        return {}
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise OutputVanished(
            f"{path}: the mask cannot be read ({error}); train has to run again"
        ) from error


def masked_modules(masks: Masks) -> tuple[str, ...]:
    """Returns the names of the modules that the masks belong to."""
    return tuple(name.removesuffix(_WEIGHT) for name in masks)


def count_masked(weights: FileWeights, masks: Masks) -> MaskCount:
    """Compares a file's decoded weights with the masks."""
    layers: list[LayerSparsity] = []
    missing: list[str] = []
    zeros = revived = 0
    for name, mask in masks.items():
        weight = weights.linear.get(name.removesuffix(_WEIGHT))
        kept_zero = 0
        if weight is None or weight.shape != mask.shape:
            missing.append(name)
        else:
            held = mask == 0
            kept_zero = int(np.count_nonzero(held & (weight == 0)))
            revived += int(np.count_nonzero(held)) - kept_zero
        zeros += kept_zero
        layers.append(LayerSparsity(name=name, weights=mask.size, sparsity=kept_zero / mask.size))
    total = sum(mask.size for mask in masks.values())
    return MaskCount(tuple(layers), zeros, total, revived, tuple(missing))
