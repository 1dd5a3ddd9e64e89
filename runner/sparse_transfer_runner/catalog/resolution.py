"""From what an experiment says about its model to addresses: catalogue, stub, or override."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from sparse_transfer_api.errors import AccessError, InputError
from sparse_transfer_api.optim_level import Band
from sparse_transfer_runner.storage import fetch, pinned
from sparse_transfer_runner.storage.addresses import shown

from .choice import chosen_entry, entry_for, entry_named, must_be_made, source_for_band
from .foundation import Parent, read_foundation
from .models import Catalog, CatalogEntry, Source
from .sparseml import is_zoo_folder, require_training_files, training_part
from .stub_lookup import find_stub
from .stubs import ZOO

CATALOG = "catalog:"
"""What begins the name of an entry or a ladder."""


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
        notes: What a user should know about how it was found.
    """

    uri: str
    folder: Path
    digest: str | None = None
    licence: str | None = None
    dense: Source | None = None
    shares_parent: bool = False
    recipe: str | None = None
    notes: tuple[str, ...] = ()

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
        family: Of the use case; see ``catalog.families``.
        band: Of the experiment's level.
        use_case: For messages.
        catalog: In force.

    Raises:
        InputError: There is no such model, or it cannot be reached from here.
        AccessError: It is not where it should be.
    """
    if uri is None:
        return _located(chosen_entry(catalog, family, band, use_case), band)
    if uri.startswith(CATALOG):
        return _located(entry_for(catalog, uri.removeprefix(CATALOG), band), band)
    if uri.startswith(ZOO):
        return _of_stub(catalog, uri, band)
    return _own(uri, family)


def resolve_address(uri: str, catalog: Catalog) -> str:
    """Returns the address of a model that is not the foundation, such as a teacher.

    Raises:
        InputError: There is no such entry or identifier, or it must be made first.
    """
    if uri.startswith(CATALOG):
        entry = entry_named(catalog, uri.removeprefix(CATALOG))
        source = entry.dense or entry.sparse
    elif uri.startswith(ZOO):
        found = find_stub(catalog, uri)
        entry = found.entry
        source = entry.sparse if found.side == "sparse" else entry.dense
    else:
        return uri
    if source is None:
        raise InputError(must_be_made(entry))
    return source.address


def fetched_model(uri: str) -> tuple[str, Path]:
    """Returns a model's address, pinned where it can be, and its files as a local path, read-only.

    Of a SparseZoo folder both are those of ``training/``, where what can be trained lies.

    Raises:
        InputError: The address is malformed.
        AccessError: Nothing is there, or it may not be read.
    """
    uri = pinned(uri)
    folder = fetch(uri)
    part = training_part(folder)
    return (uri, folder) if part == folder else (f"{uri.rstrip('/')}/{part.name}", part)


def resolve_recipe(uri: str, catalog: Catalog) -> str:
    """Returns the address of a recipe that a SparseZoo identifier asks for; others as they are.

    Raises:
        InputError: There is no such identifier, or no such recipe for it.
    """
    if not uri.startswith(ZOO):
        return uri
    found = find_stub(catalog, uri)
    recipe = found.recipe or found.entry.recipe
    if recipe is None:
        types = ", ".join(found.entry.recipes) or "none"
        raise InputError(
            f"{uri}: does not say which recipe; add ?recipe_type=TYPE (catalog:{found.entry.name} "
            f"has {types}), or leave spec.recipe out for the default recipe"
        )
    return recipe


def _of_stub(catalog: Catalog, uri: str, band: Band) -> ResolvedModel:
    found = find_stub(catalog, uri)
    recipe = found.recipe
    located = _located(found.entry, replace(band, sparse=found.side == "sparse"))
    note = f"{uri}: the SparseZoo is gone; catalog:{found.entry.name} stands for it"
    return replace(located, recipe=recipe or located.recipe, notes=(note,))


def _located(entry: CatalogEntry, band: Band) -> ResolvedModel:
    source = source_for_band(entry, band)
    try:
        uri, folder = fetched_model(source.address)
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


def _own(uri: str, family: str) -> ResolvedModel:
    uri, folder = fetched_model(uri)
    if not folder.is_dir():
        if family == "image":
            return ResolvedModel(uri, folder)
        raise InputError(
            f"{shown(uri)}: a file; expected a Hugging Face folder (config.json, weights)"
        )
    if family != "image" and is_zoo_folder(folder):
        require_training_files(folder, shown(uri))
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
