"""Reading and extending catalogues: the packaged one, or the user's own in its place."""

from __future__ import annotations

import os
import posixpath
import re
from importlib.resources import files
from pathlib import Path

import yaml
from pydantic import ValidationError

from sparse_transfer_api.contract import ENV_CATALOG
from sparse_transfer_api.errors import AccessError, InputError, Problem
from sparse_transfer_api.optim_level import Size
from sparse_transfer_runner.digests import digest_of_tree
from sparse_transfer_runner.disk import write_atomically
from sparse_transfer_runner.storage import fetch
from sparse_transfer_runner.storage.file import local_path

from .foundation import FOUNDATION_FILE, read_foundation
from .models import Catalog, CatalogEntry, Source

_FILE = "file://"
_RELATIVE = "file://."
_ADDRESS = re.compile("[a-z][a-z0-9]+:/")


def load_catalog(where: str | Path | None = None) -> Catalog:
    """Returns the catalogue in force.

    Args:
        where: Path or address of the user's own; by default what ``STE_CATALOG`` names, else the
            packaged one.

    Raises:
        InputError: It is not a catalogue.
        AccessError: It is not there.
        Transient: It could not be reached just now.
    """
    own = where or os.environ.get(ENV_CATALOG)
    if not own:
        return packaged_catalog()
    catalog = read_catalog(own)
    if catalog.extends is None:
        return catalog
    names = {entry.name for entry in catalog.models}
    rest = (entry for entry in packaged_catalog().models if entry.name not in names)
    return Catalog(models=(*catalog.models, *rest))


def packaged_catalog() -> Catalog:
    """Returns the catalogue that comes with the runner."""
    return _parsed(files(__package__).joinpath("catalog.yaml").read_text("utf-8"), "catalog.yaml")


def read_catalog(where: str | Path) -> Catalog:
    """Reads one catalogue file; relative ``file://`` addresses in it are relative to it.

    Args:
        where: A path, or an address such as ``s3://bucket/models/catalog.yaml``.

    Raises:
        InputError: It is not a catalogue; with every mistake.
        AccessError: It is not there.
        Transient: It could not be reached just now.
    """
    address = str(where)
    if address.startswith(_FILE):
        address = str(local_path(address))
    path = fetch(address) if "://" in address else Path(address)
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise AccessError(f"{where}: the catalogue cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: not a catalogue: it is not UTF-8") from error
    return _parsed(text, address)


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
            pattern=foundation.pattern_of_blocks,
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
        InputError: There is a file that is not a catalogue; it is left as it is. Or an address is
            given in the place of a file.
    """
    if _ADDRESS.match(str(path)):
        raise InputError(
            f"{path}: models are added to a catalogue in a file of this machine; add it there, and "
            "'sparse-transfer catalog mirror' what others are to reach"
        )
    old = read_catalog(path) if path.exists() else Catalog(extends="packaged")
    kept = (other for other in old.models if other.name != entry.name)
    new = old.model_copy(update={"models": (entry, *kept)})
    text = yaml.safe_dump(new.to_json_dict(), sort_keys=False, allow_unicode=True)
    write_atomically(path, text.encode())
    return new


def _parsed(text: str, where: str) -> Catalog:
    """Returns the catalogue of a text that was read at a path or an address."""
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{where}: not a catalogue: {error}") from error
    try:
        catalog = Catalog.model_validate(document)
    except ValidationError as error:
        raise InputError(f"{where}: not a catalogue", _mistakes(error)) from error
    return catalog.model_copy(
        update={"models": tuple(_located(entry, where) for entry in catalog.models)}
    )


def _mistakes(error: ValidationError) -> list[Problem]:
    return [
        Problem(".".join(map(str, found["loc"])) or "document", found["msg"])
        for found in error.errors(include_url=False)
    ]


def _located(entry: CatalogEntry, where: str) -> CatalogEntry:
    located: dict[str, object] = {
        name: _absolute(address, where)
        for name in ("recipe", "teacher")
        if (address := getattr(entry, name)) is not None
    }
    located["recipes"] = {
        name: _absolute(address, where) for name, address in entry.recipes.items()
    }
    if (job := entry.upstream) is not None:
        data = _absolute(job.data, where) if job.data is not None else None
        model = _absolute(job.model, where)
        located["upstream"] = job.model_copy(update={"model": model, "data": data})
    located |= {
        side: source.model_copy(update={"uri": _absolute(source.uri, where)})
        for side in ("sparse", "dense")
        if (source := getattr(entry, side)) is not None
    }
    return entry.model_copy(update=located)


def _absolute(uri: str, where: str) -> str:
    """Returns an address in a catalogue that was read at a path or an address."""
    if not uri.startswith(_RELATIVE):
        return uri
    inner = uri.removeprefix(_FILE)
    scheme, separator, rest = where.partition("://")
    if not separator:
        return (Path(where).resolve().parent / inner).resolve().as_uri()
    root, _, path = rest.partition("/")
    found = posixpath.normpath(posixpath.join(posixpath.dirname(path), inner))
    if found.split("/")[0] == "..":
        raise InputError(f"{where}: {uri} leads out of {scheme}://{root}")
    return f"{scheme}://{root}/{found}"
