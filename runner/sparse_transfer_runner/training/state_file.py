"""A training state as a file: hashed while it is written, and read without executing anything."""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

import torch

UNREADABLE = (OSError, RuntimeError, EOFError, KeyError, ValueError, pickle.UnpicklingError)
"""What ``read_state`` raises of a file that holds no state."""


@dataclass
class Written:
    """Size and SHA-256 of what was written last; filled by ``write_state``."""

    size_bytes: int = 0
    _hash: Any = field(default_factory=hashlib.sha256, repr=False)

    @property
    def sha256(self) -> str:
        """In hexadecimal."""
        digest: str = self._hash.hexdigest()
        return digest

    def begin(self) -> None:
        """Forgets an earlier try."""
        self.size_bytes, self._hash = 0, hashlib.sha256()

    def add(self, content: memoryview) -> None:
        """Takes the bytes that follow."""
        self._hash.update(content)
        self.size_bytes += len(content)


def write_state(state: Mapping[str, Any], path: Path, written: Written) -> None:
    """Writes nested mappings, lists and tuples of tensors and plain values.

    Raises:
        OSError: The system refuses, such as for lack of space.
    """
    written.begin()
    # Not by the path: torch then writes by itself, and does not say that a disk is full.
    with path.open("wb", buffering=0) as file:
        torch.save(dict(state), cast(IO[bytes], _HashedFile(file, written)))


def read_state(path: Path) -> dict[str, Any]:
    """Returns what was written, all tensors in main memory.

    Nothing but tensors and plain values is ever unpickled. A file that holds no state raises one of
    ``UNREADABLE``.
    """
    state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
    return state


class _HashedFile(io.RawIOBase):
    """A file whose bytes are hashed in the order in which they are written."""

    def __init__(self, file: io.FileIO, written: Written) -> None:
        self._file = file
        self._written = written

    def write(self, content: Any) -> int:
        whole = memoryview(content).cast("B")
        self._written.add(whole)
        rest = whole
        while rest:
            # A nearly full disk takes a part; the next try is told that it is full.
            rest = rest[self._file.write(rest) :]
        return len(whole)
