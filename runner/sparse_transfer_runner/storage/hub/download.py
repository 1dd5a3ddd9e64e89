"""A commit's files from the hub to the disk, each checked against what the hub lists of it.

Small files are recognized as damaged by git's digests, large ones by their SHA-256.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils.tqdm import tqdm

from sparse_transfer_api.errors import InputError, Transient
from sparse_transfer_api.suggest import did_you_mean

from ..addresses import HubAddress
from ..connections import Passing, Patience
from ..inner_paths import inner_path
from ..parallel import at_once
from ..protocol import Missing
from .client import also_in_threads, asking, endpoint, hub
from .model_files import needed
from .problems import explained

_FILES_AT_ONCE = 4
"""Each has some 50 MiB in memory, whatever its size: the library's chunks of 10 MiB, and copies."""
_CHUNK = 1 << 20


@dataclass(frozen=True)
class HubDownload:
    """One commit's files on their way.

    Args:
        address: Pinned.
        patience: With the hub.
        raise_if_stopped: Called between chunks.
    """

    address: HubAddress
    patience: Patience
    raise_if_stopped: Callable[[], None]

    def into(self, folder: Path) -> dict[str, str]:
        """Fetches the files into an empty folder; returns their digests."""
        with asking(self.patience):
            files = self._chosen(self._insist(self._listed))
            _require_room(folder, self.address, files)
            beside = folder.with_name("hub")

            @also_in_threads
            def fetch(file: RepoFile) -> str:
                return self._insist(lambda: self._fetched(file, beside, folder))

            return {file.path: digest for file, digest in at_once(fetch, files, _FILES_AT_ONCE)}

    def _insist(self, attempt: Callable[[], Any]) -> Any:
        def explained_attempt() -> Any:
            with explained(self.address):
                return attempt()

        return self.patience.insist(explained_attempt, self.raise_if_stopped)

    def _listed(self) -> list[RepoFile]:
        tree = hub().list_repo_tree(
            self.address.repository,
            repo_type=self.address.kind,
            revision=self.address.revision,
            recursive=True,
        )
        return [entry for entry in tree if isinstance(entry, RepoFile)]

    def _chosen(self, files: Sequence[RepoFile]) -> list[RepoFile]:
        """Returns the files that the address means."""
        for file in files:
            try:
                inner_path(file.path)
            except ValueError as error:
                raise InputError(f"{self.address}: its file {file.path!r} {error}") from error
        inside = [file for file in files if _below(file.path, self.address.path)]
        if not inside:
            names = sorted({part for file in files for part in _itself_and_folders(file.path)})
            hint = did_you_mean(self.address.path, names)
            raise Missing(f"{self.address}: no such file or folder in it{hint}")
        if self.address.kind == "dataset":
            return [file for file in inside if file.path != ".gitattributes"] or inside
        wanted = set(needed(file.path for file in files))
        # What is asked for by its own name is meant, whatever it is.
        return [file for file in inside if file.path in wanted] or inside

    def _fetched(self, file: RepoFile, beside: Path, folder: Path) -> str:
        fetched = Path(
            hf_hub_download(
                self.address.repository,
                file.path,
                repo_type=self.address.kind,
                revision=self.address.revision,
                local_dir=beside,
                endpoint=endpoint(),
                library_name="sparse-transfer",
                tqdm_class=_bar(self.raise_if_stopped),
            )
        )
        try:
            digest = self._verified(fetched, file)
        except Passing:
            fetched.unlink()
            raise
        target = folder / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        fetched.rename(target)
        return digest

    def _verified(self, path: Path, file: RepoFile) -> str:
        """Returns the SHA-256 of a file that is what the hub lists."""
        whole = hashlib.sha256()
        blob = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
        with path.open("rb") as content:
            while chunk := content.read(_CHUNK):
                self.raise_if_stopped()
                whole.update(chunk)
                if file.lfs is None:
                    blob.update(chunk)
        found = blob.hexdigest() if file.lfs is None else whole.hexdigest()
        expected = file.blob_id if file.lfs is None else file.lfs.sha256
        if found != expected:
            raise Passing(f"{self.address}: {file.path} arrived damaged, in spite of retries")
        return whole.hexdigest()


def _below(path: str, folder: str) -> bool:
    return not folder or path == folder or path.startswith(f"{folder}/")


def _itself_and_folders(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[: count + 1]) for count in range(len(parts))]


def _require_room(folder: Path, address: HubAddress, files: Sequence[RepoFile]) -> None:
    size, free = sum(file.size for file in files), shutil.disk_usage(folder).free
    if size > free:
        raise Transient(
            f"{folder}: no space for {address} ({size} bytes, {free} free); free some, or choose "
            "another cache (spec.storage.cache)"
        )


def _bar(raise_if_stopped: Callable[[], None]) -> type[tqdm]:
    """Returns a progress bar that shows nothing, and looks at each chunk whether to stop."""

    class Bar(tqdm):
        def __init__(self, *args: Any, **settings: Any) -> None:
            super().__init__(*args, **{**settings, "disable": True})

        def update(self, n: float | None = 1) -> None:
            raise_if_stopped()

    return Bar
