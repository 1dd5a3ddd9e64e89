"""``file://``: folders and files of this machine, used where they lie."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sparse_transfer_api.errors import AccessError, InputError


class FileStorage:
    """Addresses such as ``file:///data/reviews``; nothing is copied."""

    scheme = "file"

    def fetch(self, uri: str) -> Path:
        """Returns the addressed path itself, after checking that it is there and readable.

        Raises:
            InputError: The address is relative, or names another machine.
            AccessError: Nothing is there, or this user may not read it.
        """
        path = _local_path(uri)
        try:
            present = path.exists()
        except PermissionError as error:
            raise AccessError(f"{uri}: {error.filename} may not be read by this user") from error
        if not present:
            raise AccessError(f"{uri}: no such file or folder{_last_existing(path)}")
        # A folder that cannot be listed would otherwise look like an empty one.
        needed = os.R_OK | os.X_OK if path.is_dir() else os.R_OK
        if not os.access(path, needed):
            raise AccessError(f"{uri}: may not be read by this user; change its permissions")
        return path


def _local_path(uri: str) -> Path:
    parts = urlsplit(uri)
    if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
        raise InputError(
            f"{uri}: not an absolute address; expected file:///folder "
            "(a relative one is understood inside a YAML file only, relative to that file)"
        )
    # '?' and '#' are ordinary characters of file names.
    rest = uri.split("://", 1)[1]
    return Path(unquote(rest.removeprefix("localhost")))


def _last_existing(path: Path) -> str:
    for parent in path.parents:
        if parent.is_dir():
            return f" ({parent} exists, {path.relative_to(parent).parts[0]!r} in it does not)"
    return ""
