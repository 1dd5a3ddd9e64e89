"""From a picture file to a model's input, as ``preprocessor_config.json`` says.

This file is shipped beside every deployed model, so that serving sees what evaluation saw: it must
stand alone, on numpy and Pillow.

Any format that Pillow reads by itself: grey, palette and CMYK become RGB, 16 bits a channel become
8, what is transparent becomes white, a camera's orientation is applied (of a PNG where it stands
before the pixels), and of several frames the first counts.
"""

import contextlib
import errno
import io
import json
import pathlib
import struct
import warnings
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image, UnidentifiedImageError

CONFIG = "preprocessor_config.json"
INPUT = "pixel_values"

_SIXTEEN_BITS = 65535
_LONGEST = 16
"""Sides of the input that a scaled picture may be long: a strip of few pixels is no more."""
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What is done to a picture by its orientation; see the EXIF standard, tag 0x0112."""
_TURNED = (5, 6, 7, 8)
_TRANSPARENT = ("LA", "La", "PA", "RGBA", "RGBa")

# Decoders raise whatever a damaged file makes them stumble over.
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    ArithmeticError,
    AttributeError,
    AssertionError,
    struct.error,
    zlib.error,
)

# A picture of a few kilobytes that unpacks to gigabytes is an error, not a remark.
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)


# EPS is a program: Pillow hands it to an interpreter. The usual formats are tried first.
Image.preinit()
Image.init()
_FORMATS = [name for name in Image.ID if name != "EPS"]


class PictureError(ValueError):
    """A file is no picture that can be used; the message says why."""


def read_picture(source: str | pathlib.Path | io.BytesIO) -> Image.Image:
    """Returns a picture, a file or a file's content, as RGB, eight bits a channel.

    Raises:
        PictureError: It cannot be read.
        PermissionError: It may not be read.
    """
    with _explained(), Image.open(source, formats=_FORMATS) as picture:
        turn = _UPRIGHT.get(_orientation(picture))
        picture.load()
        return _as_rgb(picture if turn is None else picture.transpose(turn))


def read_size(source: str | pathlib.Path | io.BytesIO) -> tuple[int, int]:
    """Returns a picture's width and height from its header; the pixels stay unread.

    Raises:
        PictureError: The header cannot be read, or is that of a picture that cannot be used.
        PermissionError: It may not be read.
    """
    with _explained(), Image.open(source, formats=_FORMATS) as picture:
        _require_integers(picture)
        return picture.size


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except (PermissionError, PictureError):
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise PictureError(
            f"more than {Image.MAX_IMAGE_PIXELS:,} pixels, a decompression bomb; scale it down"
        ) from error
    except FileNotFoundError as error:
        raise PictureError("is not there") from error
    except UnidentifiedImageError as error:
        raise PictureError("no picture that Pillow can read") from error
    except _DAMAGE as error:
        if isinstance(error, OSError) and error.errno == errno.ENOMEM:
            raise  # nothing is wrong with the file
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise PictureError(f"damaged or cut short ({reason})") from error


def picture_size(path: str | pathlib.Path) -> tuple[int, int]:
    """Returns width and height of a picture as ``read_picture`` returns it; reads its header.

    Raises:
        PictureError: The header cannot be read.
        PermissionError: It may not be read.
    """
    with _explained(), Image.open(path, formats=_FORMATS) as picture:
        width, height = picture.size
        return (height, width) if _orientation(picture) in _TURNED else (width, height)


def _orientation(picture: Image.Image) -> int:
    """Returns how the camera was held, by the header; 1 where Pillow turns the picture itself."""
    if picture.format == "TIFF":
        return 1
    # A PNG may say it behind its pixels too, where Pillow finds it by decoding all of them.
    exif = Image.Image.getexif(picture) if picture.format == "PNG" else picture.getexif()
    return exif.get(_ORIENTATION, 1)


def _require_integers(picture: Image.Image) -> None:
    if picture.mode == "F":
        raise PictureError("pixels are floating-point numbers; save it with 8 or 16 bits a channel")


def _as_rgb(picture: Image.Image) -> Image.Image:
    _require_integers(picture)
    if picture.mode.startswith("I"):
        return _eight_bits(picture).convert("RGB")
    if picture.mode in _TRANSPARENT or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return picture.convert("RGB")


def _eight_bits(picture: Image.Image) -> Image.Image:
    values = np.asarray(picture).astype(np.int64)
    if values.min() < 0 or values.max() > _SIXTEEN_BITS:
        raise PictureError("pixels have more than 16 bits; save it with 8 or 16 bits a channel")
    return Image.fromarray(((values * 255 + _SIXTEEN_BITS // 2) // _SIXTEEN_BITS).astype(np.uint8))


class Preprocessing:
    """What is done to a picture before a model sees it.

    Args:
        config: The content of ``preprocessor_config.json``, with the keys that Hugging Face's image
            processors have.
    """

    def __init__(self, config: dict) -> None:
        self.config = config
        crop = config["crop_size"]
        self.height, self.width = int(crop["height"]), int(crop["width"])
        self._mean = np.array(config["image_mean"], np.float32)
        self._factor = np.float32(config["rescale_factor"]) / np.array(
            config["image_std"], np.float32
        )
        self._shift = self._mean / np.array(config["image_std"], np.float32)
        self.resample = Image.Resampling(config["resample"])

    @classmethod
    def load(cls, folder: str | pathlib.Path) -> "Preprocessing":
        """Reads the configuration in a model folder."""
        return cls(json.loads((pathlib.Path(folder) / CONFIG).read_text(encoding="utf-8")))

    def __call__(self, picture: Image.Image) -> np.ndarray:
        """Returns the input for an RGB picture, float32 ``[3, height, width]``."""
        return self.normalized(self._cropped(self._resized(picture)))

    def normalized(self, picture: Image.Image) -> np.ndarray:
        """Returns a picture of the right size as float32 ``[3, height, width]``."""
        values = np.asarray(picture, np.float32) * self._factor - self._shift
        return np.ascontiguousarray(values.transpose(2, 0, 1))

    def _resized(self, picture: Image.Image) -> Image.Image:
        size = self.config["size"]
        if "shortest_edge" in size:
            scale = size["shortest_edge"] / min(picture.size)
            width, height = (max(1, round(side * scale)) for side in picture.size)
            wanted = (width, height)
            if max(wanted) > _LONGEST * max(self.width, self.height):
                return self._middle(picture, scale)
        else:
            wanted = (int(size["width"]), int(size["height"]))
        return picture if wanted == picture.size else picture.resize(wanted, self.resample)

    def _middle(self, picture: Image.Image, scale: float) -> Image.Image:
        """Returns a very long picture's middle, scaled; all of it might take gigabytes."""
        sides = (self.width / scale, self.height / scale)
        kept = [min(own, side) for own, side in zip(picture.size, sides, strict=True)]
        left, top = ((own - side) / 2 for own, side in zip(picture.size, kept, strict=True))
        width, height = (max(1, round(side * scale)) for side in kept)
        box = (left, top, left + kept[0], top + kept[1])
        return picture.resize((width, height), self.resample, box=box)

    def _cropped(self, picture: Image.Image) -> Image.Image:
        left = (picture.width - self.width) // 2
        top = (picture.height - self.height) // 2
        if (left, top, *picture.size) == (0, 0, self.width, self.height):
            return picture
        return picture.crop((left, top, left + self.width, top + self.height))
