"""Writing to disks: whole files or none, and the system's refusals in words that help."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sparse_transfer_api.errors import AccessError, SparseTransferError, Transient

_FULL_BYTES = 1 << 20
"""A device with less free space is taken for full when a library fails to write to it."""


@contextmanager
def explained(path: Path, instead: str = "another output.uri") -> Iterator[None]:
    """Turns the operating system's refusals about ``path`` into errors that say what to do.

    Args:
        path: A file or folder; it need not exist.
        instead: What the user may choose in its place.

    Raises:
        Transient: The disk or the quota is full.
        AccessError: The place is read-only or belongs to somebody else.
    """
    try:
        yield
    except SparseTransferError:
        raise
    except Exception as error:
        # Libraries that write by themselves wrap the system's refusal in errors of their own.
        if _is_full(path, error):
            raise Transient(
                f"{path}: no space left on the device; free some, or choose {instead}"
            ) from error
        if not isinstance(error, OSError):
            raise
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR):
            raise AccessError(
                f"{error.filename or path}: cannot be used ({error.strerror}); "
                f"choose {instead}, where this user may read and write"
            ) from error
        raise


def _is_full(path: Path, error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    existing = next((each for each in (path, *path.parents) if each.exists()), None)
    nearly_full = existing is not None and shutil.disk_usage(existing).free < _FULL_BYTES
    return nearly_full or "No space left" in str(error)


@contextmanager
def temporary_beside(path: Path) -> Iterator[Path]:
    """Yields an empty file beside a path, hidden by its name; removed, if it is still there.

    Args:
        path: Its folder is made when missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def settle(path: Path) -> None:
    """Waits until the disk has a file's content, or a folder's names."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file so that readers see the old content or the new, never a part."""
    with explained(path), _complete_beside(path, content) as temporary:
        temporary.replace(path)


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON document atomically."""
    write_atomically(path, json.dumps(content, indent=2).encode() + b"\n")


def write_exclusively(path: Path, content: bytes) -> bool:
    """Writes a file unless there is one of that name; whole or not at all.

    Returns:
        Whether it was written: of many writers at once, exactly one is told so.
    """
    with explained(path), _complete_beside(path, content) as temporary:
        return _linked(temporary, path, content)


@contextmanager
def _complete_beside(path: Path, content: bytes) -> Iterator[Path]:
    with temporary_beside(path) as temporary:
        temporary.write_bytes(content)
        settle(temporary)
        temporary.chmod(0o644)
        yield temporary


def _linked(temporary: Path, path: Path, content: bytes) -> bool:
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise
        # A file system without hard links: exclusive, though a reader may see a part.
        try:
            with path.open("xb") as file:
                file.write(content)
        except FileExistsError:
            return False
    return True
