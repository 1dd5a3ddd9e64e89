"""``pvc://CLAIM/path``: PersistentVolumeClaims, mounted where the contract says."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from sparse_transfer_api.contract import ENV_PVC_MOUNT
from sparse_transfer_api.errors import AccessError, InputError

from .file import FilePlace, readable
from .settings import claim_folder


class PvcSource:
    """Addresses such as ``pvc://datasets/reviews``; nothing is copied."""

    scheme = "pvc"

    def fetch(self, uri: str) -> Path:
        """Returns the path below the claim's mount.

        Raises:
            InputError: The address is malformed, or leads out of the claim.
            AccessError: The claim is not mounted, or holds no such path.
        """
        return readable(uri, _path(uri))


def place(uri: str) -> FilePlace:
    """Returns the folder of an address, to be written.

    Raises:
        InputError: The address is malformed, or leads out of the claim.
        AccessError: The claim is not mounted.
    """
    return FilePlace(_path(uri), uri)


def _path(uri: str) -> Path:
    claim, _, inner = uri.split("://", 1)[1].partition("/")
    inner = unquote(inner)
    if not claim or ".." in PurePosixPath(inner).parts:
        raise InputError(f"{uri}: expected pvc://CLAIM/path, without '..'")
    root = claim_folder(claim)
    if not root.is_dir():
        raise AccessError(
            f"{uri}: claim {claim} is not mounted at {root}; on a cluster the operator mounts it, "
            f"on one machine give a file:// address (or set {ENV_PVC_MOUNT} to a folder that "
            "holds the claims by name)"
        )
    return root / inner.strip("/")
