"""What a recipe does to a training run, behind one narrow protocol.

The native backend keeps constant masks, quantizes in training and distils. The second one, in
``neuralmagic.backend``, hands the run to SparseML's modifiers without the loop noticing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from sparse_transfer_runner.quantization.fake_quantize import FakeQuantizer, QuantizationRecord
from sparse_transfer_runner.recipes import Recipe
from sparse_transfer_runner.recipes.modifiers import DistillationModifier
from sparse_transfer_runner.sparsity.masks import Masks

from .distillation import (
    LayerOutputs,
    hidden_state_errors,
    logit_loss,
    mean_squares,
    task_loss,
)
from .shares import WHOLE, Share

Inputs = Mapping[str, Tensor]


class Backend(Protocol):
    """Joins a recipe to the training loop."""

    @property
    def quantizing(self) -> bool:
        """Whether the current step rounds to INT8; then the loop computes in fp32."""

    def begin(self, optimizer: Optimizer) -> None:
        """Called once, before the first step or the restored one."""

    def enter(self, epoch: float) -> None:
        """Called before each step with the recipe's clock."""

    def learning_rate_at(self, epoch: float) -> float | None:
        """Returns the learning rate at an epoch; None where the backend sets it by itself."""

    def measure(self, parts: Iterable[Inputs]) -> None:
        """Called before the losses of a batch that is in several micro-batches.

        Args:
            parts: The inputs of each; what a loss needs of the batch as a whole is drawn from them.
        """

    def loss(self, inputs: Inputs, targets: Tensor, rows: Tensor, share: Share = WHOLE) -> Tensor:
        """Runs the model on the given rows of the data; returns their part of the step's loss.

        Args:
            inputs: Of a micro-batch.
            targets: Of its rows.
            rows: Their numbers.
            share: What part of the batch they are: a loss that is a mean is multiplied by it.
        """

    def figures(self) -> Callable[[], None]:
        """Returns what puts the running figures back that it keeps beside the model's buffers."""

    def forget(self) -> None:
        """Lets go of what it keeps of the latest step, which may be all of its activations."""

    def check(self) -> None:
        """Makes sure that what has to hold holds; called at every evaluation."""

    def state_dict(self) -> dict[str, Any]:
        """Returns what a checkpoint needs beyond model and optimizer."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores ``state_dict``'s content; called after ``begin`` and before the model's."""

    def finish(self) -> QuantizationRecord | None:
        """Leaves a plain fp32 model; returns the learned scales where the recipe quantized."""


class Teacher:
    """A dense model that the student follows.

    Args:
        model: In evaluation mode; its forward is never differentiated.
        precision: Returns the context in which it runs.
        logits: Its logits for every training row, rows first, where they were computed
            before: without dropout they never change, and one pass over the data is cheaper than
            one in every epoch.
    """

    def __init__(
        self,
        model: nn.Module,
        precision: Callable[[], AbstractContextManager[Any]],
        logits: Tensor | None = None,
    ) -> None:
        self.model = model
        self._precision = precision
        self._logits = logits

    def logits(self, inputs: Inputs, rows: Tensor) -> Tensor:
        """Returns the logits of the given training rows."""
        if self._logits is not None:
            return self._logits[rows]
        return self.outputs(inputs).logits

    def outputs(self, inputs: Inputs) -> Any:
        """Returns the outputs for a batch."""
        with torch.no_grad(), self._precision():
            return self.model(**inputs)

    def layers(self, patterns: Iterable[str]) -> LayerOutputs:
        """Starts recording the outputs of its named layers."""
        return LayerOutputs(self.model, patterns)


class NativeBackend:
    """Constant masks, quantization-aware training and distillation, as the recipe says.

    Args:
        model: The student.
        recipe: Parsed.
        problem_type: The plan's.
        masks: Held from the recipe's pruning start on; None where nothing is pruned.
        quantizable: Layers by name that quantization rounds.
        teacher: Followed where the recipe distils; None leaves the labels alone.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        problem_type: str,
        *,
        masks: Masks | None = None,
        quantizable: Mapping[str, nn.Module] | None = None,
        teacher: Teacher | None = None,
    ) -> None:
        self._quantizing = False
        self._model = model
        self._recipe = recipe
        self._problem_type = problem_type
        self._masks = masks
        self._quantizer = FakeQuantizer(quantizable or {})
        self._teacher = teacher
        self._epoch = 0.0
        self._batch_norms = [m for m in model.modules() if isinstance(m, _BatchNorm)]
        self._layers: tuple[LayerOutputs, LayerOutputs] | None = None
        self._mean_squares: Tensor | None = None
        if teacher is not None and recipe.hidden_distillation is not None:
            layers = recipe.hidden_distillation.layers
            self._layers = LayerOutputs(model, layers), teacher.layers(layers)

    @property
    def quantizing(self) -> bool:
        """Whether the current step rounds to INT8."""
        return self._quantizing

    @property
    def teacher(self) -> nn.Module | None:
        """The model that the student follows; None leaves the labels alone."""
        return None if self._teacher is None else self._teacher.model

    @property
    def soft(self) -> DistillationModifier | None:
        """How the teacher's answers count in the current step; None: they do not."""
        return self._recipe.distillation if self._recipe.distils_at(self._epoch) else None

    def begin(self, optimizer: Optimizer) -> None:
        """Attaches the masks to the optimizer."""
        if self._masks is not None:
            self._masks.attach(optimizer)

    def enter(self, epoch: float) -> None:
        """Starts quantization, stops its observers, freezes batch norms when the clock says so."""
        self._epoch = epoch
        if not self.quantizing and self._recipe.quantizes_at(epoch):
            self._start_quantizing()
        self._quantizer.observing = self._recipe.observes_at(epoch)
        if self._recipe.freezes_batch_norm_at(epoch):
            for module in self._batch_norms:
                module.eval()

    def learning_rate_at(self, epoch: float) -> float:
        """Returns the recipe's learning rate."""
        return self._recipe.learning_rate_at(epoch)

    def measure(self, parts: Iterable[Inputs]) -> None:
        """Looks how large the teacher's hidden states are, where errors are told relative to it."""
        hidden = self._recipe.hidden_distillation
        if self._teacher is None or hidden is None or not hidden.normalize:
            return
        if self._recipe.distils_hidden_at(self._epoch):
            assert self._layers is not None
            self._mean_squares = mean_squares(
                (self._teacher_layers(inputs), _valid(inputs)) for inputs in parts
            )

    def _teacher_layers(self, inputs: Inputs) -> Sequence[Tensor]:
        assert self._teacher is not None and self._layers is not None
        self._teacher.outputs(inputs)
        return self._layers[1].latest

    def loss(self, inputs: Inputs, targets: Tensor, rows: Tensor, share: Share = WHOLE) -> Tensor:
        """Returns labels' loss, or its mixture with the teacher's, plus the hidden states'."""
        self._quantizer.share = share.rows
        outputs = self._model(**inputs)
        loss = task_loss(outputs.logits.float(), targets, self._problem_type)
        if self._teacher is None:
            return share.labels * loss
        hidden = self._recipe.distils_hidden_at(self._epoch)
        wanted = self._teacher.outputs(inputs) if hidden else None
        if self._recipe.distils_at(self._epoch):
            logits = wanted.logits if wanted else self._teacher.logits(inputs, rows)
            loss = self._mixed(loss, outputs.logits.float(), logits.float(), targets)
        loss = share.labels * loss
        return loss + self._hidden_loss(inputs, share) if hidden else loss

    def _mixed(self, loss: Tensor, logits: Tensor, wanted: Tensor, targets: Tensor) -> Tensor:
        soft = self._recipe.distillation
        assert soft is not None
        followed = logit_loss(logits, wanted, soft.temperature, self._problem_type, targets)
        return (1 - soft.hardness) * loss + soft.hardness * followed

    def _hidden_loss(self, inputs: Inputs, share: Share) -> Tensor:
        hidden = self._recipe.hidden_distillation
        assert hidden is not None and self._layers is not None
        own, wanted = self._layers
        errors = hidden_state_errors(
            own.latest,
            wanted.latest,
            _valid(inputs),
            normalize=hidden.normalize,
            epsilon=hidden.epsilon,
            wanted_squares=self._mean_squares if share != WHOLE else None,
        )
        return share.tokens * hidden.gain * errors.sum()

    def mask(self, copies: Mapping[str, Tensor]) -> None:
        """Applies the masks to copies of the model's weights, by their names."""
        if self._masks is not None:
            self._masks.apply_to(copies)

    def figures(self) -> Callable[[], None]:
        """Returns what puts the observed ranges back."""
        return self._quantizer.ranges() if self.quantizing else lambda: None

    def forget(self) -> None:
        """Lets go of recorded hidden states and of the last rounded input."""
        for recorded in self._layers or ():
            recorded.latest.clear()
        self._quantizer.forget()

    def check(self) -> None:
        """Makes sure that no masked weight came back."""
        if self._masks is not None:
            self._masks.check()

    def state_dict(self) -> dict[str, Any]:
        """Returns the masks and the quantizer's state."""
        return {
            "masks": dict(self._masks.bits) if self._masks is not None else {},
            "quantizing": self.quantizing,
            "quantizer": self._quantizer.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resumes in the phase that the checkpoint was written in.

        Raises:
            InputError: Its masks are not those of the foundation.
        """
        if self._masks is not None:
            self._masks.require(state["masks"])
        if state["quantizing"]:
            self._start_quantizing()
        self._quantizer.load_state_dict(state["quantizer"])

    def finish(self) -> QuantizationRecord | None:
        """Leaves a plain fp32 model; returns the learned scales where the recipe quantized."""
        if not self.quantizing:
            return None
        self._quantizer.detach()
        self._quantizing = False
        return self._quantizer.record()

    def _start_quantizing(self) -> None:
        self._quantizer.attach()
        self._quantizing = True


def _valid(inputs: Inputs) -> Tensor | None:
    """Returns which tokens are no padding; None where inputs have none."""
    mask = inputs.get("attention_mask")
    return None if mask is None else mask.bool()
