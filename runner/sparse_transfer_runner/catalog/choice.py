"""Which entry of a catalogue a name, a ladder or a level stands for; nothing is fetched here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sparse_transfer_api.contract import ENV_CATALOG
from sparse_transfer_api.errors import InputError
from sparse_transfer_api.optim_level import Band
from sparse_transfer_api.suggest import did_you_mean

from .models import Catalog, CatalogEntry, Source
from .reading import packaged_catalog

_BUILT = "models"
"""Where the command that messages show puts what it makes."""


def chosen_entry(catalog: Catalog, family: str, band: Band, use_case: str) -> CatalogEntry:
    """Returns the entry for a band: the first that is there, else the first that can be made.

    Raises:
        InputError: None fits.
    """
    found = _first_fit(_foundations(catalog, family), band)
    if found is not None:
        return found
    side = "sparse" if band.sparse else "dense"
    packaged = _first_fit(_foundations(packaged_catalog(), family), band)
    raise InputError(
        f"the catalogue has no {side} {family} model of size {band.size}, which {use_case} needs "
        "at this level; give one as spec.model.uri"
        + (", or make one with 'sparse-transfer upstream'" if band.sparse else "")
        + (f"; {packaged_has(packaged)}" if packaged is not None else "")
    )


def entry_for(catalog: Catalog, name: str, band: Band) -> CatalogEntry:
    """Returns the entry of a name; of a ladder's name, the one that the band starts from.

    Raises:
        InputError: There is no such entry and no such ladder, or the ladder lacks that size.
    """
    ladder = ladders(catalog).get(name)
    if ladder is None or name in {entry.name for entry in catalog.models}:
        return entry_named(catalog, name)
    found = _first_fit(ladder, band)
    if found is None:
        sizes = ", ".join(f"{entry.name} ({entry.size})" for entry in ladder)
        side = "sparse" if band.sparse else "dense"
        raise InputError(
            f"catalog:{name}: the ladder has no {side} model of size {band.size}, which this level "
            f"needs; it has {sizes}"
        )
    return found


def entry_named(catalog: Catalog, name: str) -> CatalogEntry:
    """Returns the entry of a name.

    Raises:
        InputError: There is none; the message suggests the nearest.
    """
    names = [entry.name for entry in catalog.models]
    if name in names:
        return catalog.models[names.index(name)]
    steps = ladders(catalog)
    if name in steps:
        listed = ", ".join(entry.name for entry in steps[name])
        raise InputError(
            f"catalog:{name}: a ladder, of which only a level takes one model; name one of {listed}"
        )
    for entry in packaged_catalog().models:
        if entry.name == name:
            raise InputError(
                f"catalog:{name}: not in the catalogue in force; {packaged_has(entry)}"
            )
    raise InputError(
        f"catalog:{name}: the catalogue has no such model{did_you_mean(name, [*names, *steps])} "
        f"(it has {', '.join(names) or 'none'})"
    )


def ladders(catalog: Catalog) -> dict[str, list[CatalogEntry]]:
    """Returns the models of each ladder, in the catalogue's order."""
    found: dict[str, list[CatalogEntry]] = {}
    for entry in catalog.models:
        if entry.ladder is not None:
            found.setdefault(entry.ladder, []).append(entry)
    return found


def source_for_band(entry: CatalogEntry, band: Band) -> Source:
    """Returns the model of an entry that a band starts from.

    Raises:
        InputError: It is sparse and the entry has none; says which command makes it.
    """
    source = entry.sparse if band.sparse else entry.dense or entry.sparse
    if source is not None:
        return source
    if entry.upstream is not None:
        raise InputError(must_be_made(entry))
    raise InputError(
        f"catalog:{entry.name}: has no sparse model, which this level needs; make one with "
        "'sparse-transfer upstream', or choose a level below 0.25"
    )


def must_be_made(entry: CatalogEntry) -> str:
    """Returns what to do about a model that is published nowhere: the very command."""
    job = entry.upstream
    brought = " --data DATA" if job is not None and job.data is None else ""
    what = f" (DATA: {job.data_kind})" if job is not None and brought else ""
    return (
        f"catalog:{entry.name}: is published nowhere and must be made first: "
        f"sparse-transfer catalog build {entry.name}{brought} --output {_BUILT}{what}; then use "
        f"--catalog {_BUILT}/catalog.yaml, or {ENV_CATALOG}"
    )


def packaged_has(entry: CatalogEntry) -> str:
    """Returns what to do about a model that a mirror lacks and the packaged catalogue has."""
    return (
        f"the packaged catalogue has {entry.name}: mirror it too (sparse-transfer catalog mirror "
        f"{entry.name} --to …), or do without {ENV_CATALOG}"
    )


def _foundations(catalog: Catalog, family: str) -> Iterator[CatalogEntry]:
    return (entry for entry in catalog.models if entry.family == family and entry.task is None)


def _first_fit(entries: Iterable[CatalogEntry], band: Band) -> CatalogEntry | None:
    fits = [entry for entry in entries if entry.size == band.size]
    there = (entry.sparse if band.sparse else entry.dense for entry in fits)
    found = next((entry for entry, source in zip(fits, there, strict=True) if source), None)
    return found or next((entry for entry in fits if entry.must_be_made), None)
