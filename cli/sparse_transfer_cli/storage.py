"""How this machine reaches storage: as the experiment says, with a cache of the user's own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from sparse_transfer_api.contract import ENV_CACHE
from sparse_transfer_api.spec import Storage
from sparse_transfer_runner.storage.settings import settings_of, using


@contextmanager
def reaching(storage: Storage) -> Iterator[dict[str, str]]:
    """Puts an experiment's storage settings in force.

    What is fetched is kept in the user's cache folder, where the experiment names no other.

    Args:
        storage: The experiment's.

    Yields:
        The environment that lets the stages do the same.
    """
    chosen = settings_of(storage)
    if chosen.cache is not None:
        with using(chosen):
            yield {}
        return
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    cache = Path(caches) / "sparse-transfer"
    with using(replace(chosen, cache=cache)):
        yield {ENV_CACHE: str(cache)}
