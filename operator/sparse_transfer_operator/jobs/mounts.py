"""The pod's volumes and where they are mounted.

All else than these is read-only. A template's mount at a place to write, or at a claim's, takes the
place of ours: a faster disk as ``/scratch``, or a part of a shared claim.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import Any

from sparse_transfer_api.contract import (
    PROGRESS_TOKEN,
    PVC_MOUNT,
    SCRATCH_MOUNT,
    TRUST_MOUNT,
)
from sparse_transfer_api.errors import InputError, Problem
from sparse_transfer_api.spec import Cache, PodTemplate, SparseTransferSpec
from sparse_transfer_operator.settings import OperatorSettings

from .claims import claims
from .progress_access import ProgressAccess

Json = dict[str, Any]

CA_BUNDLE = f"{TRUST_MOUNT}/ca.crt"
"""File with the certificate authorities of the spec's ``caBundle``."""
CACHE_MOUNT = "/var/cache/sparse-transfer"
"""Where a node's cache folder is mounted."""
TOKEN_SECONDS = 3600
"""How long a token for progress is valid; the kubelet renews it long before."""

_TEMPORARY = "/tmp"
_SHARED_MEMORY = "/dev/shm"
_OURS = "ste-"
"""What the names of our volumes begin with, so that they meet no one else's."""


@dataclass(frozen=True)
class Mounted:
    """Volumes, and where the container has them.

    Args:
        volumes: As a pod's.
        mounts: As a container's.
    """

    volumes: list[Json]
    mounts: list[Json]


@dataclass(frozen=True)
class _Mount:
    """One of our volumes.

    Args:
        name: The volume's, without the prefix.
        path: Where it is mounted.
        source: The volume's kind and settings.
        read_only: It is not written to.
        fixed: No template may put another volume in its place.
    """

    name: str
    path: str
    source: Json
    read_only: bool = False
    fixed: bool = False

    @property
    def volume(self) -> Json:
        return {"name": f"{_OURS}{self.name}", **self.source}

    @property
    def mount(self) -> Json:
        mount = {"name": f"{_OURS}{self.name}", "mountPath": self.path}
        return {**mount, "readOnly": True} if self.read_only else mount


def mounted(
    spec: SparseTransferSpec,
    settings: OperatorSettings,
    template: PodTemplate,
    with_progress: ProgressAccess | None,
) -> Mounted:
    """Returns a pod's volumes and mounts, ours first.

    Raises:
        InputError: A template takes a name or a path that is ours, or an address names no claim.
    """
    ours = [
        *_writable(template),
        *_claims(spec, settings),
        *_trust(spec),
        *_cache(spec.storage.cache),
        *_token(with_progress),
    ]
    theirs = {posixpath.normpath(each.mount_path) for each in template.volume_mounts}
    _refuse_collisions(template, ours)
    ours = [each for each in ours if each.path not in theirs]
    return Mounted(
        [*(each.volume for each in ours), *(each.to_json_dict() for each in template.volumes)],
        [*(each.mount for each in ours), *(each.to_json_dict() for each in template.volume_mounts)],
    )


def cache_folder(cache: Cache) -> str | None:
    """Returns the folder of the shared cache in the container; None without one."""
    if cache.claim is not None:
        return f"{PVC_MOUNT}/{cache.claim}/sparse-transfer-cache"
    return None if cache.host_path is None else CACHE_MOUNT


def _writable(template: PodTemplate) -> list[_Mount]:
    found = [
        _Mount("scratch", SCRATCH_MOUNT, {"emptyDir": {}}),
        _Mount("tmp", _TEMPORARY, {"emptyDir": {}}),
    ]
    if template.shm_size is not None:
        memory = {"medium": "Memory", "sizeLimit": template.shm_size}
        found.append(_Mount("shm", _SHARED_MEMORY, {"emptyDir": memory}))
    return found


def _claims(spec: SparseTransferSpec, settings: OperatorSettings) -> list[_Mount]:
    named = claims(spec, settings.catalog)
    return [
        _Mount(
            f"claim-{index}",
            f"{PVC_MOUNT}/{claim}",
            {"persistentVolumeClaim": {"claimName": claim}},
            read_only=not writes,
        )
        for index, (claim, writes) in enumerate(named.items())
    ]


def _trust(spec: SparseTransferSpec) -> list[_Mount]:
    bundle = spec.storage.s3.ca_bundle
    if bundle is None:
        return []
    items = [{"key": bundle.key, "path": posixpath.basename(CA_BUNDLE)}]
    source = {"configMap": {"name": bundle.config_map, "items": items}}
    return [_Mount("trust", TRUST_MOUNT, source, read_only=True, fixed=True)]


def _cache(cache: Cache) -> list[_Mount]:
    if cache.host_path is None:
        return []
    # A folder that the kubelet made would be root's, and useless to everybody else.
    source = {"hostPath": {"path": cache.host_path, "type": "Directory"}}
    return [_Mount("cache", CACHE_MOUNT, source, fixed=True)]


def _token(progress: ProgressAccess | None) -> list[_Mount]:
    if progress is None:
        return []
    folder, file = posixpath.split(PROGRESS_TOKEN)
    token = {"audience": progress.url, "expirationSeconds": TOKEN_SECONDS, "path": file}
    source = {"projected": {"sources": [{"serviceAccountToken": token}]}}
    return [_Mount("progress", folder, source, read_only=True, fixed=True)]


def _refuse_collisions(template: PodTemplate, ours: list[_Mount]) -> None:
    fixed = {each.path for each in ours if each.fixed}
    problems = [
        Problem(f"volumes.{each.name}", f"names that begin with {_OURS} are the operator's")
        for each in template.volumes
        if each.name.startswith(_OURS)
    ]
    problems += [
        Problem(f"volumeMounts.{each.mount_path}", "is the operator's own; choose another path")
        for each in template.volume_mounts
        if posixpath.normpath(each.mount_path) in fixed
    ]
    if problems:
        raise InputError("the template's volumes cannot be used", problems)
