"""How large a model file is, as it lies there and as it travels."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

_CHUNK = 1 << 20
_GZIP_WINDOW = 31
"""zlib's code for a gzip container with the largest window."""


@dataclass(frozen=True)
class FileSize:
    """Bytes of a model's files together, raw and after ``gzip -9`` of each."""

    raw: int
    compressed: int


def sizes_of(models: Sequence[Sequence[Path]], workers: int) -> list[FileSize]:
    """Returns the size of each model, which may consist of several files.

    Args:
        models: The files of each model.
        workers: Models to compress at once; compression runs outside Python's lock.
    """
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(_size_of, models))


def _size_of(files: Sequence[Path]) -> FileSize:
    return FileSize(sum(f.stat().st_size for f in files), sum(map(gzip_size, files)))


def gzip_size(path: Path) -> int:
    """Returns the bytes that ``gzip -9`` makes of a file, in constant memory."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, _GZIP_WINDOW)
    size = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            size += len(compressor.compress(chunk))
    return size + len(compressor.flush())
