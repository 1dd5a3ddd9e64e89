"""Recovery: the pruned model learns its parent's hidden states back, its mask kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

import torch
from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from sparse_transfer_runner.sparsity.masks import Masks
from sparse_transfer_runner.sparsity.prunable import prunable_weights
from sparse_transfer_runner.training.distillation import hidden_state_errors

from .text import Sentences

_LEARNING_RATE = 5e-4
_WARM_UP = 0.05
_MAX_GRADIENT_NORM = 1.0
_EVALUATION_BATCH = 64


@dataclass(frozen=True)
class Recovery:
    """A short distillation run.

    Args:
        steps: Optimizer steps.
        batch_size: Rows of a step.
        seed: Of the order of sentences.
    """

    steps: int
    batch_size: int
    seed: int

    def run(
        self,
        model: nn.Module,
        parent: nn.Module,
        masks: Masks,
        sentences: Sentences,
        on_step: Callable[[int], None],
    ) -> None:
        """Trains the model in place, without dropout; embeddings stay the parent's."""
        model.eval()
        trained = _trained_parameters(model)
        optimizer = AdamW(trained, lr=_LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0, fused=True)
        schedule = LambdaLR(optimizer, self._rate)
        handle = masks.attach(optimizer)
        for done, batch in enumerate(
            islice(sentences.stream(self.batch_size, self.seed), self.steps), start=1
        ):
            loss = _loss(model, parent, batch)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(trained, _MAX_GRADIENT_NORM)
            optimizer.step()
            schedule.step()
            on_step(done)
        handle.remove()

    def _rate(self, step: int) -> float:
        warm = (step + 1) / max(1, _WARM_UP * self.steps)
        return min(1.0, warm) * (self.steps - step) / self.steps


def hidden_state_error(model: nn.Module, parent: nn.Module, sentences: Sentences) -> float:
    """Returns the mean relative squared error of the hidden states, 0 for a perfect copy."""
    model.eval()
    with torch.inference_mode():
        losses = [
            float(_loss(model, parent, batch)) for batch in sentences.batches(_EVALUATION_BATCH)
        ]
    return round(sum(losses) / len(losses), 4)


def _loss(model: nn.Module, parent: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    with torch.no_grad():
        wanted = parent(**batch, output_hidden_states=True).hidden_states
    own = model(**batch, output_hidden_states=True).hidden_states
    return hidden_state_errors(own[1:], wanted[1:], batch["attention_mask"].bool()).mean()


def _trained_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Returns the blocks' parameters: what lies beside a prunable weight, and the norms."""
    prunable = {id(weight) for weight in prunable_weights(model).values()}
    trained = []
    for name, parameter in model.named_parameters():
        if id(parameter) in prunable or ("embed" not in name and "pooler" not in name):
            trained.append(parameter)
        else:
            parameter.requires_grad_(False)
    return trained
