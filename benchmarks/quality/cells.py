"""What programs share that fill a table cell by cell: commands, packaged data, the file.

The file is written after each cell, whole or not at all, so that such a program may be stopped at
any time, and started again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from families import Family

from sparse_transfer_runner.provenance import provenance

Cell = TypeVar("Cell", bound=Any)
_COMMAND = [sys.executable, "-m", "sparse_transfer_cli"]


def last_line(arguments: Sequence[str], kind: str) -> tuple[dict[str, Any], float]:
    """Runs a command; returns the last JSON line of a kind that it wrote, and its seconds.

    Raises:
        CalledProcessError: The command failed; what it said of it went to standard error.
    """
    started = time.monotonic()
    ended = subprocess.run(
        [*_COMMAND, *arguments, "--progress", "json"],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    seconds = round(time.monotonic() - started, 1)
    lines = (json.loads(line) for line in ended.stdout.splitlines())
    return [line for line in lines if line["type"] == kind][-1], seconds


def foundation(options: Sequence[str], work: Path) -> tuple[Path, dict[str, Any]]:
    """Returns the folder of a foundation, made unless it is there, and its record.

    Args:
        options: Of ``upstream``, without the output; ``{work}`` stands for the work folder.
        work: Keeps foundations for cells that share them.
    """
    key = hashlib.sha256(json.dumps(options).encode()).hexdigest()[:12]
    folder = work / "foundations" / key
    record = folder.with_suffix(".json")
    if not record.exists():
        words = [option.format(work=work) for option in options]
        shutil.rmtree(folder, ignore_errors=True)
        line, seconds = last_line(["upstream", *words, "--output", str(folder)], "foundation")
        made = {"options": options, "quality": line["quality"], "seconds": seconds}
        record.write_text(json.dumps(made))
    return folder, json.loads(record.read_text())


def divergence_of(runs: Path) -> float:
    """Returns the divergence from an experiment's baseline to its transferred model, in nats.

    Args:
        runs: Folder of the experiment, which has run to its end.
    """
    return divergence(*(_answers(runs, stage) for stage in ("teacher", "train")))


def _answers(runs: Path, stage: str) -> np.ndarray[Any, Any]:
    """Returns a stage's logits of the measured rows, ``[rows, 2]``."""
    newest = max(runs.glob(f"{stage}-*"), key=lambda folder: folder.stat().st_mtime)
    with np.load(newest / "predictions-test.npz") as found:
        logits: np.ndarray[Any, Any] = found["logits"].astype(np.float64)
    return logits


def divergence(dense: np.ndarray[Any, Any], sparse: np.ndarray[Any, Any]) -> float:
    """Returns the mean KL divergence from one model's answers to another's, in nats.

    Args:
        dense: Logits ``[rows, classes]``.
        sparse: The same.
    """
    wanted, found = _log_softmax(dense), _log_softmax(sparse)
    return round(float((np.exp(wanted) * (wanted - found)).sum(axis=1).mean()), 4)


def _log_softmax(logits: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    shifted = logits - logits.max(axis=1, keepdims=True)
    found: np.ndarray[Any, Any] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return found


def keep_baselines_only(runs: Path) -> None:
    """Removes what no other cell uses: all stages but the dense baselines."""
    for stage in runs.glob("*/*/*-*"):
        if stage.is_dir() and not stage.name.startswith("teacher-"):
            shutil.rmtree(stage)


def extract(family: Family, work: Path) -> None:
    """Puts the packaged data of a family into the work folder, unless it is there."""
    for example, folder in family.extracts.items():
        if not (work / folder).exists():
            command = ("examples", "extract", example, "--output", str(work / folder))
            subprocess.run([*_COMMAND, *command], check=True, stdout=subprocess.DEVNULL)


def read_cells(path: Path) -> list[dict[str, Any]]:
    """Returns the cells that a file holds; none where it does not exist."""
    found: list[dict[str, Any]] = json.loads(path.read_text())["cells"] if path.exists() else []
    return found


def write_cells(
    path: Path, cells: Sequence[dict[str, Any]], summary: Sequence[dict[str, Any]]
) -> None:
    """Writes the file: the summary, the machine, and every cell."""
    document = {"summary": summary, "machine": provenance(), "cells": cells}
    partial = path.with_name(f".{path.name}")
    partial.write_text(json.dumps(document, indent=2) + "\n")
    partial.replace(path)


def fill(
    path: Path,
    asked: Iterable[Cell],
    run: Callable[[Cell], dict[str, Any]],
    summary: Callable[[Sequence[dict[str, Any]]], list[dict[str, Any]]],
    shown: Sequence[str] = ("recovery",),
) -> None:
    """Runs the cells that a file lacks, and writes it after each; prints them, and the summary.

    Args:
        path: The file.
        asked: The cells, dataclasses whose fields tell them apart.
        run: Returns what is recorded of a cell, its fields among it.
        summary: Returns the table.
        shown: What is printed of a cell besides its fields.
    """
    cells = read_cells(path)
    for cell in asked:
        wanted = asdict(cell)
        if any(wanted.items() <= known.items() for known in cells):
            continue
        cells.append(run(cell))
        write_cells(path, cells, summary(cells))
        print(json.dumps({**wanted, **{name: cells[-1][name] for name in shown}}), flush=True)
    for row in summary(cells):
        print(json.dumps(row))


def mean(values: Iterable[float], digits: int = 1) -> float:
    """Returns the mean, rounded."""
    return round(statistics.mean(values), digits)
