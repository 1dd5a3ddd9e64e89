"""A detector's loss with a teacher in it: places that look alike answer alike.

Labels' loss, which also says where boxes and outlines end, stays whole; what the teacher answers
for the same pictures is added to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sparse_transfer_api.errors import InputError
from sparse_transfer_runner.recipes.modifiers import DistillationModifier

from .network import Detector

_SIDES = 4
"""Of a box."""

Answers = Mapping[str, Tensor]
"""Of every place, before they are decoded: ``scores`` ``[batch, classes, places]`` and ``boxes``
``[batch, 4 * bins, places]``, of each side how likely each distance is; logits."""


class FollowingLoss:
    """Ultralytics' loss, and beside it how far answers are from a teacher's.

    Args:
        labels: Ultralytics' loss.
        teacher: In evaluation mode; sees the same pictures, changed as the student's are.
        soft: Returns how the teacher counts at the moment; None where it does not.
    """

    def __init__(
        self, labels: Any, teacher: Detector, soft: Callable[[], DistillationModifier | None]
    ) -> None:
        self._labels = labels
        self._teacher = teacher
        self._soft = soft

    def __call__(self, answers: Answers, batch: Mapping[str, Tensor]) -> tuple[Tensor, Any]:
        """Returns the parts of the loss, times the pictures, and what Ultralytics notes of it.

        Raises:
            InputError: The teacher answers for other places or distances.
        """
        loss, noted = self._labels(answers, batch)
        soft = self._soft()
        if soft is None:
            return loss, noted
        pictures = batch["img"]
        with torch.no_grad():
            wanted = self._teacher.answers(pictures)
        gains = self._labels.hyp
        followed = answer_loss(
            answers, wanted, soft.temperature, class_gain=gains.cls, box_gain=gains.dfl
        )
        return torch.cat([loss, (soft.hardness * len(pictures) * followed).reshape(1)]), noted


def answer_loss(
    student: Answers, teacher: Answers, temperature: float, *, class_gain: float, box_gain: float
) -> Tensor:
    """Returns how far a student's answers are from a teacher's, a scalar.

    Classes by one Bernoulli each, distances by the divergence of their distributions (Zheng et al.,
    "Localization Distillation for Dense Object Detection", CVPR 2022), both softened as in Hinton
    et al. (2015). A place counts as much as the teacher is sure that something is there, and all of
    them as one: most places see background, where there is nothing to tell of boxes.

    Args:
        student: Answers.
        teacher: Likewise, for the same pictures.
        temperature: Of both.
        class_gain: Weight of classes.
        box_gain: Weight of distances.

    Raises:
        InputError: The teacher answers for other places or distances.
    """
    for name in ("scores", "boxes"):
        if student[name].shape != teacher[name].shape:
            raise InputError(
                f"spec.teacher.uri: the teacher's {name} of these pictures are "
                f"{list(teacher[name].shape)}, the model's {list(student[name].shape)}; give a "
                "teacher whose head has as many places, classes and distances"
            )
    scores, boxes = (teacher[name].float().transpose(1, 2) for name in ("scores", "boxes"))
    own_scores, own_boxes = (student[name].float().transpose(1, 2) for name in ("scores", "boxes"))
    sure = scores.sigmoid().amax(-1)
    weights = sure / sure.sum().clamp(min=1)
    classes = _bernoullis(own_scores, scores, temperature).sum(-1)
    loss = class_gain * (weights * classes).sum()
    bins = boxes.shape[-1] // _SIDES
    if bins > 1:
        sides = _distances(own_boxes, boxes, bins, temperature).mean(-1)
        loss = loss + box_gain * (weights * sides).sum()
    return loss


def _bernoullis(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    soft = torch.sigmoid(teacher / temperature)
    cross = F.binary_cross_entropy_with_logits(student / temperature, soft, reduction="none")
    entropy = F.binary_cross_entropy(soft, soft, reduction="none")
    return temperature**2 * (cross - entropy)


def _distances(student: Tensor, teacher: Tensor, bins: int, temperature: float) -> Tensor:
    """Returns the divergence of each side, ``[batch, places, 4]``."""
    own, wanted = (
        F.log_softmax(each.unflatten(-1, (_SIDES, bins)) / temperature, dim=-1)
        for each in (student, teacher)
    )
    return temperature**2 * F.kl_div(own, wanted, reduction="none", log_target=True).sum(-1)
