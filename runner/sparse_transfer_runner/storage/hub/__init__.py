"""``hf://…``: models and data sets of the Hugging Face hub, or of a mirror (``HF_ENDPOINT``).

An address is pinned to a commit before anything is read, and what was fetched is kept by that
commit: it is never asked for again. Where the hub cannot be reached, or the user has forbidden to
ask it (``HF_HUB_OFFLINE=1``), the last known commit of a branch is used. A cache is shared by
everybody who may read it, also what only a token (``HF_TOKEN``) opened.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field
from pathlib import Path

from sparse_transfer_api.errors import AccessError, Transient
from sparse_transfer_runner.storage import WAYS_OUT

from ..addresses import HubAddress, hub_address
from ..cache import Cache, cache, identity_of
from ..connections import Patience
from ..settings import settings
from .client import asking, hub, user_is_offline
from .download import HubDownload
from .model_files import SELECTION
from .problems import explained

_LOG = logging.getLogger(__name__)
_COMMIT = re.compile("[0-9a-f]{40}")


def _patience() -> Patience:
    # The library tries five times by itself, after seconds of waiting.
    return Patience(tries=3, silence_seconds=30)


@dataclass(frozen=True)
class HubSource:
    """Addresses such as ``hf://OWNER/NAME@main`` and ``hf://datasets/OWNER/NAME``.

    Args:
        patience: With the hub.
    """

    patience: Patience = field(default_factory=_patience)
    scheme = "hf"

    def pinned(self, uri: str) -> str:
        """Returns the address of the commit that a branch or tag is at.

        Raises:
            InputError: The address is malformed.
            AccessError: It does not exist, or may not be read.
            Transient: The hub cannot be reached, and its last state is not known.
        """
        address = hub_address(uri)
        return str(address.at(self._commit(address, cache(settings()))))

    def fetch(self, uri: str) -> Path:
        """Returns the cached copy of a commit's files, fetched where it is not cached.

        Of a model only what PyTorch reads, unless the address names a file or folder of it.

        Raises:
            InputError: The address is malformed.
            AccessError: It does not exist, or may not be read.
            Transient: The hub did not answer in spite of retries, or the disk is full.
        """
        chosen = settings()
        store = cache(chosen)
        address = hub_address(uri)
        pinned = address.at(self._commit(address, store))
        found = _known(store, pinned)
        if found is not None:
            return found
        if user_is_offline():
            raise AccessError(
                f"{uri}: not in the cache, and HF_HUB_OFFLINE forbids to ask the hub; unset it, or "
                f"{WAYS_OUT}"
            )
        download = HubDownload(pinned, self.patience, chosen.raise_if_stopped)
        return store.fetched(_identity(pinned), download.into) / pinned.path

    def _commit(self, address: HubAddress, store: Cache) -> str:
        if address.commit is not None:
            return address.commit
        memory = identity_of(["hf", address.kind, address.repository, address.revision])
        if user_is_offline():
            return _last_commit(address, store.noted(memory), None)
        try:
            commit = self._asked(address)
        except Transient as error:
            return _last_commit(address, store.noted(memory), error)
        store.note(memory, commit)
        return commit

    def _asked(self, address: HubAddress) -> str:
        def ask() -> str:
            with explained(address):
                info = hub().repo_info(
                    address.repository,
                    repo_type=address.kind,
                    revision=address.revision,
                    timeout=self.patience.silence_seconds,
                )
                if not _COMMIT.fullmatch(info.sha or ""):
                    raise ValueError("no commit")
                return str(info.sha)

        with asking(self.patience):
            return self.patience.insist(ask, settings().raise_if_stopped)


def _last_commit(address: HubAddress, last: str | None, error: Transient | None) -> str:
    if last is None or not _COMMIT.fullmatch(last):
        if error is not None:
            raise error
        raise AccessError(
            f"{address}: HF_HUB_OFFLINE forbids to ask the hub, and the cache does not know it; "
            f"unset it, name a commit that the cache has, or {WAYS_OUT}"
        )
    reason = "HF_HUB_OFFLINE is set" if error is None else str(error)
    _LOG.warning("%s: the last known commit, %s, is used (%s)", address, last[:12], reason)
    return last


def _known(store: Cache, address: HubAddress) -> Path | None:
    """Returns what an address leads to, when it or all of its repository was fetched."""
    for fetched in (address, HubAddress(address.kind, address.repository, address.revision)):
        folder = store.known(_identity(fetched))
        if folder is not None and (folder / address.path).exists():
            return folder / address.path
    return None


def _identity(address: HubAddress) -> str:
    return identity_of(["hf", str(address), SELECTION if address.kind == "model" else 0])
