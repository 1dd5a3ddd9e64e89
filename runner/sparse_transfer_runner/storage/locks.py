"""Locks on files, among the processes and pods that share a folder.

A lock ends with the process that has it, however that ends. Locks of one process exclude each other
as those of two do. Some file systems know no locks; whoever asks is told so.
"""

from __future__ import annotations

import errno
import fcntl
import threading
from enum import Enum
from pathlib import Path
from typing import IO

_UNKNOWN = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
"""What file systems answer that know no locks."""


class Outcome(Enum):
    """What became of the wish for a lock."""

    TAKEN = "taken"
    BUSY = "somebody else has one"
    UNKNOWN = "the file system knows no locks"


def lock_file(path: Path) -> IO[str]:
    """Opens a file for locks, made when missing; closing it ends them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Over NFS a shared lock needs a file that may be read, an exclusive one a writable file.
    return path.open("a+")


def exclusive(file: IO[str]) -> Outcome:
    """Tries to be the only one who has a lock on a file."""
    return _lock(file, fcntl.LOCK_EX)


def hold(path: Path) -> bool:
    """Keeps everybody from an exclusive lock on a file until ``release`` or the process's end.

    Returns:
        False when somebody has one just now.
    """
    with _CHANGING:
        if path in _held:
            return True
        file = lock_file(path)
        if _lock(file, fcntl.LOCK_SH) is Outcome.BUSY:
            file.close()
            return False
        _held[path] = file
        return True


def release(path: Path) -> None:
    """Ends ``hold``."""
    with _CHANGING:
        if file := _held.pop(path, None):
            file.close()


_held: dict[Path, IO[str]] = {}
_CHANGING = threading.Lock()


def _lock(file: IO[str], operation: int) -> Outcome:
    try:
        fcntl.flock(file, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return Outcome.BUSY
    except OSError as error:
        if error.errno not in _UNKNOWN:
            raise
        return Outcome.UNKNOWN
    return Outcome.TAKEN
