"""What training does to a picture at random: a pure function of seed, epoch and row.

A random part of the picture is scaled to the input's size, as in Szegedy et al., "Going Deeper with
Convolutions" (2015), and mirrored half of the time where that does not change its meaning.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from PIL import Image

_TRIES = 10


@dataclass(frozen=True)
class Augmentation:
    """Recorded beside the evaluation's transforms, under ``augmentation``.

    Args:
        smallest_part: Of the picture's area, that a crop keeps; 1 crops nothing.
        widest: Ratio of a crop's sides before it is scaled, and its inverse.
        flip: Probability of mirroring left and right.
    """

    smallest_part: float = 0.35
    widest: float = 4 / 3
    flip: float = 0.5

    @classmethod
    def of(cls, name: str) -> Augmentation | None:
        """Returns what ``spec.training.augmentation`` stands for."""
        known = {
            "CropAndFlip": cls(),
            "Crop": cls(smallest_part=0.6, flip=0.0),
            "None": None,
        }
        return known[name]

    def record(self) -> dict[str, Any]:
        """Returns it as JSON holds it."""
        return asdict(self)

    def __call__(
        self,
        picture: Image.Image,
        size: tuple[int, int],
        resample: Image.Resampling,
        random: np.random.Generator,
    ) -> Image.Image:
        """Returns a random view of an RGB picture.

        Args:
            picture: Any size.
            size: Width and height of the result, in pixels.
            resample: How it is scaled.
            random: Drawn from a fixed number of times for a given picture.
        """
        box = self._box(picture.width, picture.height, random)
        # Scaling a part of the picture spares a copy of that part.
        view = picture.resize(size, resample, box=box)
        if random.random() < self.flip:
            view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return view

    def _box(
        self, width: int, height: int, random: np.random.Generator
    ) -> tuple[float, float, float, float]:
        bound = math.log(self.widest)
        for _ in range(_TRIES):
            area = width * height * random.uniform(self.smallest_part, 1.0)
            ratio = math.exp(random.uniform(-bound, bound))
            w, h = math.sqrt(area * ratio), math.sqrt(area / ratio)
            if 1 <= w <= width and 1 <= h <= height:
                left, top = random.uniform(0, width - w), random.uniform(0, height - h)
                return left, top, left + w, top + h
        return 0.0, 0.0, float(width), float(height)
