"""What is moved: objects of a listing, downloads and uploads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Listed:
    """An object of a listing.

    Args:
        key: The object's.
        size_bytes: Its size.
        etag: Changes with its content.
    """

    key: str
    size_bytes: int
    etag: str


@dataclass(frozen=True)
class Download:
    """One object to fetch.

    Args:
        key: The object's.
        size_bytes: As listed.
        target: The file to write, in an existing folder.
        sha256: What its content must be; None to trust what the object's metadata says, if any.
    """

    key: str
    size_bytes: int
    target: Path
    sha256: str | None = None


@dataclass(frozen=True)
class Upload:
    """One file to write.

    Args:
        key: The object's.
        source: The file.
        sha256: Of its content.
    """

    key: str
    source: Path
    sha256: str
