"""Reading and extending catalogues: the packaged one, or the user's own in its place."""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path

import yaml
from pydantic import ValidationError

from sparse_transfer_api.contract import ENV_CATALOG
from sparse_transfer_api.errors import AccessError, InputError, Problem
from sparse_transfer_api.optim_level import Size
from sparse_transfer_runner.digests import digest_of_tree
from sparse_transfer_runner.disk import write_atomically

from .foundation import FOUNDATION_FILE, read_foundation
from .models import Catalog, CatalogEntry, Source

_RELATIVE = "file://."


def load_catalog(path: Path | None = None) -> Catalog:
    """Returns the catalogue in force.

    Args:
        path: The user's own; by default what ``STE_CATALOG`` names, else the packaged one.

    Raises:
        InputError: It is not a catalogue.
        AccessError: It is not there.
    """
    own = path or (Path(os.environ[ENV_CATALOG]) if os.environ.get(ENV_CATALOG) else None)
    if own is None:
        return packaged_catalog()
    catalog = read_catalog(own)
    if catalog.extends is None:
        return catalog
    names = {entry.name for entry in catalog.models}
    rest = (entry for entry in packaged_catalog().models if entry.name not in names)
    return Catalog(models=(*catalog.models, *rest))


def packaged_catalog() -> Catalog:
    """Returns the catalogue that comes with the runner."""
    return _parsed(files(__package__).joinpath("catalog.yaml").read_text("utf-8"), Path())


def read_catalog(path: Path) -> Catalog:
    """Reads one catalogue file; relative ``file://`` addresses are relative to it.

    Raises:
        InputError: It is not a catalogue; with every mistake.
        AccessError: It is not there.
    """
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise AccessError(f"{path}: the catalogue cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a catalogue: it is not UTF-8") from error
    return _parsed(text, path)


def entry_of(folder: Path, size: Size = Size.SMALLEST) -> CatalogEntry:
    """Returns the entry for a foundation model that ``sparse-transfer upstream`` made.

    Args:
        folder: The model's folder, with its ``foundation.json``.
        size: Which size of its family it is to be.

    Raises:
        InputError: There is no record in the folder.
    """
    foundation = read_foundation(folder)
    if foundation is None:
        raise InputError(
            f"{folder}: no {FOUNDATION_FILE}; expected a model that 'sparse-transfer upstream' made"
        )
    parent = foundation.parent
    document = {
        "name": foundation.name,
        "family": foundation.family,
        "size": size,
        "sharesParent": parent is not None,
        "sparse": Source(
            uri=folder.resolve().as_uri(),
            sparsity=foundation.sparsity,
            licence=foundation.licence,
            digest=digest_of_tree(folder),
        ),
        "dense": Source(uri=parent.uri, digest=parent.digest, licence=foundation.licence)
        if parent
        else None,
    }
    try:
        return CatalogEntry.model_validate(document)
    except ValidationError as error:
        raise InputError(
            f"{folder / FOUNDATION_FILE}: no entry can be made", _mistakes(error)
        ) from (error)


def add_entry(path: Path, entry: CatalogEntry) -> Catalog:
    """Puts an entry first in the user's own catalogue, in the place of one of the same name.

    A catalogue that does not exist yet is made; it extends the packaged one.

    Args:
        path: The catalogue's file.
        entry: What to add.

    Returns:
        The catalogue as written.

    Raises:
        InputError: There is a file that is not a catalogue; it is left as it is.
    """
    old = read_catalog(path) if path.exists() else Catalog(extends="packaged")
    kept = (other for other in old.models if other.name != entry.name)
    new = old.model_copy(update={"models": (entry, *kept)})
    text = yaml.safe_dump(new.to_json_dict(), sort_keys=False, allow_unicode=True)
    write_atomically(path, text.encode())
    return new


def _parsed(text: str, path: Path) -> Catalog:
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not a catalogue: {error}") from error
    try:
        catalog = Catalog.model_validate(document)
    except ValidationError as error:
        raise InputError(f"{path}: not a catalogue", _mistakes(error)) from error
    return catalog.model_copy(
        update={"models": tuple(_located(entry, path.parent) for entry in catalog.models)}
    )


def _mistakes(error: ValidationError) -> list[Problem]:
    return [
        Problem(".".join(map(str, found["loc"])) or "document", found["msg"])
        for found in error.errors(include_url=False)
    ]


def _located(entry: CatalogEntry, root: Path) -> CatalogEntry:
    located = {
        side: source.model_copy(update={"uri": _absolute(source.uri, root)})
        for side in ("sparse", "dense")
        if (source := getattr(entry, side)) is not None
    }
    return entry.model_copy(update=located)


def _absolute(uri: str, root: Path) -> str:
    if not uri.startswith(_RELATIVE):
        return uri
    return (root.resolve() / uri.removeprefix("file://")).resolve().as_uri()
