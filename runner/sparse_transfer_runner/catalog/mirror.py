"""Mirroring foundation models to where a cluster without internet can read them.

A mirror holds a folder ``NAME/`` for each model, with ``sparse/`` and ``dense/`` in it, and with
``entry.json`` once all of it is there. ``catalog.yaml`` is made of those entries and of nothing
else. So mirrors of different models to one place add up, also when they run at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath

import yaml
from pydantic import ValidationError

from sparse_transfer_api.errors import (
    AccessError,
    InputError,
    SparseTransferError,
    Transient,
)
from sparse_transfer_runner.progress import Reporter
from sparse_transfer_runner.storage.protocol import Missing, Place

from .mirror_copy import Copy, CopyRecord, sweep
from .mirror_source import (
    RECIPE,
    RECIPE_FILE,
    RECIPES,
    TEACHER,
    Part,
    parts_of,
    read_source,
    require_reachable,
)
from .models import Catalog, CatalogEntry, Source

CATALOG = "catalog.yaml"
_ENTRY = "entry.json"
_HEADING = b"# Written by 'sparse-transfer catalog mirror' from the entries beside it.\n"
_COMPILATIONS = 10
"""Of the catalogue, while other mirrors keep adding entries."""

_SOURCE_ERRORS = (InputError, AccessError, Transient)
"""What keeps one source from being mirrored, and the others not."""


class State(StrEnum):
    """What became of a part."""

    COPIED = "Copied"
    THERE = "There"
    """It was there before, complete."""
    PLANNED = "Planned"
    """Nothing is there, or not all: it would be copied."""
    FAILED = "Failed"


@dataclass(frozen=True)
class Outcome:
    """What became of one part.

    Args:
        part: The part.
        to: The copy's address.
        state: What became of it.
        record: Of a complete copy.
        error: Why it could not be mirrored.
    """

    part: Part
    to: str
    state: State
    record: CopyRecord | None = None
    error: SparseTransferError | None = None


@dataclass(frozen=True)
class Mirroring:
    """Models of a catalogue, on their way to a mirror.

    Args:
        catalog: In force; its order is the mirror's.
        entries: Those to mirror.
        place: The mirror.
    """

    catalog: Catalog
    entries: Sequence[CatalogEntry]
    place: Place

    @property
    def catalog_uri(self) -> str:
        """Address of the catalogue that leads to the copies."""
        return f"{self.place.uri}/{CATALOG}"

    def planned(self) -> Iterator[Outcome]:
        """Yields what would become of each part; fetches and writes nothing."""
        self._require_own_catalog()
        for part in self._parts():
            yield _planned(Copy(self.place, part))

    def run(self, reporter: Reporter) -> Iterator[Outcome]:
        """Copies what is not there yet, part by part; each whole entry enters the catalogue.

        Args:
            reporter: Receives progress.

        Yields:
            What became of each part.

        Raises:
            InputError: There is a catalogue that no mirror wrote.
            AccessError: The mirror may not be read or written.
            Transient: The mirror could not be reached, or is full; the same again goes on.
        """
        self._require_own_catalog()
        sweep(self.place)
        share = 1 / max(1, len(list(self._parts())))
        for entry in self.entries:
            copies: dict[str, CopyRecord] = {}
            parts = list(parts_of(entry))
            for part in parts:
                with reporter.activity(part.path, share):
                    outcome = _mirrored(Copy(self.place, part))
                if outcome.record is not None:
                    copies[part.name] = outcome.record
                yield outcome
            if parts and len(copies) == len(parts):
                self._record(self._entry_of_copies(entry, copies))
                self._compile()

    def dangling(self) -> list[str]:
        """Returns the teachers that mirrored entries name, and that the mirror does not hold."""
        held = self._recorded()
        named = {
            entry.teacher.removeprefix("catalog:")
            for entry in held.values()
            if entry.teacher is not None and entry.teacher.startswith("catalog:")
        }
        return sorted(named - held.keys())

    def _parts(self) -> Iterator[Part]:
        for entry in self.entries:
            yield from parts_of(entry)

    def _entry_of_copies(
        self, entry: CatalogEntry, copies: Mapping[str, CopyRecord]
    ) -> CatalogEntry:
        """Returns the entry with the addresses of its copies: relative ones in a folder."""
        near = self.place.uri.startswith("file://")
        base = f"{'file://.' if near else self.place.uri}/{entry.name}"
        update: dict[str, object] = {}
        recipes = dict(entry.recipes)
        for name, record in copies.items():
            address = f"{base}/{name}"
            if name.startswith(RECIPES):
                recipes[name.removeprefix(RECIPES)] = f"{address}/{RECIPE_FILE}"
            elif name == RECIPE:
                update[name] = f"{address}/{RECIPE_FILE}"
            elif name == TEACHER:
                update[name] = address
            else:
                uri = f"{address}/{record.model_file}" if record.model_file else address
                located = {"uri": uri, "revision": None, "digest": record.digest}
                update[name] = getattr(entry, name).model_copy(update=located)
        update["recipes"] = recipes
        if (job := entry.upstream) is not None and entry.dense is not None:
            copied = update.get("dense")
            if isinstance(copied, Source) and job.model == entry.dense.address:
                update["upstream"] = job.model_copy(update={"model": copied.uri})
        return entry.model_copy(update=update)

    def _record(self, entry: CatalogEntry) -> None:
        content = entry.model_dump_json(by_alias=True, exclude_none=True, indent=2).encode()
        _put(self.place, f"{entry.name}/{_ENTRY}", content)

    def _recorded(self) -> dict[str, CatalogEntry]:
        """Returns the entries of all that has been mirrored here, by name."""
        found = {}
        for file in self.place.files():
            path = PurePosixPath(file.path)
            if path.name == _ENTRY and len(path.parts) == 2:
                found[path.parts[0]] = self._entry(file.path)
        return found

    def _entry(self, path: str) -> CatalogEntry:
        try:
            return CatalogEntry.model_validate_json(self.place.read(path))
        except ValidationError as error:
            raise InputError(
                f"{self.place.uri}/{path}: not a catalogue's entry; move it away and mirror again"
            ) from error

    def _compile(self) -> None:
        """Writes the catalogue; again while another mirror adds entries meanwhile."""
        entries = self._recorded()
        for _ in range(_COMPILATIONS):
            ranks = {name: rank for rank, name in enumerate(self._order())}
            names = sorted(entries, key=lambda name: (ranks.get(name, len(ranks)), name))
            catalog = Catalog(models=tuple(entries[name] for name in names))
            text = yaml.safe_dump(catalog.to_json_dict(), sort_keys=False, allow_unicode=True)
            _put(self.place, CATALOG, _HEADING + text.encode())
            written, entries = entries, self._recorded()
            if entries == written:
                return
        raise Transient(f"{self.catalog_uri}: other mirrors keep adding to it; mirror again")

    def _order(self) -> list[str]:
        """Returns the names in the order of preference: the source's, then what was there."""
        names = [entry.name for entry in self.catalog.models]
        before = yaml.safe_load(_read(self.place, CATALOG) or b"{}")
        names += [model["name"] for model in before.get("models", ())]
        return list(dict.fromkeys(names))

    def _require_own_catalog(self) -> None:
        content = _read(self.place, CATALOG)
        if content is not None and not content.startswith(_HEADING):
            raise InputError(
                f"{self.catalog_uri}: a catalogue that is not a mirror's, and is not replaced; "
                "choose another --to"
            )


def _mirrored(copy: Copy) -> Outcome:
    there = _there(copy)
    if there is not None:
        return there
    try:
        source = read_source(copy.part)
    except _SOURCE_ERRORS as error:
        return _failed(copy, error)
    # From here on only what is in the copy's way is about this part alone.
    try:
        return Outcome(copy.part, copy.place.uri, State.COPIED, copy.write(source))
    except InputError as error:
        return _failed(copy, error)


def _planned(copy: Copy) -> Outcome:
    there = _there(copy)
    if there is not None:
        return there
    try:
        require_reachable(copy.part)
    except _SOURCE_ERRORS as error:
        return _failed(copy, error)
    return Outcome(copy.part, copy.place.uri, State.PLANNED)


def _there(copy: Copy) -> Outcome | None:
    try:
        record = copy.complete()
    except InputError as error:
        return _failed(copy, error)
    if record is None:
        return None
    return Outcome(copy.part, copy.place.uri, State.THERE, record)


def _failed(copy: Copy, error: SparseTransferError) -> Outcome:
    return Outcome(copy.part, copy.place.uri, State.FAILED, error=error)


def _put(place: Place, path: str, content: bytes) -> None:
    """Writes a small file, where that changes anything."""

    def write(file: Path) -> None:
        file.write_bytes(content)

    if _read(place, path) != content:
        place.put(path, write)


def _read(place: Place, path: str) -> bytes | None:
    try:
        return place.read(path)
    except Missing:
        return None
