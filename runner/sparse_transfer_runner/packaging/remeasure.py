"""Measures a finished package again, on the machine where it is going to serve.

Needs the engines and numpy, not torch: everything lies in the package's folder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from sparse_transfer_api.contract import MANIFEST
from sparse_transfer_api.errors import InputError
from sparse_transfer_api.records import Manifest
from sparse_transfer_api.results import EngineResult, Recommended, Results
from sparse_transfer_runner.engines import engine
from sparse_transfer_runner.engines.cpu import available_cores, instruction_set
from sparse_transfer_runner.use_cases.protocol import Batch

from .benchmark import SECONDS_A_POINT, benchmark, subjects
from .evaluation import Evaluation
from .points import HeadlinePoint, all_points
from .results import EngineFacts, engine_results, recommended

EVALUATION = "evaluation.json"
EXAMPLE = "reference/example-inputs.npz"


@dataclass(frozen=True)
class Remeasured:
    """What was measured anew.

    Args:
        evaluation: The recorded files with the new latencies.
        engines: One result for each engine and point.
        recommended: The file to deploy on this machine.
    """

    evaluation: Evaluation
    engines: tuple[EngineResult, ...]
    recommended: Recommended


def remeasure(
    package: Path,
    *,
    engines: Sequence[str] | None = None,
    batch_sizes: Sequence[int] | None = None,
    sequence_lengths: Sequence[int] | None = None,
    threads: int | None = None,
    seconds: float = SECONDS_A_POINT,
    check: Callable[[], None] = lambda: None,
) -> Remeasured:
    """Measures the recorded files of a package on this machine.

    Args:
        package: The package stage's folder.
        engines: Which engines; all recorded ones by default.
        batch_sizes: The headline's by default.
        sequence_lengths: The headline's by default.
        threads: Of each engine; the cores that this process may use by default.
        seconds: To spend on an engine's point, about.
        check: Called between rounds; raises to stop.

    Raises:
        InputError: The folder is no finished package, or lacks what was asked for.
    """
    evaluation, results = read_package(package)
    recorded = list(dict.fromkeys(file.engine for file in evaluation.files))
    asked = list(engines or recorded)
    if unknown := [name for name in asked if name not in recorded]:
        raise InputError(
            f"{package}: holds no files for {', '.join(unknown)}; it has {', '.join(recorded)}"
        )
    head = results.headline
    points = all_points(batch_sizes or [head.batch], sequence_lengths or [head.sequence])
    used = threads or available_cores()
    example = read_example(package)
    latencies = []
    for name in asked:
        runs_on = engine(name)
        what = subjects(evaluation.files, runs_on)
        latencies += benchmark(
            runs_on, package, what, points, example, threads=used, seconds=seconds, check=check
        )
    measured = evaluation.model_copy(update={"latencies": latencies})
    isa = instruction_set()
    facts = [EngineFacts(name, engine(name).version(), isa) for name in asked]
    found = engine_results(measured, facts)
    wanted = HeadlinePoint(head.engine if head.engine in asked else asked[0], points[0])
    return Remeasured(measured, tuple(found), recommended(measured, found, wanted))


def read_package(package: Path) -> tuple[Evaluation, Results]:
    """Reads what a finished package recorded.

    Raises:
        InputError: The folder is no finished package.
    """
    try:
        evaluation = Evaluation.model_validate_json((package / EVALUATION).read_bytes())
        manifest = Manifest.model_validate_json((package / MANIFEST).read_bytes())
    except (OSError, ValidationError) as error:
        raise InputError(
            f"{package}: not a finished package ({error}); give the folder package-KEY of an "
            "experiment's output"
        ) from error
    if manifest.results is None:
        raise InputError(f"{package}: the manifest holds no results; it is not a package's")
    return evaluation, manifest.results


def write_example(package: Path, example: Batch) -> None:
    """Keeps one row of inputs for later measurements."""
    path = package / EXAMPLE
    path.parent.mkdir(parents=True, exist_ok=True)
    rows: dict[str, Any] = {name: values[:1] for name, values in example.items()}
    np.savez(path, **rows)


def read_example(package: Path) -> Batch:
    """Reads what ``write_example`` wrote.

    Raises:
        InputError: It is missing or damaged.
    """
    path = package / EXAMPLE
    try:
        with np.load(path) as saved:
            return {name: saved[name] for name in saved.files}
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
