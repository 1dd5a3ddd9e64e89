"""The detection family: a YOLO, and pictures to prune it on, whose labels are not looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from sparse_transfer_api.errors import InputError
from sparse_transfer_runner.detection.detections import INPUT, Letterbox
from sparse_transfer_runner.pictures.augmentation import Augmentation
from sparse_transfer_runner.pictures.check import check_files
from sparse_transfer_runner.pictures.preprocessing import read_picture
from sparse_transfer_runner.sparsity.prunable import prunable_weights
from sparse_transfer_runner.sparsity.walk import Inputs
from sparse_transfer_runner.training.distillation import hidden_state_errors
from sparse_transfer_runner.use_cases.object_inputs import ObjectPreprocessor
from sparse_transfer_runner.use_cases.protocol import Batch
from sparse_transfer_runner.yolo.architecture import SEGMENT, task_of
from sparse_transfer_runner.yolo.files import read_yolo
from sparse_transfer_runner.yolo.network import (
    Detector,
    build_detector,
    largest_stride,
    save_detector,
)

from .family import Opened
from .options import UpstreamOptions
from .pictures import PictureMaterial, chosen_pictures

_LEARNING_RATE = 1e-3
_ANSWERS = ("boxes", "scores", "mask_coefficient", "proto")
"""What a head says of a picture, as far as it does."""
_VIEWS = Augmentation.of("CropAndFlip")


def open_detector(source: Path, options: UpstreamOptions, device: torch.device) -> Opened:
    """Opens a dense detector with its own head, and a folder of pictures.

    Args:
        source: The detector's folder, or its file.
        options: The user's; the pictures may lie in any folders below the one they name.
        device: Where to work.

    Raises:
        InputError: The model or one of the pictures cannot be used, or there are too few of them.
    """
    model = read_yolo(source, trusted=options.trust_pickle)
    labels = model.labels or tuple(map(str, range(int(model.architecture.get("nc", 1)))))
    head = task_of(model.architecture)
    parent = build_detector(source, labels, options.seed, head=head)
    preprocessor = ObjectPreprocessor.of(source)
    side = options.image_size or preprocessor.side
    stride = largest_stride(model)
    if side % stride or side < 2 * stride:
        raise InputError(
            f"--image-size: {side}; expected a multiple of {stride} pixels, {2 * stride} or more"
        )
    files, held_out = chosen_pictures(options)
    digest = check_files(options.data, files)
    rows = UnlabelledPictures(options.data, files, side, preprocessor.config["padding"])
    material = DetectorMaterial(
        rows, held_out, options.calibration_rows, options.batch_size, options.seed, device
    )

    def save(made: Any, folder: Path) -> None:
        save_detector(made, folder)
        preprocessor.save(folder)

    family = "segmentation" if head == SEGMENT else "detection"
    return Opened(family, parent.to(device), material, save, digest, _LEARNING_RATE)


@dataclass(frozen=True)
class UnlabelledPictures:
    """Pictures in a detector's square.

    Args:
        root: Their folder.
        files: Of each row, below it.
        side: Of the square, in pixels.
        padding: Grey around them.
    """

    root: Path
    files: Sequence[str]
    side: int
    padding: int

    def __len__(self) -> int:
        return len(self.files)

    def collate(self, rows: Sequence[int]) -> Batch:
        """Returns whole pictures, letterboxed, float32 ``[rows, 3, side, side]``."""
        letterbox = Letterbox({"side": self.side, "padding": self.padding})
        return {INPUT: np.stack([letterbox(self._picture(row)) for row in rows])}

    def augmented(self, rows: Sequence[int], *, seed: int, epoch: int) -> Batch:
        """Returns random parts of pictures: a function of seed, epoch and row."""
        assert _VIEWS is not None
        size, resample = (self.side, self.side), Image.Resampling.BILINEAR
        views = [
            _VIEWS(self._picture(row), size, resample, np.random.default_rng((seed, epoch, row)))
            for row in rows
        ]
        values = np.stack([np.asarray(view, np.float32) / 255 for view in views])
        return {INPUT: np.ascontiguousarray(values.transpose(0, 3, 1, 2))}

    def _picture(self, row: int) -> Image.Image:
        return read_picture(self.root / self.files[row])


@dataclass(frozen=True)
class DetectorMaterial(PictureMaterial):
    """Pictures in a fixed order, and how far a detector is from its parent on them."""

    rows: Any

    def error(self, model: nn.Module, parent: nn.Module, inputs: Inputs) -> Tensor:
        """Returns the relative squared error of what the layers put out, a scalar."""
        with torch.no_grad():
            wanted = _layer_outputs(parent, inputs)
        return hidden_state_errors(_layer_outputs(model, inputs), wanted, None).mean()


def _layer_outputs(model: nn.Module, inputs: Inputs) -> list[Tensor]:
    """Returns what each layer with prunable weights puts out, and what the head says at last."""
    assert isinstance(model, Detector)
    model.forget_grid()
    outputs: list[Tensor] = []
    handles = [
        layer.register_forward_hook(lambda _, __, output: outputs.append(output))
        for layer in list(model.network.model)[:-1]
        if prunable_weights(layer)
    ]
    try:
        said = model.network(inputs[INPUT])[1]
    finally:
        for handle in handles:
            handle.remove()
    return [*outputs, *(said[name] for name in _ANSWERS if name in said)]
