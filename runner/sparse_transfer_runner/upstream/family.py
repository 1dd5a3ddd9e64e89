"""What upstream work needs to know of a family of models: the rest is the same for all.

A family is one module with a function that opens a parent, and one line in the foundry.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from sparse_transfer_runner.sparsity.walk import Inputs


class Material(Protocol):
    """Unlabelled inputs, and how far a model is from its parent on them.

    Everything is a function of the seed and of what is asked for, never of what was asked before:
    so that work which is taken up again sees what it would have seen.
    """

    def calibration(self) -> Sequence[Inputs]:
        """Returns the batches that pruning looks at, on the device."""

    def step(self, number: int) -> Inputs:
        """Returns the batch of a training step, counted from 0, on the device."""

    def error(self, model: nn.Module, parent: nn.Module, inputs: Inputs) -> Tensor:
        """Returns the relative squared error of what the model computes on the way, a scalar.

        It can be differentiated; 0 is a perfect copy.
        """

    def held_out(self) -> Sequence[Inputs]:
        """Returns batches that neither pruning nor training sees, on the device."""

    def facts(self) -> dict[str, float]:
        """Returns figures for the record, such as numbers of rows."""


@dataclass(frozen=True)
class Opened:
    """A dense parent, ready to be pruned.

    Args:
        family: As catalogues name it: ``text``, ``image``, ``detection``, ``segmentation``.
        parent: In evaluation mode, on the device.
        material: What to prune and train on.
        save: Writes a model of the parent's kind, and what belongs to it, into a folder.
        digest: Of the unlabelled data.
        learning_rate: The highest of training towards the parent.
        gains_from_bf16: Whether a CPU that multiplies bf16 trains the model faster in it.
    """

    family: str
    parent: nn.Module
    material: Material
    save: Callable[[Any, Path], None]
    digest: str
    learning_rate: float
    gains_from_bf16: bool = True
