"""How storage is reached: the settings in force, set once at the edge of a process.

Addresses are followed in many places, deep below the stages, and all of them have to use the same
endpoint, credentials and cache; so these are the process's, as the catalogue in force is.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sparse_transfer_api.contract import ENV_CACHE, ENV_PVC_MOUNT, PVC_MOUNT, SCRATCH_MOUNT
from sparse_transfer_api.quantity import bytes_of
from sparse_transfer_api.spec import S3Storage, Storage


def _never_stopped() -> None:
    pass


@dataclass(frozen=True)
class StorageSettings:
    """How storage is reached.

    Args:
        s3: Of ``s3://`` addresses.
        cache: Folder that keeps what was fetched; None for one that ends with the process.
        cache_limit_bytes: Of that folder; None for no limit.
        raise_if_stopped: Called between the parts of long transfers; ends them by raising.
    """

    s3: S3Storage = field(default_factory=S3Storage)
    cache: Path | None = None
    cache_limit_bytes: int | None = None
    raise_if_stopped: Callable[[], None] = _never_stopped


_in_force: StorageSettings | None = None


def settings() -> StorageSettings:
    """Returns the settings in force: those of ``using``, else the environment's."""
    return _in_force if _in_force is not None else settings_of(Storage())


def settings_of(
    storage: Storage, raise_if_stopped: Callable[[], None] = _never_stopped
) -> StorageSettings:
    """Returns the settings that a spec and the environment ask for.

    The environment's cache comes first: it names where the spec's is mounted.
    """
    limit = storage.cache.size_limit
    return StorageSettings(
        storage.s3,
        _cache_folder(storage),
        bytes_of(limit) if limit is not None else None,
        raise_if_stopped,
    )


@contextmanager
def using(chosen: StorageSettings) -> Iterator[None]:
    """Puts settings in force for this process."""
    global _in_force
    previous, _in_force = _in_force, chosen
    try:
        yield
    finally:
        _in_force = previous


def claim_folder(claim: str) -> Path:
    """Returns where a PersistentVolumeClaim is mounted."""
    return Path(os.environ.get(ENV_PVC_MOUNT, PVC_MOUNT)) / claim


def scratch_folder() -> Path:
    """Returns the folder for what does not stay: the pod's scratch volume, or the system's."""
    mounted = Path(SCRATCH_MOUNT)
    usable = mounted.is_dir() and os.access(mounted, os.W_OK)
    return mounted if usable else Path(tempfile.gettempdir())


def _cache_folder(storage: Storage) -> Path | None:
    if named := os.environ.get(ENV_CACHE):
        return Path(named)
    if storage.cache.claim is not None:
        return claim_folder(storage.cache.claim) / "sparse-transfer-cache"
    return Path(storage.cache.host_path) if storage.cache.host_path is not None else None
