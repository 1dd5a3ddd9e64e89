"""What is moved: objects of a listing, downloads and uploads."""

from __future__ import annotations

from collections.abc import Mapping
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
        etag: As listed, of the version that is wanted; None for any.
    """

    key: str
    size_bytes: int
    target: Path
    sha256: str | None = None
    etag: str | None = None


@dataclass(frozen=True)
class Arrived:
    """One object that was written into a file.

    Args:
        sha256: Of what was written.
        metadata: The object's, by lower-case name.
        etag: Its version's.
    """

    sha256: str
    metadata: Mapping[str, str]
    etag: str | None


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


def lowered(metadata: Mapping[str, str]) -> dict[str, str]:
    """Returns metadata by lower-case name, as we write it.

    The names are those of headers, whose case is nobody's promise: MinIO gives back ``Sha256`` for
    ``sha256``, and botocore leaves it so (github.com/boto/botocore/issues/1963).
    """
    return {name.lower(): value for name, value in metadata.items()}
