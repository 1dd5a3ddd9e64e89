"""Mean average precision: that of Ultralytics, and that of a resample as if computed anew."""

from __future__ import annotations

import numpy as np
import pytest

from sparse_transfer_api.errors import Stopped
from sparse_transfer_runner.detection.average_precision import THRESHOLDS, Picture, Precision
from sparse_transfer_runner.detection.detections import overlaps
from sparse_transfer_runner.storage.settings import StorageSettings, using
from sparse_transfer_runner.yolo.library import require_ultralytics


def pictures(seed: int, count: int = 12, classes: int = 3) -> list[Picture]:
    random = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        corners = random.uniform(0, 40, (random.integers(0, 5), 2))
        truth = np.concatenate([corners, corners + random.uniform(4, 30, corners.shape)], axis=1)
        labels = random.integers(0, classes, len(truth))
        boxes = np.concatenate([truth + random.normal(0, 1.5, truth.shape), truth + 9])
        guessed = np.concatenate([labels, random.integers(0, classes, len(truth))])
        scores = random.uniform(0, 1, len(boxes))
        order = np.argsort(-scores)
        found.append(
            Picture(
                scores[order],
                guessed[order],
                labels,
                overlaps(truth[:, None], boxes[order][None]),
            )
        )
    return found


@pytest.mark.parametrize("seed", range(5))
def test_the_metric_is_that_of_ultralytics(seed: int) -> None:
    require_ultralytics()
    import torch
    from ultralytics.engine.validator import BaseValidator
    from ultralytics.utils.metrics import ap_per_class

    found = pictures(seed)
    validator = BaseValidator.__new__(BaseValidator)
    validator.iouv = torch.tensor(THRESHOLDS)
    hits = [
        validator.match_predictions(
            torch.tensor(each.labels), torch.tensor(each.truth), torch.tensor(each.overlaps)
        ).numpy()
        for each in found
    ]
    scores, labels, truth = (
        np.concatenate([getattr(each, name) for each in found])
        for name in ("scores", "labels", "truth")
    )
    wanted = ap_per_class(np.concatenate(hits), scores, labels, truth)[5]
    assert Precision(found).value() == pytest.approx(wanted.mean(), abs=1e-9)
    assert Precision(found, thresholds=1).value() == pytest.approx(wanted[:, 0].mean(), abs=1e-9)


def test_a_resample_is_worth_what_its_pictures_are_worth() -> None:
    found = pictures(7)
    drawn = np.random.default_rng(1).integers(0, len(found), len(found))
    counts = np.bincount(drawn, minlength=len(found))[None]
    again = Precision([found[number] for number in np.sort(drawn)]).value()
    assert Precision(found).values(counts)[0] == pytest.approx(again, abs=0.02)


def test_perfect_boxes_are_worth_one_and_none_are_worth_nothing() -> None:
    box = np.array([[2.0, 2.0, 9.0, 9.0]])
    right = Picture(np.ones(1), np.zeros(1, int), np.zeros(1, int), overlaps(box[:, None], box))
    nothing = Picture(np.zeros(0), np.zeros(0, int), np.zeros(1, int), np.zeros((1, 0)))
    assert Precision([right]).value() == pytest.approx(0.995)
    assert Precision([nothing]).value() == 0
    assert Precision([right, nothing]).values(np.array([[0, 0]]))[0] == 0


@pytest.mark.parametrize(("classes", "resamples"), [(2, 300), (100, 300), (200, 150), (1000, 100)])
def test_the_more_classes_there_are_the_fewer_resamples_are_drawn(
    classes: int, resamples: int
) -> None:
    each = [
        Picture(np.ones(1), np.array([label]), np.array([label]), np.ones((1, 1)))
        for label in range(classes)
    ]
    assert Precision(each).resamples == resamples


def test_resampling_can_be_stopped() -> None:
    def stop() -> None:
        raise Stopped("asked to stop")

    found = Precision(pictures(3))
    with using(StorageSettings(raise_if_stopped=stop)), pytest.raises(Stopped):
        found.values(np.ones((2, len(found.pictures)), np.int64))
