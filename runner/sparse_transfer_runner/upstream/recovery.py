"""Training towards the parent: recovery after pruning, or pruning in its course.

The model learns its parent's hidden states, without labels and without dropout. Batches and
learning rates are functions of the step, so a checkpoint holds model, optimizer and masks, and
nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW
from torch.utils.hooks import RemovableHandle

from sparse_transfer_runner.sparsity.masks import Masks
from sparse_transfer_runner.sparsity.normalization import batch_norms
from sparse_transfer_runner.sparsity.patterns import Quota
from sparse_transfer_runner.sparsity.prunable import is_of_foundation
from sparse_transfer_runner.sparsity.walk import Inputs
from sparse_transfer_runner.training.checkpoint_files import Position
from sparse_transfer_runner.training.hardware import precision_context

from .family import Material
from .gradual import Schedule, masks_by_size

_WARM_UP = 0.05
_MAX_GRADIENT_NORM = 1.0


@dataclass
class Training:
    """One run over a number of steps.

    Args:
        model: Trained in place; embeddings and head stay the parent's.
        parent: Dense, in evaluation mode.
        material: Its batches.
        steps: In all.
        masks: Kept; a schedule replaces them.
        learning_rate: The highest.
        schedule: Of gradual pruning; None where all zeros are there.
        quotas: Each weight's zeros at the schedule's end, by parameter name.
        precision: Of the forward passes, ``fp32`` or ``bf16``.
    """

    model: nn.Module
    parent: nn.Module
    material: Material
    steps: int
    masks: Masks
    learning_rate: float
    schedule: Schedule | None = None
    quotas: Mapping[str, Quota] = field(default_factory=dict)
    precision: str = "fp32"
    done: int = 0
    _optimizer: AdamW = field(init=False, repr=False)
    _handle: RemovableHandle = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.model.eval()
        self._trained = _trained_parameters(self.model)
        self._optimizer = AdamW(
            self._trained, lr=self.learning_rate, betas=(0.9, 0.98), weight_decay=0, fused=True
        )
        self._handle = self.masks.attach(self._optimizer)

    @property
    def position(self) -> Position:
        """Where the run stands."""
        return Position("step", self.done)

    def state(self) -> Mapping[str, Any]:
        """Returns all that another process needs to go on."""
        return {
            "step": self.done,
            "model": dict(self.model.state_dict()),
            "optimizer": self._optimizer.state_dict(),
            "masks": dict(self.masks.bits),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes to where another process was."""
        self.done = state["step"]
        self.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._hold(Masks.from_bits(self.masks.weights, state["masks"]))

    def run(self, on_step: Callable[[int], None]) -> None:
        """Trains to the end.

        Args:
            on_step: Called with the number of finished steps; breaks the run off by raising.
        """
        norms = batch_norms(self.model)
        for norm in norms:
            # Statistics have to follow features that change; dropout stays off.
            norm.train()
        while self.done < self.steps:
            self._prune_where_due()
            self._step()
            self.done += 1
            on_step(self.done)
        self._prune_where_due()
        self._handle.remove()
        for norm in norms:
            norm.eval()
        for parameter in self._trained:
            parameter.grad = None

    def _prune_where_due(self) -> None:
        if self.schedule is not None and self.schedule.prunes_at(self.done):
            share = self.schedule.share(self.done)
            self._hold(masks_by_size(self.masks.weights, self.quotas, share))

    def _hold(self, masks: Masks) -> None:
        self._handle.remove()
        self.masks = masks
        self._handle = masks.attach(self._optimizer)

    def _step(self) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = self.learning_rate * self._rate(self.done)
        batch = self.material.step(self.done)
        with precision_context(self.precision):
            loss = self.material.error(self.model, self.parent, batch)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self._trained, _MAX_GRADIENT_NORM)
        self._optimizer.step()

    def _rate(self, step: int) -> float:
        warm = (step + 1) / max(1, _WARM_UP * self.steps)
        return min(1.0, warm) * (self.steps - step) / self.steps


def mean_error(
    model: nn.Module, parent: nn.Module, material: Material, batches: Sequence[Inputs]
) -> float:
    """Returns the mean of a model's errors on batches, 0 for a perfect copy."""
    model.eval()
    with torch.inference_mode():
        errors = [float(material.error(model, parent, batch)) for batch in batches]
    return round(sum(errors) / len(errors), 4)


def _trained_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Returns the parameters of the foundation: weights, biases, norms; the rest is frozen."""
    trained = []
    for name, parameter in model.named_parameters():
        if is_of_foundation(model, name):
            trained.append(parameter)
        else:
            parameter.requires_grad_(False)
    return trained
