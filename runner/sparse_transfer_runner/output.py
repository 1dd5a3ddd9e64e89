"""A stage's folder in the output place: attempts, files, and the manifest that completes it.

Everything is written under a temporary name, or before the manifest; a folder without a manifest
is unfinished work, a folder with one is a result and is never changed again.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sparse_transfer_api.contract import MANIFEST
from sparse_transfer_api.errors import (
    AccessError,
    InputError,
    OutputVanished,
    SparseTransferError,
    Transient,
)
from sparse_transfer_api.records import FileEntry, Manifest

_CHUNK = 1 << 20
_FULL_BYTES = 1 << 20
"""A device with less free space is taken for full when a library fails to write to it."""
_ATTEMPTS = "attempts"
_CHECKPOINTS = "checkpoints"


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
    digest = hashlib.sha256()
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        digest.update(f"{path.relative_to(root).as_posix()}\0{sha256_of(path)}\n".encode())
    return digest.hexdigest()


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns the operating system's refusals about ``path`` into errors that say what to do.

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
                f"{path}: no space left on the device; free some, or choose another output.uri"
            ) from error
        if not isinstance(error, OSError):
            raise
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR):
            raise AccessError(
                f"{error.filename or path}: cannot be used ({error.strerror}); "
                "choose an output.uri where this user may read and write"
            ) from error
        raise


def _is_full(path: Path, error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    existing = next((each for each in (path, *path.parents) if each.exists()), None)
    nearly_full = existing is not None and shutil.disk_usage(existing).free < _FULL_BYTES
    return nearly_full or "No space left" in str(error)


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file so that readers see the old content or the new, never a part."""
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.chmod(0o644)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON document atomically."""
    write_atomically(path, json.dumps(content, indent=2).encode() + b"\n")


@dataclass(frozen=True)
class StageFolder:
    """One stage's folder, such as ``runs/default/film-reviews/train-k3x…``.

    Args:
        path: The folder; it need not exist yet.
        stage: ``prepare``, ``train``, ``package`` or ``teacher``.
        key: The stage's key.
    """

    path: Path
    stage: str
    key: str

    @property
    def checkpoints(self) -> Path:
        """Where unfinished work is kept; not part of the result."""
        return self.path / _CHECKPOINTS

    def claim(self) -> int:
        """Claims the next attempt by an exclusive create, and returns its number."""
        attempts = self.path / _ATTEMPTS
        with explained(attempts):
            attempts.mkdir(parents=True, exist_ok=True)
            number = 1 + max((int(p.stem) for p in attempts.glob("[0-9]*.json")), default=0)
            while True:
                try:
                    with (attempts / f"{number}.json").open("x") as file:
                        json.dump({"started": datetime.now(UTC).isoformat()}, file)
                    return number
                except FileExistsError:
                    number += 1

    def require_attempt(self, number: int) -> None:
        """Refuses to go on when a newer attempt has claimed the folder.

        Raises:
            Transient: A newer attempt exists.
        """
        newest = max((int(p.stem) for p in (self.path / _ATTEMPTS).glob("[0-9]*.json")), default=0)
        if newest > number:
            raise Transient(f"{self.path}: attempt {newest} has taken over from attempt {number}")

    def manifest(self) -> Manifest | None:
        """Returns the manifest, or None while the stage has not finished.

        Raises:
            InputError: There is a manifest that cannot be read.
        """
        path = self.path / MANIFEST
        try:
            with explained(path):
                return Manifest.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise InputError(f"{path}: not a manifest; {_START_AFRESH}") from error

    def verified(self) -> Manifest | None:
        """Returns the manifest after checking every file it lists; None when unfinished.

        Raises:
            InputError: A file is missing, or differs from what was recorded.
        """
        manifest = self.manifest()
        if manifest is None:
            return None
        for entry in manifest.files:
            file = self.path / entry.path
            if not file.is_file():
                raise InputError(f"{file}: recorded in the manifest but missing; {_START_AFRESH}")
            if file.stat().st_size != entry.size_bytes or sha256_of(file) != entry.sha256:
                raise InputError(
                    f"{file}: differs from what {MANIFEST} records "
                    f"(sha256 {entry.sha256[:12]}…); {_START_AFRESH}"
                )
        return manifest

    def required(self) -> Manifest:
        """Returns the verified manifest of an earlier stage.

        Raises:
            OutputVanished: The result is gone or damaged: that stage has to run again.
        """
        try:
            manifest = self.verified()
        except InputError as error:
            raise OutputVanished(str(error)) from error
        if manifest is None:
            raise OutputVanished(f"{self.path}: no result of {self.stage} here; run it again")
        return manifest

    def complete(self, manifest: Manifest) -> Manifest:
        """Lists every file of the folder in the manifest and writes it, last of all."""
        files = [
            FileEntry(
                path=path.relative_to(self.path).as_posix(),
                sha256=sha256_of(path),
                size_bytes=path.stat().st_size,
            )
            for path in sorted(self.path.rglob("*"))
            if path.is_file() and self._belongs_to_result(path)
        ]
        finished = manifest.model_copy(update={"files": files})
        write_atomically(self.path / MANIFEST, finished.to_json())
        return finished

    def _belongs_to_result(self, path: Path) -> bool:
        first = path.relative_to(self.path).parts[0]
        return first not in (_ATTEMPTS, _CHECKPOINTS, MANIFEST) and not path.name.startswith(".")


_START_AFRESH = "nothing was changed; move the folder away (or delete it) to run the stage afresh"
