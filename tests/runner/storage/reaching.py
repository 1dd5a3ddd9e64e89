"""How tests of the s3 scheme reach a store: settings and environment, as a stage has them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from boto3.session import Session
from botocore.client import BaseClient
from tests.servers.s3_server import no_credentials

from sparse_transfer_api.records import FileEntry
from sparse_transfer_api.spec import S3Storage
from sparse_transfer_runner.digests import sha256_of
from sparse_transfer_runner.storage import locks
from sparse_transfer_runner.storage.s3.client import _client
from sparse_transfer_runner.storage.settings import StorageSettings, using

_CLIENT_OF = Session.client


@contextmanager
def reaching(
    endpoint: str,
    environment: Mapping[str, str],
    cache: Path | None = None,
    raise_if_stopped: Callable[[], None] = lambda: None,
    **s3: object,
) -> Iterator[None]:
    """Puts an endpoint, an environment and more of ``spec.storage.s3`` in force.

    Args:
        endpoint: Of the store.
        environment: Credentials; those of this machine are hidden.
        cache: Folder of the cache; None for one that ends with the process.
        raise_if_stopped: Called between the parts of transfers.
        s3: By field name.
    """
    fields = {"endpoint": endpoint, "path_style": True, **s3}
    chosen = StorageSettings(
        S3Storage.model_validate(fields), cache=cache, raise_if_stopped=raise_if_stopped
    )
    made: list[BaseClient] = []

    def recorded(session: Session, *arguments: Any, **options: Any) -> BaseClient:
        made.append(_CLIENT_OF(session, *arguments, **options))
        return made[-1]

    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    with (
        patch.dict(os.environ, {**kept, **no_credentials(), **environment}, clear=True),
        patch.object(Session, "client", recorded),
        using(chosen),
    ):
        try:
            yield
        finally:
            # What a process keeps until it ends is to end with the test.
            for path in tuple(locks._held):
                locks.release(path)
            _client.cache_clear()
            for client in made:
                client.close()


def write_files(folder: Path, files: Mapping[str, bytes]) -> list[FileEntry]:
    """Writes files, and returns them as a manifest lists them."""
    entries = []
    for path, content in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        entries.append(FileEntry(path=path, sha256=sha256_of(file), size_bytes=len(content)))
    return entries


def files_below(folder: Path) -> dict[str, bytes]:
    """Returns the content of all files below a folder by their paths in it."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
