"""From picture files to a model's inputs: transforms that travel with the model, and splits."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sparse_transfer_api.errors import InputError
from sparse_transfer_runner.cores import usable_processors
from sparse_transfer_runner.disk import write_atomically
from sparse_transfer_runner.pictures.augmentation import Augmentation
from sparse_transfer_runner.pictures.preprocessing import (
    CONFIG,
    INPUT,
    PictureError,
    Preprocessing,
    read_picture,
)

from .protocol import Batch

if TYPE_CHECKING:
    from sparse_transfer_runner.catalog.image_models import ImageModel

AUGMENTATION = "augmentation"

_MEAN, _SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's pictures, by which nearly every published model normalizes."""
_CROP = 0.875
"""Share of the shorter side that evaluation keeps, as most published models do."""
_SIZE = 224
_RESAMPLING = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "box": 4, "hamming": 5}
"""Pillow's codes, which Hugging Face's processors use as well."""
_SIZED = ("size", "crop_size")


@dataclass(frozen=True)
class ImagePreprocessor:
    """The transforms of evaluation, and what training does at random.

    Args:
        config: As Hugging Face's ``preprocessor_config.json``; ``augmentation`` is our own.
    """

    config: Mapping[str, Any]

    @classmethod
    def of(cls, model: ImageModel, folder: Path) -> ImagePreprocessor:
        """Returns a model's own transforms.

        Raises:
            InputError: They cannot be understood.
        """
        path = folder / CONFIG
        if not path.is_file():
            try:
                return cls(_default(model))
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(
                    f"{model.place}: pretrained_cfg of its config.json cannot be understood "
                    f"({error!r}); expected input_size, crop_pct, interpolation (one of "
                    f"{', '.join(_RESAMPLING)}), mean and std as timm writes them"
                ) from error
        try:
            found = json.loads(path.read_bytes())
            config = _completed(found)
            Preprocessing(config)
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path}: cannot be understood ({error!r}); expected size, crop_size, resample, "
                "image_mean and image_std as Hugging Face's image processors write them"
            ) from error
        return cls(config)

    def save(self, folder: Path) -> None:
        """Writes ``preprocessor_config.json`` into a folder."""
        text = json.dumps(dict(self.config), indent=2, sort_keys=True)
        write_atomically(folder / CONFIG, f"{text}\n".encode())

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the model's inputs, in pixels."""
        crop = self.config["crop_size"]
        return int(crop["height"]), int(crop["width"])

    def sized(self, side: int) -> ImagePreprocessor:
        """Returns the same for square pictures of another size; the share that is cropped stays."""
        size, height = self.config["size"], self.size[0]
        if "shortest_edge" in size:
            edge = max(side, round(size["shortest_edge"] * side / height))
            scaled: dict[str, int] = {"shortest_edge": edge}
        else:
            scaled = {"height": side, "width": side}
        crop = {"height": side, "width": side}
        return replace(self, config={**self.config, "size": scaled, "crop_size": crop})

    def augmenting(self, augmentation: Augmentation | None) -> ImagePreprocessor:
        """Returns the same with another augmentation."""
        record = augmentation.record() if augmentation else None
        return replace(self, config={**self.config, AUGMENTATION: record})

    def same_as(self, other: ImagePreprocessor) -> bool:
        """Whether both make the same of a picture that was brought to the same size."""
        keys = ("image_mean", "image_std", "rescale_factor")
        return all(self.config[key] == other.config[key] for key in keys)


@dataclass(frozen=True)
class EncodedPictures:
    """A split of pictures, read when they are asked for.

    Args:
        root: The split's folder.
        files: Of each row, below it.
        targets: int64 ``[rows]``.
        preprocessor: Of the model.
    """

    root: Path
    files: Sequence[str]
    targets: NDArray[Any]
    preprocessor: ImagePreprocessor

    def __len__(self) -> int:
        return len(self.files)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Pictures have no length: 1 each."""
        return np.ones(len(self.files), dtype=np.int64)

    def collate(self, rows: Sequence[int], *, pad_to: int | None = None) -> Batch:
        """Returns rows as evaluation sees them, float32 ``[rows, 3, height, width]``."""
        return self._batch(rows, lambda row: self._transforms(self._picture(row)))

    def augmented(self, rows: Sequence[int], *, seed: int, epoch: int) -> Batch:
        """Returns rows as training sees them in an epoch, float32 ``[rows, 3, height, width]``."""
        augmentation = self._augmentation
        if augmentation is None:
            return self.collate(rows)
        height, width = self.preprocessor.size

        def view(row: int) -> NDArray[np.float32]:
            random = np.random.default_rng((seed, epoch, row))
            resample = self._transforms.resample
            picture = augmentation(self._picture(row), (width, height), resample, random)
            return self._transforms.normalized(picture)

        return self._batch(rows, view)

    @cached_property
    def _transforms(self) -> Preprocessing:
        return Preprocessing(dict(self.preprocessor.config))

    @cached_property
    def _augmentation(self) -> Augmentation | None:
        record = self.preprocessor.config.get(AUGMENTATION)
        return Augmentation(**record) if record else None

    @cached_property
    def _readers(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(usable_processors(), thread_name_prefix="pictures")

    def _picture(self, row: int) -> Any:
        path = self.root / self.files[row]
        try:
            return read_picture(path)
        except PictureError as error:
            raise InputError(
                f"{path}: {error}; of a large folder the check decodes a part of the pictures: "
                "replace or remove it, and set spec.data.revision to another text"
            ) from error

    def _batch(
        self, rows: Sequence[int], view: Callable[[int], NDArray[np.float32]]
    ) -> dict[str, NDArray[Any]]:
        return {INPUT: np.stack(list(self._readers.map(view, map(int, rows))))}


def _completed(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a processor's configuration with what it leaves to its class's defaults."""
    size = _sides(config.get("size", _SIZE), edge=True)
    crop = _sides(config.get("crop_size") or size, edge=False)
    if not config.get("do_center_crop", "shortest_edge" in size):
        crop = _sides(size, edge=False)
        size = crop
    return {
        "do_convert_rgb": True,
        "do_resize": True,
        "size": size,
        "resample": int(config.get("resample", _RESAMPLING["bilinear"])),
        "do_center_crop": True,
        "crop_size": crop,
        "do_rescale": True,
        "do_normalize": True,
        **_normalization(config),
        **({AUGMENTATION: config[AUGMENTATION]} if AUGMENTATION in config else {}),
    }


def _normalization(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns factor, mean and spread; a step that a processor leaves out changes nothing."""
    if config.get("do_flip_channel_order"):
        raise ValueError("do_flip_channel_order: pictures are read as RGB alone")
    rescales, normalizes = (config.get(f"do_{step}", True) for step in ("rescale", "normalize"))
    mean, spread = config.get("image_mean", _MEAN), config.get("image_std", _SPREAD)
    return {
        "rescale_factor": float(config.get("rescale_factor", 1 / 255)) if rescales else 1.0,
        "image_mean": [float(value) for value in mean] if normalizes else [0.0] * 3,
        "image_std": [float(value) for value in spread] if normalizes else [1.0] * 3,
    }


def _sides(size: Any, *, edge: bool) -> dict[str, int]:
    """Returns a size as a mapping; one number is a shortest edge, or both sides of a crop."""
    if isinstance(size, int):
        return {"shortest_edge": size} if edge else {"height": size, "width": size}
    if "shortest_edge" in size:
        side = int(size["shortest_edge"])
        return {"shortest_edge": side} if edge else {"height": side, "width": side}
    return {"height": int(size["height"]), "width": int(size["width"])}


def _default(model: ImageModel) -> dict[str, Any]:
    """Returns the transforms that a model was published with, else ImageNet's usual ones."""
    told = {**_published(model), **(model.config.get("pretrained_cfg") or {})}
    size = model.size or int(tuple(told.get("input_size", (3, _SIZE, _SIZE)))[-1])
    crop = float(told.get("crop_pct") or _CROP)
    return _completed(
        {
            "size": {"shortest_edge": max(size, int(size / crop))},
            "crop_size": {"height": size, "width": size},
            "resample": _RESAMPLING[told.get("interpolation", "bilinear")],
            "image_mean": told.get("mean", _MEAN),
            "image_std": told.get("std", _SPREAD),
        }
    )


def _published(model: ImageModel) -> dict[str, Any]:
    from sparse_transfer_runner.catalog.image_architectures import TIMM

    name = model.architecture.name
    if model.size is not None:
        return {}
    if model.architecture.library == TIMM:
        import timm

        found = timm.get_pretrained_cfg(name, allow_unregistered=True)
        return dict(found.to_dict()) if found else {}
    from torchvision import models

    weights = models.get_model_weights(name).DEFAULT.transforms()
    size = int(weights.crop_size[0])
    return {
        "input_size": (3, size, size),
        "crop_pct": size / weights.resize_size[0],
        "interpolation": weights.interpolation.value,
        "mean": weights.mean,
        "std": weights.std,
    }
