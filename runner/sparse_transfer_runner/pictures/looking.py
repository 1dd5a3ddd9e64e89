"""What one picture turns out to be, at the cost of little more than opening it.

Its bytes are read once: for the digest, for the header, and where it is decoded for the pixels.
"""

from __future__ import annotations

import hashlib
import io
import os
from dataclasses import dataclass
from pathlib import Path

from sparse_transfer_api.errors import AccessError
from sparse_transfer_runner.digests import sha256_of

from .preprocessing import PictureError, read_picture, read_size

_SMALLEST_SIDE = 2
_AT_ONCE_BYTES = 1 << 24
"""Larger files are read in pieces for their digest: so many threads hold so many of these."""


@dataclass(frozen=True)
class Looked:
    """What a picture turned out to be.

    Args:
        sha256: Of the file.
        problem: Kind and message of what is wrong with it.
    """

    sha256: str
    problem: tuple[str, str] | None = None


def look(path: str, *, whole: bool) -> Looked:
    """Looks at a picture.

    Args:
        path: The file.
        whole: Decode it, instead of reading its header alone.

    Raises:
        AccessError: It may not be read.
    """
    try:
        content = _content(path)
    except PermissionError as error:
        raise AccessError(f"{path}: may not be read by this user") from error
    if content is None:
        return Looked(sha256_of(Path(path)), _problem(path, whole))
    digest = hashlib.sha256(content).hexdigest()
    if not content:
        return Looked(digest, ("empty file", "holds no bytes; expected a picture"))
    return Looked(digest, _problem(io.BytesIO(content), whole))


def _content(path: str) -> bytes | None:
    """Returns a file's content; None where it is too large to be held."""
    # Without Python's file objects, whose making takes as long as the rest.
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(file).st_size
        return os.read(file, size + 1) if size < _AT_ONCE_BYTES else None
    finally:
        os.close(file)


def _problem(source: str | io.BytesIO, whole: bool) -> tuple[str, str] | None:
    try:
        width, height = read_picture(source).size if whole else read_size(source)
    except PictureError as error:
        return "unusable picture", f"{error}; replace or remove it"
    if min(width, height) < _SMALLEST_SIDE:
        return (
            "tiny picture",
            f"{width} x {height} pixels; expected at least {_SMALLEST_SIDE} on each side: "
            "replace or remove it",
        )
    return None
