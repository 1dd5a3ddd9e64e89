"""The check of the data, done once for all levels of a task: its record is shared by its key.

A record counts only for the very files that were checked: their digests are taken again, which
takes a fraction of the time that it takes to parse them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from sparse_transfer_api.contract import CHECKS_FOLDER
from sparse_transfer_api.keys import data_key
from sparse_transfer_api.spec import SparseTransferSpec
from sparse_transfer_runner.data.recorded import digest_of
from sparse_transfer_runner.digests import sha256_of
from sparse_transfer_runner.storage import fetch
from sparse_transfer_runner.storage.addresses import data_address
from sparse_transfer_runner.storage.protocol import Missing, Place
from sparse_transfer_runner.storage.settings import settings
from sparse_transfer_runner.use_cases import use_case
from sparse_transfer_runner.use_cases.protocol import DataSummary


def check_data(spec: SparseTransferSpec) -> DataSummary:
    """Checks the data of an experiment; needs neither its model nor a hub.

    Raises:
        InputError: With every problem found, each with file and line.
        AccessError: The data is not where it should be.
    """
    return use_case(spec.use_case).inspect(fetch(data_address(spec.data)), spec)


def checked_data(spec: SparseTransferSpec, root: Place) -> DataSummary:
    """Returns what was found in the data, by whichever level looked first.

    Args:
        spec: The user's, its data pinned where it can be.
        root: The folder of all the experiment's stages.

    Raises:
        InputError: With every problem found, each with file and line.
        AccessError: The data is not where it should be.
    """
    place, name = root.below(CHECKS_FOLDER), f"data-{data_key(spec)}.json"
    recorded = _recorded(place, name)
    folder = fetch(data_address(spec.data))
    if recorded is not None and recorded.is_of(folder, spec.use_case):
        return recorded.summary
    found = _Check(check_data(spec), _listing(folder))
    # Whoever looks at the same time finds the same.
    place.put(name, lambda path: _write(path, found))
    return found.summary


@dataclass(frozen=True)
class _Check:
    """A check without errors.

    Args:
        summary: What was found.
        listing: SHA-256 over the names and sizes of all files, since another one may be a split,
            and over the contents of small ones beside the splits, which may name the classes.
    """

    summary: DataSummary
    listing: str

    def is_of(self, folder: Path, use: str) -> bool:
        """Whether a folder holds the files that were checked, and no others."""
        if _listing(folder) != self.listing:
            return False
        for split in self.summary.splits:
            settings().raise_if_stopped()
            if digest_of(folder, split, use) != split.digest:
                return False
        return True


_CHECK = TypeAdapter(_Check)


_SMALL_BYTES = 1 << 20
"""Lists of names are smaller."""
_BESIDE = (".txt", ".json", ".yaml", ".yml")
"""Endings of files that name what the splits hold."""


def _listing(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    listed = [f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\n" for path in files]
    beside = [path for path in files if path.parent == folder and path.suffix in _BESIDE]
    listed += [sha256_of(path) for path in beside if path.stat().st_size <= _SMALL_BYTES]
    return hashlib.sha256("".join(listed).encode("utf-8", "surrogateescape")).hexdigest()


def _recorded(place: Place, name: str) -> _Check | None:
    try:
        return _CHECK.validate_json(place.read(name))
    except (Missing, ValidationError):
        return None


def _write(path: Path, found: _Check) -> None:
    path.write_bytes(_CHECK.dump_json(found, indent=2))
