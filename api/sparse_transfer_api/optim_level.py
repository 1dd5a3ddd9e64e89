"""The optimization level: a number from 0 to 1, in five bands with literal boundaries."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from .errors import InputError, Problem

DEFAULT_LEVEL = 0.5


class Size(StrEnum):
    """Which of a family's foundation models a band starts from."""

    LARGEST = "Largest"
    MEDIUM = "Medium"
    SMALLEST = "Smallest"


@dataclass(frozen=True)
class Band:
    """What is done to a model at a range of levels.

    Args:
        size: The foundation's size within its family.
        sparse: The start must be sparse (at least 0.30), and its zeros are kept.
        quantize: Weights and activations become INT8.
    """

    size: Size
    sparse: bool
    quantize: bool

    @property
    def name(self) -> str:
        """Such as ``MediumSparseInt8``, as the status shows it."""
        treatment = "Int8" if self.quantize else "Dense"
        return f"{self.size}{'Sparse' if self.sparse else ''}{treatment}"


DENSE_BAND = Band(Size.LARGEST, sparse=False, quantize=False)
"""Of level 0 alone."""
BANDS_BELOW: tuple[tuple[float, Band], ...] = (
    (0.25, Band(Size.LARGEST, sparse=False, quantize=True)),
    (0.5, Band(Size.LARGEST, sparse=True, quantize=True)),
    (0.75, Band(Size.MEDIUM, sparse=True, quantize=True)),
)
"""Each with the level that it ends before."""
LAST_BAND = Band(Size.SMALLEST, sparse=True, quantize=True)
"""Up to and with level 1."""


def band_of(level: float) -> Band:
    """Returns the band of a level.

    Args:
        level: 0 to 1. 0 itself is a band of its own; a boundary belongs to the band above it.

    Raises:
        InputError: The level is outside 0 to 1.
    """
    if not 0 <= level <= 1:
        raise InputError(f"optim level {level} is not between 0 and 1")
    if level == 0:
        return DENSE_BAND
    return next((band for end, band in BANDS_BELOW if level < end), LAST_BAND)


def band_ranges() -> list[tuple[str, Band]]:
    """Returns every band with its levels in words, such as ``from 0.25, below 0.5``."""
    starts = [0.0, *(end for end, _ in BANDS_BELOW)]
    return [
        ("0", DENSE_BAND),
        *(
            (f"{'above' if start == 0 else 'from'} {start:g}, below {end:g}", band)
            for start, (end, band) in zip(starts, BANDS_BELOW, strict=False)
        ),
        (f"from {starts[-1]:g} to 1", LAST_BAND),
    ]


def parse_level(text: str) -> float:
    """Reads a level from the command line, where a whole number above 1 is a per cent.

    Args:
        text: Such as ``0.5``, ``50`` or ``50%``.

    Returns:
        The level, 0 to 1.

    Raises:
        InputError: It is no such number.
    """
    plain = text.strip()
    percent = plain.endswith("%")
    try:
        number = float(plain.removesuffix("%"))
    except ValueError:
        number = math.nan
    if percent and 0 <= number <= 100:
        return number / 100
    if not percent and 0 <= number <= 1:
        return number
    if not percent and 1 < number <= 100 and number.is_integer():
        return number / 100
    raise InputError(
        "the optim level is wrong",
        [
            Problem(
                "--optim-level",
                f"{text[:64]!r}; expected a number from 0 to 1, or a whole per cent up to 100",
            )
        ],
    )
