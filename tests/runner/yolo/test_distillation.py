"""A detector that follows a teacher: the loss between their answers, and a run with it."""

from __future__ import annotations

import math

import pytest
import torch
from tests.runner.tiny_detectors import SEGMENTING, tiny_detector

from sparse_transfer_api.errors import InputError
from sparse_transfer_runner.yolo.distillation import answer_loss

BINS = 4
GAINS = {"class_gain": 0.5, "box_gain": 1.5}


def answers(seed: int, places: int = 6) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "scores": torch.randn((2, 3, places), generator=generator),
        "boxes": torch.randn((2, 4 * BINS, places), generator=generator),
    }


def test_equal_answers_cost_nothing_and_others_do() -> None:
    assert answer_loss(answers(0), answers(0), 2.0, **GAINS) == pytest.approx(0, abs=1e-6)
    assert answer_loss(answers(1), answers(0), 2.0, **GAINS) > 0.1


def test_one_place_costs_what_the_formula_says() -> None:
    wanted = {"scores": torch.tensor([[[2.0]]]), "boxes": torch.zeros(1, 8, 1)}
    own = {"scores": torch.zeros(1, 1, 1), "boxes": torch.zeros(1, 8, 1)}
    own["boxes"][0, 1] = 1.0  # the second distance of the first side
    sure = 1 / (1 + math.exp(-2))
    classes = sure * math.log(sure / 0.5) + (1 - sure) * math.log((1 - sure) / 0.5)
    far = math.e / (1 + math.e)
    sides = (0.5 * math.log(0.5 / far) + 0.5 * math.log(0.5 / (1 - far))) / 4
    # Less than one place that is sure of something counts as such a share of one.
    expected = sure * (0.5 * classes + 1.5 * sides)
    assert answer_loss(own, wanted, 1.0, **GAINS) == pytest.approx(expected, rel=1e-5)


def test_boxes_count_where_the_teacher_sees_something() -> None:
    wanted = answers(0, places=2)
    wanted["scores"] = torch.tensor([5.0, -12.0]).expand(2, 3, 2)
    costs = []
    for place in range(2):
        own = {name: values.clone() for name, values in wanted.items()}
        own["boxes"][:, 0, place] += 3
        costs.append(float(answer_loss(own, wanted, 1.0, **GAINS)))
    assert costs[0] > 1000 * costs[1] > 0


def test_heads_that_tell_single_distances_have_no_distributions_to_follow() -> None:
    own, wanted = answers(1), answers(0)
    for each in (own, wanted):
        each["boxes"] = each["boxes"][:, :4]
    alone = answer_loss(own, wanted, 2.0, **GAINS)
    assert alone == pytest.approx(float(answer_loss(own, wanted, 2.0, class_gain=0.5, box_gain=9)))


@pytest.mark.parametrize("name", ["scores", "boxes"])
def test_a_teacher_of_other_places_is_refused(name: str) -> None:
    wanted = answers(0)
    wanted[name] = answers(0, places=5)[name]
    with pytest.raises(InputError, match=rf"spec\.teacher\.uri: the teacher's {name} of these"):
        answer_loss(answers(1), wanted, 2.0, **GAINS)


@pytest.mark.parametrize("architecture", [None, SEGMENTING])
def test_answers_are_those_of_training(architecture: dict[str, object] | None) -> None:
    detector = tiny_detector(("a", "b"), *([architecture] if architecture else []))
    pictures = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        found = detector.answers(pictures)
        detector.network.model[-1].training = True
        expected = detector.network(pictures)
    for name in ("scores", "boxes"):
        assert torch.equal(found[name], expected[name])
