"""Measures the files of one engine against each other, all loaded at once, in one run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sparse_transfer_runner.engines.protocol import Arithmetic, Engine
from sparse_transfer_runner.use_cases.protocol import Batch

from .evaluation import FileEvaluation, LatencyPoint
from .latency import Latency, inference, measure
from .points import Point, shaped

SECONDS_A_POINT = 2.5
"""Spent on all files of an engine together, about."""


@dataclass(frozen=True)
class Subject:
    """One file in one arithmetic.

    Args:
        path: Below the package stage's folder.
        arithmetic: The engine's own choice, or forced to fp32.
    """

    path: str
    arithmetic: Arithmetic = "default"


def subjects(files: Sequence[FileEvaluation], engine: Engine) -> list[Subject]:
    """Returns what to measure on an engine: each of its files, and fp32 files in forced fp32."""
    mine = [file for file in files if file.engine == engine.name]
    found = [Subject(file.path) for file in mine]
    if not engine.defaults_to_fp32():
        found += [Subject(file.path, "fp32") for file in mine if file.role.endswith("fp32")]
    return found


def benchmark(
    engine: Engine,
    root: Path,
    what: Sequence[Subject],
    points: Sequence[Point],
    example: Batch,
    *,
    threads: int,
    seconds: float = SECONDS_A_POINT,
    check: Callable[[], None] = lambda: None,
) -> list[LatencyPoint]:
    """Measures each subject at each point.

    Args:
        engine: The engine.
        root: The package stage's folder.
        what: The files to compare.
        points: Shapes of inputs.
        example: One row of inputs.
        threads: Of the engine.
        seconds: To spend on a point, about.
        check: Called between rounds; raises to stop.
    """
    sessions = [
        engine.load(root / subject.path, threads=threads, arithmetic=subject.arithmetic)
        for subject in what
    ]
    found = []
    for point in points:
        latencies = measure(
            [inference(session, shaped(example, point)) for session in sessions],
            budget=seconds,
            check=check,
        )
        for subject, latency in zip(what, latencies, strict=True):
            found.append(_record(engine, subject, point, threads, latency))
    return found


def _record(
    engine: Engine, subject: Subject, point: Point, threads: int, latency: Latency
) -> LatencyPoint:
    return LatencyPoint(
        path=subject.path,
        engine=engine.name,
        arithmetic=subject.arithmetic,
        threads=threads,
        batch=point.batch,
        sequence=point.sequence,
        median_ms=latency.median_ms,
        p95_ms=latency.p95_ms,
        runs=latency.runs,
    )
