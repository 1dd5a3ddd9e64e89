"""Encoded splits as files that are mapped into memory: a split may be larger than memory.

Arrays are appended to chunk by chunk, and read where they lie; the system keeps of them what it has
room for. They lie in the cache, by what they were made of: whoever asks for the same again, another
attempt or another stage with the same cache, finds them. Without a shared cache they go with the
process.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparse_transfer_runner.storage.cache import cache, identity_of
from sparse_transfer_runner.storage.settings import settings

_LAYOUT = 2
"""Version of the files; those of another version are not found."""
_VERSIONS = [
    f"{name} {version(name)}" for name in ("sparse-transfer", "tokenizers", "transformers")
]
"""Of the code that makes them: a cache outlives upgrades."""
_SHAPES = "shapes.json"

Features = Mapping[str, NDArray[Any]]


def mapped_features(
    made_of: Sequence[object], chunks: Callable[[], Iterable[Features]]
) -> dict[str, NDArray[Any]]:
    """Returns arrays, each chunk's one after another, mapped from files.

    Args:
        made_of: All that decides them, such as the data's digest, the tokenizer's and the length.
        chunks: Yields the arrays of consecutive rows by name; in all chunks the same names, types
            and shapes but for the first dimension. Only called where nobody has made them before.

    Raises:
        Transient: The disk is full; nothing is left behind.
    """

    def write(folder: Path) -> None:
        write_features(folder, _stoppable(chunks()))

    identity = identity_of(["features", _LAYOUT, _VERSIONS, *made_of])
    return read_features(cache(settings()).fetched(identity, write))


def write_features(folder: Path, chunks: Iterable[Features]) -> None:
    """Appends chunks to one file an array."""
    shapes: dict[str, dict[str, Any]] = {}
    with ExitStack() as files:
        opened: dict[str, Any] = {}
        for chunk in chunks:
            for name, values in chunk.items():
                if name not in opened:
                    opened[name] = files.enter_context((folder / f"{name}.bin").open("wb"))
                    shapes[name] = {"dtype": values.dtype.str, "of": list(values.shape[1:])}
                opened[name].write(np.ascontiguousarray(values).data)
    (folder / _SHAPES).write_text(json.dumps(shapes, sort_keys=True))


def read_features(folder: Path) -> dict[str, NDArray[Any]]:
    """Returns the arrays that ``write_features`` wrote, mapped and not to be written to."""
    shapes = json.loads((folder / _SHAPES).read_text())
    return {
        name: _mapped(folder / f"{name}.bin", np.dtype(shape["dtype"]), tuple(shape["of"]))
        for name, shape in shapes.items()
    }


def _mapped(path: Path, kind: np.dtype[Any], of: tuple[int, ...]) -> NDArray[Any]:
    if not path.stat().st_size:
        return np.zeros((0, *of), dtype=kind)
    flat = np.memmap(path, dtype=kind, mode="r")
    # A plain array: torch and numpy know what to do with it, and it keeps the mapping alive.
    return np.asarray(flat).reshape(-1, *of)


def _stoppable(chunks: Iterable[Features]) -> Iterable[Features]:
    for chunk in chunks:
        settings().raise_if_stopped()
        yield chunk
