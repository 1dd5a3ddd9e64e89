"""Pictures with objects as a detector's inputs: letterboxed, decoded when they are asked for."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from sparse_transfer_api.errors import InputError
from sparse_transfer_runner.cores import usable_processors
from sparse_transfer_runner.detection.detections import (
    CONFIG,
    INPUT,
    Letterbox,
    Placement,
    select,
)
from sparse_transfer_runner.detection.label_files import Objects, read_objects
from sparse_transfer_runner.detection.layout import Item
from sparse_transfer_runner.disk import write_atomically
from sparse_transfer_runner.pictures.preprocessing import (
    PictureError,
    picture_size,
    read_picture,
)

from .protocol import Batch

SIDE = 640
"""Of the square that YOLO's models are published for, in pixels."""
PADDING = 114
"""Grey of what surrounds a picture, as Ultralytics has it."""
CONFIDENCE = 0.001
"""Scores below it are left out of the metrics, as Ultralytics' validator does."""
OVERLAP = 0.7
MOST = 300
AUGMENTATION = "augmentation"
T = TypeVar("T")
_PIXELS_AT_ONCE = 16 * SIDE**2
"""Of pictures that a model sees at once: what it computes with grows with them."""
_OUTPUT_BYTES = 64 << 20
"""Of a model's outputs for these: with ten thousand classes, one picture's take 340 MB."""
_STRIDES = (8, 16, 32)
"""Of the usual networks: each has a place for every so many pixels, either way."""
_NOTHING = -1
_COLUMNS = 6


@dataclass(frozen=True)
class ObjectPreprocessor:
    """How a detector's pictures are brought into its square.

    Args:
        config: ``side`` and ``padding``; ``augmentation`` is what training does.
    """

    config: Mapping[str, Any]

    @classmethod
    def of(cls, folder: Path) -> ObjectPreprocessor:
        """Returns what lies in a model folder, else what YOLO's models are published for."""
        path = folder / CONFIG
        own: dict[str, Any] = {}
        if path.is_file():
            try:
                own = dict(json.loads(path.read_bytes()))
            except (ValueError, TypeError) as error:
                raise InputError(f"{path}: not JSON ({error}); fetch the model again") from error
        return cls({"side": own.get("side", SIDE), "padding": own.get("padding", PADDING)})

    @property
    def side(self) -> int:
        """Of the square, in pixels."""
        return int(self.config["side"])

    def with_(self, **changed: Any) -> ObjectPreprocessor:
        """Returns the same with other settings."""
        return replace(self, config={**self.config, **changed})

    def save(self, folder: Path) -> None:
        """Writes ``preprocessor_config.json`` into a folder."""
        text = json.dumps(dict(self.config), indent=2, sort_keys=True)
        write_atomically(folder / CONFIG, f"{text}\n".encode())


@dataclass(frozen=True)
class EncodedObjects:
    """A split of pictures with objects, the pictures read when they are asked for.

    Args:
        root: The data's folder.
        items: Of each row.
        labels: Names of the classes.
        preprocessor: Of the model.
        polygons: Objects are polygons.
    """

    root: Path
    items: Sequence[Item]
    labels: Sequence[str]
    preprocessor: ObjectPreprocessor
    polygons: bool = field(default=False)

    def __len__(self) -> int:
        return len(self.items)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Pictures have no length: 1 each."""
        return np.ones(len(self.items), dtype=np.int64)

    @cached_property
    def objects(self) -> list[Objects]:
        """What each row's label file holds."""
        return [self._objects_of(item) for item in self.items]

    @cached_property
    def placements(self) -> list[Placement]:
        """Where each row's picture lies in the square."""
        letterbox = Letterbox(dict(self.preprocessor.config))
        return [letterbox.placement(*size) for size in self._sizes()]

    @cached_property
    def targets(self) -> NDArray[Any]:
        """Class and box of each object, float32 ``[rows, most, 5]``; class -1 where none is."""
        most = max((len(each.classes) for each in self.objects), default=0)
        found = np.full((len(self.items), most, 5), _NOTHING, np.float32)
        for row, each in enumerate(self.objects):
            count = len(each.classes)
            found[row, :count, 0] = each.classes
            found[row, :count, 1:] = each.boxes
        return found

    def collate(self, rows: Sequence[int], *, pad_to: int | None = None) -> Batch:
        """Returns rows as a detector sees them, float32 ``[rows, 3, side, side]``."""
        letterbox = Letterbox(dict(self.preprocessor.config))
        views = self._readers.map(lambda row: letterbox(self.picture(row)), map(int, rows))
        return {INPUT: np.stack(list(views))}

    def reduced(self, outputs: NDArray[Any]) -> NDArray[np.float32]:
        """Returns the boxes worth keeping of a batch's outputs, ``[batch, 300, 6]``.

        Args:
            outputs: ``[batch, places, 4 + classes]``, as a detector puts them out.
        """
        found = np.zeros((len(outputs), MOST, _COLUMNS), np.float32)
        for row, raw in enumerate(outputs):
            best = select(
                raw,
                classes=len(self.labels),
                confidence=CONFIDENCE,
                overlap=OVERLAP,
                most=MOST,
            )
            found[row, : len(best)] = best[:, :_COLUMNS]
        return found

    def rows_at_once(self) -> int:
        """Returns how many rows a detector may be asked about at once, 1 or more."""
        row_bytes = self._values_of_a_row() * np.dtype(np.float32).itemsize
        pixels = self.preprocessor.side**2
        return max(1, min(_PIXELS_AT_ONCE // pixels, _OUTPUT_BYTES // max(1, row_bytes)))

    def picture(self, row: int) -> Any:
        """Returns a row's picture as RGB.

        Raises:
            InputError: It cannot be read any more.
        """
        return self._read(read_picture, self.items[row])

    def _places(self) -> int:
        """Returns how many places a detector looks for objects at."""
        return sum(self.preprocessor.side**2 // stride**2 for stride in _STRIDES)

    def _values_of_a_row(self) -> int:
        """Returns how many numbers a detector puts out for one picture."""
        return self._places() * (4 + len(self.labels))

    @cached_property
    def _readers(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(usable_processors(), thread_name_prefix="pictures")

    def _sizes(self) -> list[tuple[int, int]]:
        return list(self._readers.map(lambda item: self._read(picture_size, item), self.items))

    def _read(self, read: Callable[[Path], T], item: Item) -> T:
        path = self.root / item.picture
        try:
            return read(path)
        except PictureError as error:
            raise InputError(f"{path}: {error}; replace it") from error

    def _objects_of(self, item: Item) -> Objects:
        def wrong(kind: str, message: str, line: int | None) -> None:
            where = f"{self.root / item.label}" + (f":{line}" if line else "")
            raise InputError(f"{where}: {message}; it changed since it was checked")

        return read_objects(self.root / item.label, len(self.labels), wrong, polygons=self.polygons)
