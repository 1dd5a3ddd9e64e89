"""``catalog build``: the sparse models that are published nowhere, made as their entries say."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from sparse_transfer_api.contract import ExitCode
from sparse_transfer_api.errors import UsageError
from sparse_transfer_cli.console import print_plain, stderr
from sparse_transfer_cli.display import ProgressStyle
from sparse_transfer_cli.requirements import require_runner

_CATALOG = "catalog.yaml"
_DATA = "data"


@dataclass(frozen=True)
class BuildArguments:
    """What to make, and where.

    Args:
        names: Of entries or ladders.
        output: The folder; each model has a folder of its name in it.
        data: Path of data without labels, in the place of what the entries name.
        catalog: Path or address of the catalogue that has the entries; by default the one in force.
        dry_run: Say what would be done, and do nothing.
        trust_pickle: Passed on to ``sparse-transfer upstream``.
    """

    names: Sequence[str]
    output: Path
    data: Path | None
    catalog: str | None
    dry_run: bool
    trust_pickle: bool = False


def build(arguments: BuildArguments, style: ProgressStyle) -> int:
    """Makes each entry's model and adds it to the catalogue in the output folder.

    Args:
        arguments: As typed.
        style: How progress is shown.

    Returns:
        The exit code: that of the first ``sparse-transfer upstream`` that failed.

    Raises:
        UsageError: Data has to be brought, and was not.
        InputError: No such entry, or one that needs no making.
    """
    require_runner()
    from sparse_transfer_runner.catalog.building import Build
    from sparse_transfer_runner.catalog.choice import entry_named, ladders
    from sparse_transfer_runner.catalog.reading import add_entry, load_catalog

    catalog = load_catalog(arguments.catalog)
    steps = ladders(catalog)
    entries = [
        entry
        for name in arguments.names
        for entry in (steps[name] if name in steps else [entry_named(catalog, name)])
    ]
    builds = [Build(entry, arguments.output / entry.name) for entry in entries]
    for each in builds:
        _require_data(each.entry.name, each.job.data, each.job.data_kind, arguments.data)
    for each in builds:
        if each.is_made:
            print_plain(stderr(), f"{each.entry.name}: was there")
        else:
            data = _data(each.job.data, arguments)
            words = each.arguments(catalog, data)
            words += ["--trust-pickle"] if arguments.trust_pickle else []
            print_plain(stderr(), f"$ sparse-transfer upstream {shlex.join(words)}")
            if arguments.dry_run:
                continue
            each.take_off_layers(catalog)
            code = _upstream([*words, "--progress", style])
            if code != ExitCode.DONE:
                return code
        if not arguments.dry_run:
            add_entry(arguments.output / _CATALOG, each.made_entry())
    if not arguments.dry_run:
        made = ", ".join(f"catalog:{each.entry.name}" for each in builds)
        print_plain(
            stderr(), f"made: {made}; use them with --catalog {arguments.output / _CATALOG}"
        )
    return ExitCode.DONE


def _require_data(name: str, known: str | None, kind: str, brought: Path | None) -> None:
    if known is None and brought is None:
        raise UsageError(f"catalog:{name}: give its data with --data: {kind}")


def _data(known: str | None, arguments: BuildArguments) -> str:
    """Returns where the data is: as brought, out of a package, or fetched."""
    from sparse_transfer_runner.catalog.building import EXAMPLE
    from sparse_transfer_runner.storage import fetch

    if arguments.data is not None:
        return str(arguments.data)
    if known is None:
        raise AssertionError("data that is not known was asked for before")
    if not known.startswith(EXAMPLE):
        return known if arguments.dry_run else str(fetch(known))
    folder = arguments.output / _DATA / known.removeprefix(EXAMPLE)
    path = folder / "sentences.jsonl"
    if not path.exists() and not arguments.dry_run:
        from sparse_transfer_cli.verbs.examples import extract

        with redirect_stdout(sys.stderr):  # standard output is for upstream's JSON lines
            extract(known.removeprefix(EXAMPLE), folder, file_format=None, rows=None, seed=0)
    return str(path)


def _upstream(words: Iterable[str]) -> int:
    """Runs ``sparse-transfer upstream`` in this process; its errors are told as its own."""
    from sparse_transfer_cli.__main__ import invoke

    return invoke(["upstream", *words])
