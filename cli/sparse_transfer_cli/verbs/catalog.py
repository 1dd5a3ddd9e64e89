"""``catalog``: what there is, everything about one model, and adding one's own."""

from __future__ import annotations

from pathlib import Path

import yaml
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from sparse_transfer_api.errors import SparseTransferError
from sparse_transfer_api.optim_level import Size
from sparse_transfer_cli.console import stdout
from sparse_transfer_cli.summary import UNKNOWN, percent
from sparse_transfer_runner.catalog.models import CatalogEntry, Source
from sparse_transfer_runner.catalog.reading import add_entry, entry_of, load_catalog
from sparse_transfer_runner.catalog.resolution import entry_named
from sparse_transfer_runner.digests import digest_of_tree
from sparse_transfer_runner.storage import fetch, pinned
from sparse_transfer_runner.storage.addresses import is_hub


def list_models(catalog: str | None) -> None:
    """Prints a line for each model, in the order in which they are preferred.

    Args:
        catalog: Path or address of the user's own; by default the one in force.
    """
    table = Table("name", "family", "size", "sparse", "dense", "licence", box=SIMPLE_HEAD)
    for entry in load_catalog(catalog).models:
        table.add_row(*_row(entry))
    stdout().print(table)


def _row(entry: CatalogEntry) -> tuple[str, ...]:
    sparsity = entry.sparse.sparsity if entry.sparse is not None else None
    sparse = UNKNOWN if entry.sparse is None else "yes" if sparsity is None else percent(sparsity)
    licences = {source.licence for source in (entry.sparse, entry.dense) if source is not None}
    return (
        entry.name if entry.task is None else f"{entry.name} ({entry.task})",
        entry.family,
        entry.size.lower(),
        sparse,
        "yes" if entry.dense is not None else UNKNOWN,
        ", ".join(sorted(licence for licence in licences if licence)) or "not stated",
    )


def show_model(name: str, catalog: str | None) -> None:
    """Prints an entry as YAML, and for each of its sources whether it can be reached from here.

    Args:
        name: The entry's.
        catalog: Path or address of the user's own; by default the one in force.
    """
    entry = entry_named(load_catalog(catalog), name)
    console = stdout()
    text = yaml.safe_dump(entry.to_json_dict(), sort_keys=False, allow_unicode=True)
    console.print(text, end="", markup=False, highlight=False, soft_wrap=True)
    for side, source in (("sparse", entry.sparse), ("dense", entry.dense)):
        if source is not None:
            line = f"# {side}: {_reached(source)}"
            console.print(line, markup=False, highlight=False, soft_wrap=True)


def _reached(source: Source) -> str:
    try:
        if is_hub(source.uri):  # asked for, and not fetched: it may have gigabytes
            return f"is on the hub, as {pinned(source.uri)}"
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
    console.print(line, markup=False, highlight=False, soft_wrap=True)
