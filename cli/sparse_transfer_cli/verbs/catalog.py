"""``catalog``: what there is, everything about one model, and adding one's own."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import yaml
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from sparse_transfer_api.errors import SparseTransferError
from sparse_transfer_api.optim_level import Band, Size, band_ranges
from sparse_transfer_api.use_cases import resolve_use_case
from sparse_transfer_cli.console import print_plain, stdout
from sparse_transfer_cli.summary import UNKNOWN, percent
from sparse_transfer_runner.catalog.choice import chosen_entry, entry_named, must_be_made
from sparse_transfer_runner.catalog.families import FAMILY_OF
from sparse_transfer_runner.catalog.models import Catalog, CatalogEntry, Source
from sparse_transfer_runner.catalog.reading import add_entry, entry_of, load_catalog
from sparse_transfer_runner.catalog.resolution import CATALOG
from sparse_transfer_runner.catalog.stub_lookup import find_stub
from sparse_transfer_runner.catalog.stubs import ZOO
from sparse_transfer_runner.digests import digest_of_tree
from sparse_transfer_runner.storage import fetch, pinned
from sparse_transfer_runner.storage.addresses import is_hub


def list_models(catalog: str | None, *, as_json: bool) -> None:
    """Prints a line for each model, in the order in which they are preferred.

    Args:
        catalog: Path or address of the user's own; by default the one in force.
        as_json: One JSON document instead of the table.
    """
    models = load_catalog(catalog).models
    if as_json:
        _write_json({"models": [entry.to_json_dict() for entry in models]})
        return
    table = Table("name", "family", "size", "ladder", "sparse", "dense", "licence", box=SIMPLE_HEAD)
    for entry in models:
        table.add_row(*_row(entry))
    stdout().print(table)


def list_levels(use_case: str, catalog: str | None, *, as_json: bool) -> None:
    """Prints what each level of a use case starts from.

    Args:
        use_case: Its name or an alias.
        catalog: Path or address of the user's own; by default the one in force.
        as_json: One JSON document instead of the table.

    Raises:
        InputError: There is no such use case, or the catalogue has nothing for a level.
    """
    name = resolve_use_case(use_case)
    models = load_catalog(catalog)
    found = [
        (levels, band, chosen_entry(models, FAMILY_OF[name], band, name))
        for levels, band in band_ranges()
    ]
    if as_json:
        document = [
            {"levels": levels, "band": band.name, "model": entry.to_json_dict()}
            for levels, band, entry in found
        ]
        _write_json({"useCase": name, "levels": document})
        return
    table = Table("level", "band", "name", box=SIMPLE_HEAD)
    table.add_column("starts from", overflow="fold")
    for levels, band, entry in found:
        table.add_row(levels, band.name, entry.name, _start(entry, band))
    stdout().print(table)


def _start(entry: CatalogEntry, band: Band) -> str:
    source = entry.sparse if band.sparse else entry.dense
    return source.address if source is not None else f"must be made: catalog build {entry.name}"


def _row(entry: CatalogEntry) -> tuple[str, ...]:
    licences = {source.licence for source in (entry.sparse, entry.dense, entry.upstream) if source}
    return (
        entry.name if entry.task is None else f"{entry.name} ({entry.task})",
        entry.family,
        entry.size.lower(),
        entry.ladder or UNKNOWN,
        _sparse(entry),
        "yes" if entry.dense is not None else UNKNOWN,
        ", ".join(sorted(licence for licence in licences if licence)) or "not stated",
    )


def _sparse(entry: CatalogEntry) -> str:
    if entry.sparse is not None:
        return "yes" if entry.sparse.sparsity is None else percent(entry.sparse.sparsity)
    return UNKNOWN if entry.upstream is None else f"{percent(entry.upstream.sparsity)}, to be made"


def show_model(name: str, catalog: str | None, *, as_json: bool) -> None:
    """Prints an entry as YAML, and for each of its sources whether it can be reached from here.

    Args:
        name: The entry's, with or without ``catalog:``; or an identifier of the SparseZoo.
        catalog: Path or address of the user's own; by default the one in force.
        as_json: One JSON document instead of YAML.

    Raises:
        InputError: There is no such entry.
    """
    entry = _entry(name, load_catalog(catalog))
    reached = {
        side: _reached(source)
        for side, source in (("sparse", entry.sparse), ("dense", entry.dense))
        if source is not None
    }
    if as_json:
        _write_json({"model": entry.to_json_dict(), "reached": reached})
        return
    console = stdout()
    text = yaml.safe_dump(entry.to_json_dict(), sort_keys=False, allow_unicode=True)
    print_plain(console, text, end="")
    lines = [f"# {side}: {words}" for side, words in reached.items()]
    if entry.must_be_made:
        lines.append(f"# sparse: {must_be_made(entry)}")
    for line in lines:
        print_plain(console, line)


def _entry(name: str, catalog: Catalog) -> CatalogEntry:
    if name.startswith(ZOO):
        return find_stub(catalog, name).entry
    return entry_named(catalog, name.removeprefix(CATALOG))


def _write_json(document: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def _reached(source: Source) -> str:
    try:
        if is_hub(source.uri):  # asked for, and not fetched: it may have gigabytes
            newest = pinned(source.uri)
            recorded = f"; recorded is {source.address}" if source.revision is not None else ""
            return f"is on the hub, as {newest}{recorded}"
        digest = digest_of_tree(fetch(source.uri))
    except SparseTransferError as error:
        return f"cannot be reached: {error}"
    if source.digest not in (None, digest):
        return f"is here, but its digest is {digest} and not the recorded one"
    return f"is here, digest {digest}"


def add_model(folder: Path, catalog: Path, size: Size, console: Console) -> None:
    """Adds a foundation model to the user's own catalogue, before all that is in it.

    Args:
        folder: As ``sparse-transfer upstream`` wrote it.
        catalog: The catalogue's file; made when missing.
        size: Which size of its family the model is to be taken for.
        console: Where to say so.
    """
    entry = entry_of(folder, size)
    add_entry(catalog, entry)
    line = f"{catalog}: {entry.name} is now the first choice for {entry.family}, {size.lower()}"
    print_plain(console, line)
