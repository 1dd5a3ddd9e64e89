"""The user's pictures as Ultralytics' data set: its augmentation, nothing written beside the data.

Which rows a batch has, and what is done to them, are functions of seed, epoch and place: a resumed
run sees what an unstopped one would have seen.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from sparse_transfer_runner.training.batches import length_bucketed
from sparse_transfer_runner.use_cases.object_inputs import EncodedObjects

from .library import require_ultralytics

require_ultralytics()
from ultralytics.data.dataset import YOLODataset  # noqa: E402 - settled before it is imported

_LARGEST_SEED = 2**32


class ObjectDataset(YOLODataset):
    """Pictures and labels as they were checked, without Ultralytics' own reading of either.

    Args:
        rows: The split.
        hyperparameters: Ultralytics' arguments, which say how to augment.
        task: ``detect`` or ``segment``.
    """

    def __init__(self, rows: EncodedObjects, hyperparameters: Any, task: str) -> None:
        self._split = rows
        super().__init__(
            img_path="",
            imgsz=rows.preprocessor.side,
            augment=True,
            hyp=hyperparameters,
            data={"names": dict(enumerate(rows.labels)), "channels": 3},
            task=task,
        )
        # Partners of a mosaic are drawn from all pictures, not from those that were seen lately.
        self.cache = "ram"
        for transform in self._mosaics():
            transform.buffer_enabled = False

    def get_img_files(self, img_path: Any) -> list[str]:
        """Returns the split's pictures."""
        return [str(self._split.root / item.picture) for item in self._split.items]

    def get_labels(self) -> list[dict[str, Any]]:
        """Returns the split's objects in Ultralytics' form."""
        return [
            {
                "im_file": file,
                "shape": (place.height, place.width),
                "cls": objects.classes.astype(np.float32)[:, None],
                "bboxes": objects.boxes,
                "segments": list(objects.polygons),
                "keypoints": None,
                "normalized": True,
                "bbox_format": "xywh",
            }
            for file, place, objects in zip(
                self.im_files, self._split.placements, self._split.objects, strict=True
            )
        ]

    def load_image(
        self, i: int, rect_mode: bool = True, resize_short: bool = False
    ) -> tuple[Any, tuple[int, int], tuple[int, int]]:
        """Returns a picture in BGR, scaled so that its longer side fills the square."""
        picture = self._split.picture(i)
        width, height = picture.size
        scale = self.imgsz / max(width, height)
        size = tuple(min(math.ceil(side * scale), self.imgsz) for side in (width, height))
        if size != (width, height):
            picture = picture.resize(size, Image.Resampling.BILINEAR)
        values = np.ascontiguousarray(np.asarray(picture)[:, :, ::-1])
        return values, (height, width), values.shape[:2]

    def _mosaics(self) -> Iterator[Any]:
        waiting = list(self.transforms.transforms)
        while waiting:
            each = waiting.pop()
            if hasattr(each, "buffer_enabled"):
                yield each
            waiting += list(getattr(each, "transforms", None) or [])
            inner = getattr(each, "pre_transform", None)
            waiting += [inner] if inner is not None else []


class Batches:
    """Batches of one epoch after the other, in Ultralytics' loop in place of a data loader.

    Args:
        dataset: What to take them from.
        batch_size: Rows of a batch.
        seed: Of the run.
    """

    drop_last = False
    num_workers = 0

    def __init__(self, dataset: ObjectDataset, batch_size: int, seed: int) -> None:
        self.dataset = dataset
        self.sampler = range(len(dataset))
        self.batch_size = batch_size
        self.epoch = 0
        self.skip = 0
        """Batches of the first epoch that an earlier attempt has trained on."""
        self._seed = seed

    def __len__(self) -> int:
        return math.ceil(len(self.dataset) / self.batch_size)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        lengths = [1] * len(self.dataset)
        epoch, skip = self.epoch, self.skip
        self.epoch, self.skip = epoch + 1, 0
        order = length_bucketed(lengths, self.batch_size, seed=self._seed, epoch=epoch)
        for place, rows in enumerate(order[skip:], start=skip):
            drawn = np.random.SeedSequence((self._seed, epoch, place)).generate_state(2)
            random.seed(int(drawn[0]))
            np.random.seed(int(drawn[1]) % _LARGEST_SEED)
            yield self.dataset.collate_fn([self.dataset[row] for row in rows])

    def reset(self) -> None:
        """Does nothing: there are no workers to start anew."""
