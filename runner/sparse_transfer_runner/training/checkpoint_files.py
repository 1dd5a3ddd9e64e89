"""Checkpoints as files of an attempt's folder: complete or absent, the newest that fits wins.

A checkpoint is two files: the state, and after it a record that says what it is of and what the
state's bytes have to be. So a reader knows without fetching the state whether it fits, and no
reader takes a part of a state, or a damaged one, for a whole.

Names carry the position in training and the attempt, so that two attempts never write one file.
What a later attempt wrote counts as newer, whatever its position: it knew all that was there, and
went back only where something no longer fitted.
"""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from sparse_transfer_api.base import Record
from sparse_transfer_api.records import FileEntry
from sparse_transfer_runner.digests import sha256_of
from sparse_transfer_runner.disk import explained
from sparse_transfer_runner.storage.protocol import Damaged, Missing, Place
from sparse_transfer_runner.storage.settings import scratch_folder

from .state_file import UNREADABLE, Written, read_state, write_state

_LOG = logging.getLogger(__name__)
_LAYOUT = 1
"""Version of what a state holds; those of another version are passed over."""
_KEPT = 2
"""Checkpoints kept: should the newest turn out to be damaged, there is one before it."""

Kind = Literal["start", "step"]
_KINDS: tuple[Kind, ...] = ("start", "step")
_NAME = re.compile(rf"(?P<kind>{'|'.join(_KINDS)})-(?P<number>\d+)-attempt-(?P<attempt>\d+)")
_STATE, _RECORD = ".pt", ".json"


@dataclass(frozen=True)
class Position:
    """Where in its work a run stands.

    Args:
        kind: ``start``, which comes first, counts finished blocks of the least-squares start;
            ``step`` counts optimizer steps.
        number: How many are done.
    """

    kind: Kind
    number: int

    @property
    def order(self) -> tuple[int, int]:
        """Greater for what comes later."""
        return _KINDS.index(self.kind), self.number

    def __str__(self) -> str:
        return f"{self.kind}-{self.number:08d}"


class CheckpointRecord(Record):
    """What stands beside a checkpoint's state."""

    layout: int
    settings: dict[str, Any]
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class Saved:
    """A checkpoint that was read.

    Args:
        position: Where the run stood.
        state: Tensors, all of them in main memory, and plain values.
        uri: For messages.
    """

    position: Position
    state: dict[str, Any]
    uri: str


@dataclass(frozen=True)
class CheckpointFolder:
    """The checkpoints of one run.

    Args:
        place: Where they are kept.
        attempt: Number of the attempt that writes.
        settings: Everything that decides the run, as JSON knows it; a checkpoint of a run with
            others does not fit.
        require_newest: Raises where a newer attempt has taken over.
    """

    place: Place
    attempt: int
    settings: Mapping[str, Any]
    require_newest: Callable[[], None]

    def write(self, position: Position, state: Mapping[str, Any]) -> None:
        """Writes a checkpoint, complete or not at all, and removes old ones.

        Raises:
            Transient: A newer attempt has taken over, the store is full, or cannot be reached.
            AccessError: A right is missing.
        """
        name = f"{position}-attempt-{self.attempt}"
        written = Written()
        self.require_newest()
        self.place.put(name + _STATE, lambda path: write_state(state, path, written))
        record = CheckpointRecord(
            layout=_LAYOUT,
            settings=dict(self.settings),
            sha256=written.sha256,
            size_bytes=written.size_bytes,
        ).to_json()
        self.require_newest()
        self.place.put(name + _RECORD, lambda path: _fill(path, record))
        self._prune()

    def newest(self) -> Saved | None:
        """Returns the newest checkpoint that fits this run; None where there is none.

        Others are passed over with a warning that says why. Nothing but tensors and plain values
        is ever unpickled.

        Raises:
            AccessError: A right to read is missing.
        """
        for name in _complete(self._paths()):
            uri = f"{self.place.uri}/{name.text}{_STATE}"
            try:
                return Saved(name.position, self._read(name), uri)
            except _UnfitError as unfit:
                _LOG.warning("%s: passed over, %s", uri, unfit)
        return None

    def _read(self, name: _Name) -> dict[str, Any]:
        try:
            record = CheckpointRecord.model_validate_json(self.place.read(name.text + _RECORD))
            self._require_fit(record)
            entry = FileEntry(
                path=name.text + _STATE, sha256=record.sha256, size_bytes=record.size_bytes
            )
            with self._near(entry) as path:
                return read_state(path)
        except (Missing, Damaged) as error:
            raise _UnfitError(str(error)) from error
        except ValidationError as error:
            raise _UnfitError("its record cannot be read") from error
        except UNREADABLE as error:
            raise _UnfitError(f"cannot be read ({type(error).__name__})") from error

    def _require_fit(self, record: CheckpointRecord) -> None:
        if record.layout != _LAYOUT:
            raise _UnfitError(f"written by another version (layout {record.layout}, not {_LAYOUT})")
        names = sorted({*record.settings, *self.settings})
        pairs = ((name, record.settings.get(name), self.settings.get(name)) for name in names)
        differing = [f"{name} {then!r}, now {now!r}" for name, then, now in pairs if then != now]
        if differing:
            raise _UnfitError(f"written with other settings ({'; '.join(differing)})")

    @contextmanager
    def _near(self, entry: FileEntry) -> Iterator[Path]:
        """Yields the path of a file on this machine, its content checked."""
        if self.place.folder is not None:
            path = self.place.folder / entry.path
            with explained(path):
                if sha256_of(path) != entry.sha256:
                    raise Damaged("differs from what was recorded of it")
            yield path
            return
        with tempfile.TemporaryDirectory(
            prefix="sparse-transfer-", dir=scratch_folder(), ignore_cleanup_errors=True
        ) as folder:
            self.place.get([entry], Path(folder))
            yield Path(folder) / entry.path

    def _prune(self) -> None:
        """Removes all but the newest, and what attempts up to this one left incomplete."""
        paths = self._paths()
        kept = {name.text for name in _complete(paths)[:_KEPT]}
        old = [
            path
            for path in paths
            if (name := _Name.of(path)) and name.attempt <= self.attempt and name.text not in kept
        ]
        # Records first: what is left of a pair must not look complete.
        self.place.remove(sorted(old, key=lambda path: not path.endswith(_RECORD)))

    def _paths(self) -> set[str]:
        return {file.path for file in self.place.files()}


class _UnfitError(Exception):
    """A checkpoint that this run cannot go on from; never leaves this module."""


@dataclass(frozen=True)
class _Name:
    """What a checkpoint's files are called, without their suffix."""

    text: str
    position: Position
    attempt: int

    @classmethod
    def of(cls, path: str) -> _Name | None:
        """Reads a path below the place; None for a file that is no checkpoint's."""
        stem, suffix = Path(path).stem, Path(path).suffix
        match = _NAME.fullmatch(stem)
        if match is None or suffix not in (_STATE, _RECORD) or path != stem + suffix:
            return None
        kind: Kind = "start" if match["kind"] == "start" else "step"
        return cls(stem, Position(kind, int(match["number"])), int(match["attempt"]))


def _complete(paths: Set[str]) -> list[_Name]:
    """Returns the names of the checkpoints that have both their files, newest first."""
    names = {name for path in paths if (name := _Name.of(path))}
    complete = [each for each in names if {each.text + _STATE, each.text + _RECORD} <= paths]
    return sorted(complete, key=lambda name: (name.attempt, name.position.order), reverse=True)


def _fill(path: Path, content: bytes) -> None:
    path.write_bytes(content)
