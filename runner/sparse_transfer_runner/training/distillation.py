"""Losses that let a sparse student follow its dense teacher."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparse_transfer_api.errors import InputError
from sparse_transfer_runner.recipes import matches
from sparse_transfer_runner.use_cases.protocol import IGNORED, PADDING_LOGIT

PROBLEM_SINGLE = "single_label_classification"
PROBLEM_MULTI = "multi_label_classification"
PROBLEM_REGRESSION = "regression"
PROBLEM_POSITIONS = "token_classification"
"""Each position has a label."""
PROBLEM_SPAN = "question_answering"
"""An answer is a first and a last position."""


def task_loss(logits: Tensor, targets: Tensor, problem_type: str) -> Tensor:
    """Returns the loss against the labels, a scalar: a mean over rows, or labelled positions.

    Args:
        logits: ``[rows, labels]``, or ``[rows, positions, labels]``.
        targets: As ``EncodedSplit`` describes them. Positions beyond those of the logits are cut.
        problem_type: The plan's.
    """
    if problem_type == PROBLEM_SINGLE:
        return F.cross_entropy(logits, targets)
    if problem_type == PROBLEM_MULTI:
        return F.binary_cross_entropy_with_logits(logits, targets)
    if problem_type == PROBLEM_POSITIONS:
        wanted = targets[:, : logits.shape[1]].long()
        total = F.cross_entropy(
            logits.transpose(1, 2), wanted, ignore_index=IGNORED, reduction="sum"
        )
        return total / (wanted != IGNORED).sum().clamp(min=1)
    if problem_type == PROBLEM_SPAN:
        return F.cross_entropy(logits, targets)
    return F.mse_loss(logits.squeeze(-1), targets)


def logit_loss(
    student: Tensor,
    teacher: Tensor,
    temperature: float,
    problem_type: str,
    targets: Tensor | None = None,
) -> Tensor:
    """Returns the loss against the teacher's logits, of the shape of the student's.

    Hinton et al., "Distilling the Knowledge in a Neural Network" (2015): KL divergence of the
    softened distributions, times the squared temperature so that gradients keep their size. For
    several labels the same with one Bernoulli a label; for regression the squared difference; for
    labels of positions the mean over those that have one by ``targets``, or over all of them; for
    spans over both ends, padding left out.
    """
    if problem_type == PROBLEM_REGRESSION:
        return F.mse_loss(student, teacher)
    scale = temperature**2
    if problem_type == PROBLEM_MULTI:
        soft = torch.sigmoid(teacher / temperature)
        cross = F.binary_cross_entropy_with_logits(student / temperature, soft)
        entropy = F.binary_cross_entropy(soft, soft)
        return scale * (cross - entropy)
    if problem_type == PROBLEM_POSITIONS:
        positions = student.shape[1]
        student, teacher = student.flatten(0, 1), teacher[:, :positions].flatten(0, 1)
        if targets is not None:
            labelled = (targets[:, :positions] != IGNORED).flatten()
            student, teacher = student[labelled], teacher[labelled]
    elif problem_type == PROBLEM_SPAN:
        teacher = teacher[:, : student.shape[1]]
        # The teacher may not have seen the rows beside others that were as long.
        teacher = torch.where(student > PADDING_LOGIT / 2, teacher, PADDING_LOGIT)
        teacher = teacher.transpose(1, 2).flatten(0, 1)
        student = student.transpose(1, 2).flatten(0, 1)
    divergence = F.kl_div(
        F.log_softmax(student / temperature, dim=-1),
        F.log_softmax(teacher / temperature, dim=-1),
        reduction="sum",
        log_target=True,
    )
    return scale * divergence / max(1, len(student))


def hidden_state_errors(
    student: Sequence[Tensor],
    teacher: Sequence[Tensor],
    valid: Tensor | None,
    *,
    normalize: bool = True,
    epsilon: float = 1e-6,
    wanted_squares: Tensor | None = None,
) -> Tensor:
    """Returns the mean squared error of each layer's hidden states, ``[layers]``.

    Args:
        student: ``[batch, tokens, width]`` per layer; any shape where nothing is padding.
        teacher: The same.
        valid: Boolean ``[batch, tokens]``: tokens that are not padding; None where all count.
        normalize: Divide each by the teacher's mean square (plus ``epsilon``), so that layers
            count alike; as SparseML's PerLayerDistillationModifier does.
        epsilon: Keeps the quotient finite.
        wanted_squares: The teacher's mean squares, ``[layers]``, where they are those of a larger
            batch that this one is a part of; by default this one's own.
    """
    errors = []
    for layer, (own, wanted) in enumerate(zip(student, teacher, strict=True)):
        rows, count = _counted(wanted, valid)
        own, wanted = own.float() * rows, wanted.float() * rows
        error = (own - wanted).square().sum() / count
        if normalize:
            squares = (
                wanted.square().sum() / count if wanted_squares is None else (wanted_squares[layer])
            )
            error = error / (squares + epsilon)
        errors.append(error)
    return torch.stack(errors)


def mean_squares(parts: Iterable[tuple[Sequence[Tensor], Tensor | None]]) -> Tensor:
    """Returns the mean square of each layer's hidden states over a batch's parts, ``[layers]``.

    Args:
        parts: Of each, the hidden states by layer and the tokens that are no padding, as
            ``hidden_state_errors`` takes them.
    """
    sums: list[Tensor] = []
    counts: list[Tensor] = []
    for layers, valid in parts:
        found = [(layer, *_counted(layer, valid)) for layer in layers]
        sums.append(torch.stack([(each.float() * rows).square().sum() for each, rows, _ in found]))
        counts.append(torch.stack([sums[-1].new_tensor(0) + count for _, _, count in found]))
    return torch.stack(sums).sum(0) / torch.stack(counts).sum(0)


def _counted(states: Tensor, valid: Tensor | None) -> tuple[Tensor | float, Tensor | int]:
    """Returns a factor that leaves padding out, and the number of values that are left."""
    if valid is None:
        return 1.0, states.numel()
    rows = valid.unsqueeze(-1)
    return rows, rows.sum() * states.shape[-1]


class LayerOutputs:
    """Records what the named layers of a model put out in its latest forward pass.

    Args:
        model: Watched from here on.
        layers: Patterns of module names.

    Raises:
        InputError: No module has such a name.
    """

    def __init__(self, model: nn.Module, layers: Iterable[str]) -> None:
        self.latest: list[Tensor] = []
        watched = [module for name, module in model.named_modules() if matches(layers, name)]
        if not watched:
            raise InputError(
                f"recipe: student_layer_names {list(layers)} match no module of "
                f"{type(model).__name__}"
            )
        model.register_forward_pre_hook(lambda *_: self.latest.clear())
        for module in watched:
            module.register_forward_hook(self._note)

    def _note(self, _: nn.Module, __: object, output: Tensor | tuple[Tensor, ...]) -> None:
        self.latest.append(output[0] if isinstance(output, tuple) else output)
