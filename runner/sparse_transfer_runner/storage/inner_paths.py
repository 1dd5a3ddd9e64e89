"""Names inside archives and repositories: only those that stay inside, and that a disk can hold."""

from __future__ import annotations

from pathlib import PurePosixPath

_LONGEST_NAME = 255
_LONGEST_PATH = 1024
"""Bytes; below what the usual file systems allow, the cache's own folders counted."""


def inner_path(name: str) -> str:
    """Returns a path below some folder, without ``.`` and doubled slashes.

    Raises:
        ValueError: It leads out, or cannot be a file's name; the message goes on after the name.
    """
    path = PurePosixPath(name)
    if path.is_absolute():
        raise ValueError("is an absolute path")
    if ".." in path.parts:
        raise ValueError("leads out of its folder")
    if not path.parts:
        raise ValueError("is empty")
    try:
        sizes = [len(part.encode()) for part in path.parts]
    except UnicodeEncodeError as error:
        raise ValueError("is not UTF-8") from error
    if max(sizes) > _LONGEST_NAME or sum(sizes) + len(sizes) > _LONGEST_PATH:
        raise ValueError("is longer than a file's name can be")
    if any(character < " " for character in name):
        raise ValueError("holds control characters")
    return str(path)
