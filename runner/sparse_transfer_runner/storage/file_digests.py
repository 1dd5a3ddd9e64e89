"""Digests of files on this machine, several at once: hashing lets go of the interpreter."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from sparse_transfer_api.errors import AccessError

from .parallel import at_once
from .protocol import Damaged, Missing

_PIECE_BYTES = 1 << 20
_FILES_AT_ONCE = 4

Read = Callable[[int], None]


def digests(
    folder: Path, uri: str, paths: Collection[str], read: Read
) -> Iterator[tuple[str, str | AccessError]]:
    """Yields each file's path with its SHA-256, or with why it cannot be read.

    Args:
        folder: Where the files are.
        uri: The folder's address, for messages.
        paths: Below the folder.
        read: Told the bytes of each piece; ends the reading by raising.
    """

    def attempt(path: str) -> str | AccessError:
        try:
            return _digest(folder / path, read)
        except FileNotFoundError:
            return Missing(f"{uri}/{path}: no such file")
        except PermissionError:
            return AccessError(f"{uri}/{path}: may not be read by this user")
        except OSError as error:
            return Damaged(f"{uri}/{path}: cannot be read ({error.strerror})")

    workers = min(_FILES_AT_ONCE, len(os.sched_getaffinity(0)))
    return at_once(attempt, paths, workers)


def _digest(path: Path, read: Read) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            digest.update(piece)
            read(len(piece))
    return digest.hexdigest()
