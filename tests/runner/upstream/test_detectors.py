"""Detectors made sparse on pictures, whose labels are not looked at."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.runner.object_folders import CLASSES, scene, write_objects
from tests.runner.tiny_detectors import SEGMENTING, tiny_detector
from torch import nn
from torchvision.transforms.functional import to_tensor

from sparse_transfer_api.contract import Stage
from sparse_transfer_api.errors import InputError
from sparse_transfer_runner.progress import Reporter
from sparse_transfer_runner.upstream import UpstreamOptions, make_foundation
from sparse_transfer_runner.upstream.detectors import DetectorMaterial, UnlabelledPictures
from sparse_transfer_runner.upstream.pictures import HELD_OUT_ROWS
from sparse_transfer_runner.yolo.architecture import DETECT, SEGMENT
from sparse_transfer_runner.yolo.files import check_yolo
from sparse_transfer_runner.yolo.network import build_detector, save_detector

QUIET = Reporter(Stage.PREPARE, lambda _: None)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    return write_objects(root, {"train": HELD_OUT_ROWS + 40}) / "images"


def with_statistics(network: nn.Module) -> None:
    """Gives batch norms the statistics that a trained network's have."""
    norms = [each for each in network.modules() if isinstance(each, nn.BatchNorm2d)]
    momentum = norms[0].momentum
    for norm in norms:
        norm.momentum = None
    picture = torch.stack([to_tensor(scene(number)[0]) for number in range(8)])
    with torch.no_grad():
        network.train()(picture)
    network.eval()
    for norm in norms:
        norm.momentum = momentum


@pytest.fixture
def options(tmp_path: Path, pictures: Path) -> UpstreamOptions:
    """Of a detector in Ultralytics' own form."""
    network = tiny_detector(CLASSES).network
    with_statistics(network)
    network.names = dict(enumerate(CLASSES))
    torch.save({"model": copy.deepcopy(network)}, tmp_path / "best.pt")
    return UpstreamOptions(
        model=(tmp_path / "best.pt").as_uri(),
        data=pictures,
        output=tmp_path / "foundation",
        sparsity=0.6,
        calibration_rows=16,
        batch_size=8,
        image_size=64,
        recovery_steps=2,
        trust_pickle=True,
    )


@pytest.mark.parametrize("method", ["admm", "gradual"])
def test_a_detector_is_pruned_but_for_its_head_and_its_colours(
    options: UpstreamOptions, method: str
) -> None:
    steps = 10 if method == "gradual" else None
    made = make_foundation(replace(options, method=method, gradual_steps=steps), QUIET)
    assert made.family == "detection"
    assert made.sparsity == pytest.approx(0.6, abs=0.01)
    weights = load_file(options.output / "model.safetensors")
    assert all(name in weights for name in made.prunable)
    assert not any(".model.9." in name or ".model.0." in name for name in made.prunable)
    checked = check_yolo(options.output, trusted=False, head=DETECT)
    assert checked.sparsity == pytest.approx(made.sparsity, abs=1e-4)
    detector = build_detector(options.output, CLASSES, 0, head=DETECT)
    assert detector.labels == CLASSES
    assert made.quality["hiddenErrorAfterRecovery"] < 1


def test_few_pictures_are_enough_even_where_a_batch_is_as_large_as_what_is_held_out(
    options: UpstreamOptions, tmp_path: Path
) -> None:
    data = write_objects(tmp_path / "few", {"train": 20}) / "images"
    few = replace(options, data=data, calibration_rows=8, batch_size=6, method="magnitude")
    assert make_foundation(few, QUIET).quality["heldOutRows"] == 6


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"trust_pickle": False}, "a pickle of whole modules"),
        ({"image_size": 65}, "multiple of 8"),
        ({"calibration_rows": 288}, "pictures, but"),
    ],
)
def test_what_cannot_be_used_is_refused(
    options: UpstreamOptions, changed: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        make_foundation(replace(options, **changed), QUIET)  # type: ignore[arg-type]


def test_a_segmenter_becomes_a_foundation_of_its_own_family(
    options: UpstreamOptions, tmp_path: Path
) -> None:
    network = tiny_detector(CLASSES, SEGMENTING)
    with_statistics(network.network)
    save_detector(network, tmp_path / "segmenter")
    source = (tmp_path / "segmenter").as_uri()
    made = make_foundation(replace(options, model=source, trust_pickle=False), QUIET)
    assert made.family == "segmentation"
    assert check_yolo(options.output, trusted=False, head=SEGMENT).sparsity == pytest.approx(
        0.6, abs=0.01
    )
    assert not any(".model.9." in name for name in made.prunable)


def test_what_a_segmenter_draws_masks_with_counts_as_an_answer(pictures: Path) -> None:
    parent = tiny_detector(CLASSES, SEGMENTING)
    made = copy.deepcopy(parent)
    rows = UnlabelledPictures(pictures, ["train/0.png", "train/1.png"], 64, 114)
    material = DetectorMaterial(rows, 1, 1, 1, 0, torch.device("cpu"))
    inputs = {name: torch.as_tensor(values) for name, values in rows.collate([0, 1]).items()}
    assert material.error(made, parent, inputs) == 0
    with torch.no_grad():
        made.network.model[-1].proto.cv3.conv.weight.mul_(0)
    assert material.error(made, parent, inputs) > 0
