"""Digests of files and folders: how models, data and results are recognized."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

_CHUNK = 1 << 20


def sha256_of(path: Path) -> str:
    """Returns the hexadecimal SHA-256 of a file, read in constant memory."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def digest_of_tree(root: Path) -> str:
    """Returns one SHA-256 over names and contents of a file, or of all files below a folder."""
    if root.is_file():
        return sha256_of(root)
    files = (path for path in root.rglob("*") if path.is_file())
    return digest_of_digests({path.relative_to(root).as_posix(): sha256_of(path) for path in files})


def digest_of_digests(digests: Mapping[str, str]) -> str:
    """Returns the digest of a folder whose files have these digests, by their paths in it."""
    whole = hashlib.sha256()
    # In the order of their parts, as paths compare.
    for path in sorted(digests, key=lambda path: path.split("/")):
        whole.update(f"{path}\0{digests[path]}\n".encode())
    return whole.hexdigest()
