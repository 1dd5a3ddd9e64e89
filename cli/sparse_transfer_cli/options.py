"""Options that verbs of several files have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

ExperimentFile = Annotated[
    Path, typer.Option("--file", "-f", metavar="YAML", help="The experiment.", show_default=False)
]
StorageOption = Annotated[
    Path | None,
    typer.Option(
        "--file",
        "-f",
        metavar="YAML",
        help="An experiment whose spec.storage says how storage is reached.",
        show_default=False,
    ),
]
ProgressOption = Annotated[
    Literal["auto", "bar", "json"],
    typer.Option(help="Progress bars, JSON lines, or bars only in a terminal."),
]
CatalogOption = Annotated[
    str | None,
    typer.Option(
        "--catalog",
        metavar="FILE",
        help="Path or address of your own catalogue.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document.")]
