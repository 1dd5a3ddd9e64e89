"""From what an experiment says about its model to addresses: catalogue, stub, or override."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from sparse_transfer_api.errors import AccessError, InputError
from sparse_transfer_api.optim_level import Band
from sparse_transfer_api.suggest import did_you_mean, nearest
from sparse_transfer_runner.storage import fetch, pinned
from sparse_transfer_runner.storage.addresses import shown

from .foundation import Parent, read_foundation
from .models import Catalog, CatalogEntry, Source
from .sparseml import TRAINING, is_zoo_folder, require_training_files

_CATALOG = "catalog:"
_ZOO = "zoo:"


@dataclass(frozen=True)
class ResolvedModel:
    """Where a foundation and its dense counterpart are.

    Args:
        uri: The foundation's address, pinned where it can be.
        folder: The same as a local path, read-only.
        digest: What its files must add up to; None where nobody recorded it.
        licence: Where it is known.
        dense: The dense counterpart; None where there is none.
        shares_parent: The foundation was pruned from exactly that counterpart.
        recipe: Address of the catalogue's recipe for it.
    """

    uri: str
    folder: Path
    digest: str | None = None
    licence: str | None = None
    dense: Source | None = None
    shares_parent: bool = False
    recipe: str | None = None

    def require_digest(self, found: str) -> None:
        """Checks the digest of the files that were read against the recorded one.

        Raises:
            InputError: They differ.
        """
        require_digest(self.uri, self.digest, found)


def require_digest(uri: str, recorded: str | None, found: str) -> None:
    """Checks a digest against the recorded one, where there is one.

    Raises:
        InputError: They differ.
    """
    if recorded is not None and recorded != found:
        raise InputError(
            f"{shown(uri)}: its files have digest {found[:12]}…, but {recorded[:12]}… is recorded; "
            "they changed, or were fetched in part: fetch the model again, or correct the record"
        )


def resolve_model(
    uri: str | None, *, family: str, band: Band, use_case: str, catalog: Catalog
) -> ResolvedModel:
    """Returns the model that an experiment starts from.

    Args:
        uri: The user's ``spec.model.uri``: an address, ``catalog:NAME`` or a ``zoo:`` stub; None
            for the catalogue's choice.
        family: ``text`` or ``image``.
        band: Of the experiment's level.
        use_case: For messages.
        catalog: In force.

    Raises:
        InputError: There is no such model, or it cannot be reached from here.
        AccessError: It is not where it should be.
    """
    if uri is None:
        return _located(chosen_entry(catalog, family, band, use_case), band)
    if uri.startswith(_CATALOG):
        return _located(entry_named(catalog, uri.removeprefix(_CATALOG)), band)
    if uri.startswith(_ZOO):
        entry, side = _entry_of_stub(catalog, uri)
        return _located(entry, replace(band, sparse=side == "sparse"))
    return _own(uri)


def resolve_address(uri: str, catalog: Catalog) -> str:
    """Returns the address of a model that is not the foundation, such as a teacher.

    Raises:
        InputError: There is no such entry or stub.
    """
    if uri.startswith(_CATALOG):
        entry = entry_named(catalog, uri.removeprefix(_CATALOG))
        source = entry.dense or entry.sparse
    elif uri.startswith(_ZOO):
        entry, side = _entry_of_stub(catalog, uri)
        source = entry.sparse if side == "sparse" else entry.dense
    else:
        return uri
    if source is None:
        raise AssertionError("an entry has a source")
    return source.uri


def chosen_entry(catalog: Catalog, family: str, band: Band, use_case: str) -> CatalogEntry:
    """Returns the first entry that fits a family and a band.

    Raises:
        InputError: None does.
    """
    side = "sparse" if band.sparse else "dense"
    for entry in catalog.models:
        fits = entry.family == family and entry.size == band.size and entry.task is None
        if fits and getattr(entry, side) is not None:
            return entry
    raise InputError(
        f"the catalogue has no {side} {family} model of size {band.size}, which {use_case} needs "
        "at this level; give one as spec.model.uri"
        + (", or make one with 'sparse-transfer upstream'" if band.sparse else "")
    )


def entry_named(catalog: Catalog, name: str) -> CatalogEntry:
    """Returns the entry of a name.

    Raises:
        InputError: There is none; the message suggests the nearest.
    """
    names = [entry.name for entry in catalog.models]
    if name not in names:
        raise InputError(
            f"catalog:{name}: the catalogue has no such model{did_you_mean(name, names)} "
            f"(it has {', '.join(names) or 'none'})"
        )
    return catalog.models[names.index(name)]


def _entry_of_stub(catalog: Catalog, stub: str) -> tuple[CatalogEntry, str]:
    """Returns the entry for a stub, and which side of it; a query such as ?recipe_type is cut."""
    plain = stub.partition("?")[0].rstrip("/")
    known: dict[str, tuple[CatalogEntry, str]] = {}
    for entry in catalog.models:
        for side, source in (("sparse", entry.sparse), ("dense", entry.dense)):
            known |= {name: (entry, side) for name in (source.zoo if source else ())}
    if plain in known:
        return known[plain]
    near = nearest(plain, known)
    hint = f"; the nearest known one is {near}" if near else ""
    raise InputError(
        f"{stub}: the SparseZoo is gone, and the catalogue knows no other place for this "
        f"stub{hint}; name another model (sparse-transfer catalog list), or put yours into a "
        "catalogue of your own, with the stub under 'zoo'"
    )


def _located(entry: CatalogEntry, band: Band) -> ResolvedModel:
    source = entry.sparse if band.sparse else entry.dense
    if source is None and not band.sparse:
        source = entry.sparse
    if source is None:
        raise InputError(
            f"catalog:{entry.name}: has no sparse model, which this level needs; make one with "
            "'sparse-transfer upstream', or choose a level below 0.25"
        )
    try:
        uri = pinned(source.uri)
        folder = fetch(uri)
    except (InputError, AccessError) as error:
        raise type(error)(f"catalogue entry {entry.name}: {error}") from error
    return ResolvedModel(
        uri=uri,
        folder=folder,
        digest=source.digest,
        licence=source.licence,
        dense=entry.dense,
        shares_parent=entry.shares_parent and source is entry.sparse,
        recipe=entry.recipe if source is entry.sparse else None,
    )


def _own(uri: str) -> ResolvedModel:
    uri = pinned(uri)
    folder = fetch(uri)
    if not folder.is_dir():
        raise InputError(
            f"{shown(uri)}: a file; expected a Hugging Face folder (config.json, weights)"
        )
    if is_zoo_folder(folder):
        require_training_files(folder, shown(uri))
        uri, folder = f"{uri.rstrip('/')}/{TRAINING}", folder / TRAINING
    foundation = read_foundation(folder)
    if foundation is None:
        return ResolvedModel(uri, folder)
    parent = foundation.parent
    return ResolvedModel(
        uri,
        folder,
        licence=foundation.licence,
        dense=_source_of(parent, foundation.licence) if parent else None,
        shares_parent=parent is not None,
    )


def _source_of(parent: Parent, licence: str | None) -> Source:
    return Source(uri=parent.uri, digest=parent.digest, licence=licence)
