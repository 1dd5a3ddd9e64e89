"""The image family: a classifier, and unlabelled pictures to prune it on."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sparse_transfer_api.errors import InputError
from sparse_transfer_runner.catalog.image_models import ImageModel, read_image_model
from sparse_transfer_runner.pictures.augmentation import Augmentation
from sparse_transfer_runner.pictures.check import check_files
from sparse_transfer_runner.pictures.folders import pictures_below
from sparse_transfer_runner.sparsity.prunable import prunable_weights
from sparse_transfer_runner.sparsity.walk import Inputs
from sparse_transfer_runner.training.distillation import hidden_state_errors
from sparse_transfer_runner.training.hardware import laid_out
from sparse_transfer_runner.use_cases.image_inputs import EncodedPictures, ImagePreprocessor
from sparse_transfer_runner.use_cases.image_model import (
    build_classifier,
    has_depthwise,
    require_size,
    save_classifier,
)

from .family import Opened
from .options import UpstreamOptions

FAMILY = "image"
_LEARNING_RATE = 1e-3
HELD_OUT_ROWS = 256
"""Pictures that neither pruning nor training sees; the quality record is measured on them."""
LEAST_HELD_OUT_ROWS = 4
"""Of them, where the data is small; the record says how many there were."""
_BATCH = 64
_MOST = 0.6
"""Share of the weights from which on the layers inside a module are looked at instead of it."""


def open_pictures(source: Path, options: UpstreamOptions, device: torch.device) -> Opened:
    """Opens a dense classifier with its own head, and a folder of pictures.

    Args:
        source: The classifier's folder, or its file.
        options: The user's; the pictures may lie in any folders below the one they name.
        device: Where to work.

    Raises:
        InputError: The model or one of the pictures cannot be used, or there are too few of them.
    """
    model = read_image_model(source, trusted=options.trust_pickle)
    parent = build_classifier(source, _classes(model), options.seed, keep_head=True)
    preprocessor = ImagePreprocessor.of(model, source)
    sized = preprocessor.sized(options.image_size) if options.image_size else preprocessor
    require_size(model, sized.size[0], source, "--image-size")
    files, held_out = chosen_pictures(options)
    digest = check_files(options.data, files)
    cropping = sized.augmenting(Augmentation.of("Crop"))
    targets = np.zeros(len(files), dtype=np.int64)
    rows = EncodedPictures(options.data, files, targets, cropping)
    material = PictureMaterial(
        rows, held_out, options.calibration_rows, options.batch_size, options.seed, device
    )

    def save(made: Any, folder: Path) -> None:
        save_classifier(made, folder)
        preprocessor.save(folder)

    return Opened(
        FAMILY,
        parent.to(device),
        material,
        save,
        digest,
        _LEARNING_RATE,
        gains_from_bf16=not has_depthwise(parent),
    )


def chosen_pictures(options: UpstreamOptions) -> tuple[list[str], int]:
    """Chooses pictures at random, as many as are looked at: each is checked before work begins.

    Args:
        options: The user's.

    Returns:
        The pictures, by their paths below the folder, and how many of them, the first ones, are
        held out: fewer than usual where there are only as many as pruning and a batch leave.

    Raises:
        InputError: There are too few.
    """
    files = pictures_below(options.data)
    seen = options.calibration_rows + options.batch_size
    if len(files) < seen + LEAST_HELD_OUT_ROWS:
        raise InputError(
            f"{options.data}: {len(files)} pictures, but {seen + LEAST_HELD_OUT_ROWS} are needed "
            "(calibration, one batch of recovery, and held-out ones for the quality record); give "
            "more pictures, or fewer calibration rows"
        )
    held_out = min(HELD_OUT_ROWS, len(files) - seen)
    random.Random(options.seed).shuffle(files)
    useful = options.calibration_rows + options.steps * options.batch_size
    return files[: held_out + max(seen, useful)], held_out


@dataclass(frozen=True)
class PictureMaterial:
    """Pictures in a fixed order, and how far a model is from its parent on them.

    Args:
        rows: Shuffled.
        held_out_rows: The first ones, which neither pruning nor training sees.
        calibration_rows: That pruning looks at.
        batch_size: Of a training step.
        seed: Of the order and the crops.
        device: Where batches go.
    """

    rows: EncodedPictures
    held_out_rows: int
    calibration_rows: int
    batch_size: int
    seed: int
    device: torch.device

    def held_out(self) -> Sequence[dict[str, Tensor]]:
        """Returns batches that neither pruning nor training sees."""
        return self._whole(range(self.held_out_rows))

    def calibration(self) -> Sequence[dict[str, Tensor]]:
        """Returns the batches that pruning looks at."""
        first = self.held_out_rows
        return self._whole(range(first, first + self.calibration_rows))

    def step(self, number: int) -> dict[str, Tensor]:
        """Returns the batch of a training step, counted from 0: a function of seed and number."""
        count = len(self.rows) - self.held_out_rows
        epoch, position = divmod(number, max(1, count // self.batch_size))
        order = np.random.default_rng((self.seed, epoch)).permutation(count) + self.held_out_rows
        chosen = order[position * self.batch_size : (position + 1) * self.batch_size]
        batch = self.rows.augmented(chosen.tolist(), seed=self.seed, epoch=epoch)
        return {name: self._tensor(values) for name, values in batch.items()}

    def error(self, model: nn.Module, parent: nn.Module, inputs: Inputs) -> Tensor:
        """Returns the relative squared error of what the stages put out, a scalar."""
        with torch.no_grad():
            wanted = _stage_outputs(parent, inputs)
        return hidden_state_errors(_stage_outputs(model, inputs), wanted, None).mean()

    def facts(self) -> dict[str, float]:
        """Returns figures for the record."""
        return {
            "calibrationRows": float(self.calibration_rows),
            "heldOutRows": float(self.held_out_rows),
        }

    def _tensor(self, values: Any) -> Tensor:
        return laid_out(torch.as_tensor(values, device=self.device))

    def _whole(self, places: range) -> list[dict[str, Tensor]]:
        # Of equal sizes: batch norms are estimated from all of them alike, and not from one row.
        return [
            {
                name: self._tensor(values)
                for name, values in self.rows.collate(part.tolist()).items()
            }
            for part in np.array_split(places, math.ceil(len(places) / _BATCH))
        ]


def stages(model: nn.Module) -> list[nn.Module]:
    """Returns the modules that a model's features pass through, one after the other."""
    top = model
    while True:
        heavy = [child for child in top.children() if prunable_weights(child)]
        total = sum(_weights(child) for child in heavy)
        largest = max(heavy, key=_weights)
        inner = [child for child in largest.children() if prunable_weights(child)]
        if _weights(largest) < _MOST * total or len(inner) < 2:
            return heavy
        top = largest


def _weights(module: nn.Module) -> int:
    return sum(weight.numel() for weight in prunable_weights(module).values())


def _stage_outputs(model: nn.Module, inputs: Inputs) -> list[Tensor]:
    outputs: list[Tensor] = []
    handles = [
        stage.register_forward_hook(lambda _, __, output: outputs.append(output))
        for stage in stages(model)
    ]
    try:
        logits = model(**inputs).logits
    finally:
        for handle in handles:
            handle.remove()
    return [*outputs, logits]


def _classes(model: ImageModel) -> tuple[str, ...]:
    """Returns the names of the head's classes, or as many numbers as it has."""
    if model.labels is not None:
        return model.labels
    sizes = [
        tensor.shape[0]
        for name, tensor in model.weights.items()
        if any(name == f"{head}.weight" for head in model.architecture.heads())
    ]
    return tuple(map(str, range(sizes[0] if sizes else 2)))
