"""The report's drawings: which bars and lines the records give; pure.

Bars start at zero, so that their lengths can be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from markupsafe import Markup

from sparse_transfer_api.records import Plan
from sparse_transfer_api.results import EngineResult, Results
from sparse_transfer_runner.packaging.evaluation import (
    Evaluation,
    FileEvaluation,
    HistoryPoint,
    LatencyPoint,
    Role,
)

from . import charts
from .findings import shipped_name, what_brought_it
from .wording import ROLE_KINDS, ROLE_NAMES, megabytes, milliseconds, points, ratio

_ROLES: tuple[Role, ...] = ("dense-fp32", "dense-int8", "sparse-fp32", "sparse-int8")
_PHASES: dict[Literal["baseline", "transfer"], tuple[str, str]] = {
    "baseline": ("dense baseline", "dense"),
    "transfer": ("sparse transfer", "sparse"),
}
"""Name and CSS class of each phase's line."""

_POINTS_SHOWN = 300
"""Of a learning curve; a longer one is averaged down, as no page shows more."""


@dataclass(frozen=True)
class EngineFigure:
    """One engine: its bars at one measured point, what brought the speed, all its points."""

    title: str
    drawing: Markup
    sentence: str
    points: Sequence[EngineResult]


@dataclass(frozen=True)
class AccuracyFigure:
    """The accuracy of one engine's files."""

    engine: str
    drawing: Markup


@dataclass(frozen=True)
class Curve:
    """A learning curve with its legend: each line's name and CSS class."""

    title: str
    drawing: Markup
    legend: Sequence[tuple[str, str]]


def engine_figures(plan: Plan, results: Results, evaluation: Evaluation) -> list[EngineFigure]:
    """Returns one figure an engine, the headline's first; bars show its headline point."""
    by_name: dict[str, list[EngineResult]] = {}
    for engine in results.engines:
        by_name.setdefault(engine.name, []).append(engine)
    ordered = sorted(by_name, key=lambda name: name != results.headline.engine)
    return [_engine_figure(by_name[name], plan, results, evaluation) for name in ordered]


def _engine_figure(
    measured: Sequence[EngineResult], plan: Plan, results: Results, evaluation: Evaluation
) -> EngineFigure:
    headline = results.headline
    shown = next(
        (e for e in measured if (e.batch, e.sequence) == (headline.batch, headline.sequence)),
        measured[0],
    )
    at = f"batch {shown.batch}" + (f", {shown.sequence} tokens" if shown.sequence else "")
    shipped = shipped_name(plan, results)
    rows = [
        _latency_bar("dense, defaults", shown.dense_latency_ms, "dense", shown, evaluation),
        _latency_bar("dense fp32", shown.dense_fp32_latency_ms, "dense", shown, evaluation),
        _latency_bar("dense INT8", shown.dense_int8_latency_ms, "dense-int8", shown, evaluation),
        charts.Bar(
            f"{shipped} (shipped)",
            shown.latency_ms,
            milliseconds(shown.latency_ms),
            next(kind for role, kind in ROLE_KINDS.items() if ROLE_NAMES[role] == shipped),
            shown.latency_p95_ms,
        ),
    ]
    threads = f"{shown.threads} thread{'s' if shown.threads != 1 else ''}"
    return EngineFigure(
        title=f"{shown.name} {shown.version}, {shown.isa}, {threads}",
        drawing=charts.bars(
            f"Median latency on {shown.name}, {at}", [row for row in rows if row is not None]
        ),
        sentence=f"At {at}: {what_brought_it(shown, shipped)}",
        points=measured,
    )


def _latency_bar(
    label: str, value: float | None, kind: str, at: EngineResult, evaluation: Evaluation
) -> charts.Bar | None:
    if value is None:
        return None
    point = _measured(value, at, evaluation.latencies)
    return charts.Bar(label, value, milliseconds(value), kind, point.p95_ms if point else None)


def _measured(
    median: float, at: EngineResult, latencies: Sequence[LatencyPoint]
) -> LatencyPoint | None:
    """Returns the measurement behind a median, for its 95th percentile."""
    where = (at.batch, at.sequence, at.threads)
    return next(
        (
            point
            for point in latencies
            if point.median_ms == median
            and (point.batch, point.sequence, point.threads) == where
            and point.engine == at.name
        ),
        None,
    )


def accuracy_figures(results: Results, evaluation: Evaluation) -> list[AccuracyFigure]:
    """Returns one figure an engine: every scored file from zero, with the distance to dense."""
    engines = dict.fromkeys(file.engine for file in evaluation.files)
    return [_accuracy_figure(engine, results, evaluation) for engine in engines]


def _accuracy_figure(engine: str, results: Results, evaluation: Evaluation) -> AccuracyFigure:
    files = [file for file in evaluation.files if file.engine == engine]
    baseline = results.metric.baseline
    rows = [
        _accuracy_bar(file, baseline)
        for file in sorted(files, key=lambda file: _ROLES.index(file.role))
    ]
    if baseline is not None:
        rows.insert(0, charts.Bar("dense, as trained", baseline, ratio(baseline), "dense"))
    title = f"{results.metric.name} of the files for {engine} on {results.metric.split}"
    return AccuracyFigure(engine, charts.bars(title, rows))


def _accuracy_bar(file: FileEvaluation, baseline: float | None) -> charts.Bar:
    text = ratio(file.metric)
    if baseline is not None:
        text += f"  ({points(file.metric - baseline)})"
    name = ROLE_NAMES[file.role] + (" (shipped)" if file.shipped else "")
    # A correlation may be negative; a bar cannot.
    return charts.Bar(name, max(0.0, file.metric), text, ROLE_KINDS[file.role])


def size_drawing(results: Results) -> Markup:
    """Draws the dense and the shipped file's size, raw and compressed."""
    rows = [
        ("dense", results.dense_size_bytes, "dense"),
        ("dense, compressed", results.dense_compressed_size_bytes, "dense"),
        ("shipped", results.size_bytes, "sparse"),
        ("shipped, compressed", results.compressed_size_bytes, "sparse"),
    ]
    return charts.bars(
        "Size of the model file",
        [
            charts.Bar(label, size, megabytes(size), kind)
            for label, size, kind in rows
            if size is not None
        ],
    )


def layers_drawing(evaluation: Evaluation) -> Markup | None:
    """Draws the sparsity of each prunable layer; None when none was recorded."""
    if not evaluation.layers:
        return None
    return charts.columns(
        "Sparsity of each prunable layer",
        [(layer.name, layer.sparsity) for layer in evaluation.layers],
        "sparse",
    )


def learning_curves(history: Sequence[HistoryPoint], metric: str) -> list[Curve]:
    """Returns the curves of loss and of the primary metric, baseline and transfer together.

    Args:
        history: Of both phases.
        metric: The primary metric's name; points without it are left out of its curve.
    """
    return [
        *_curve("Training loss", "loss", history, lambda point: point.loss),
        *_curve(f"Held-out {metric}", metric, history, lambda point: point.metrics.get(metric)),
    ]


def _curve(
    title: str,
    y_label: str,
    history: Sequence[HistoryPoint],
    value: Callable[[HistoryPoint], float | None],
) -> list[Curve]:
    """Returns the curve, or nothing where no point has the value."""
    series = []
    for phase, (label, kind) in _PHASES.items():
        found = [
            (point.epoch, y)
            for point in history
            if point.phase == phase and (y := value(point)) is not None
        ]
        if found:
            series.append(charts.Series(label, _averaged(sorted(found)), kind))
    if not series:
        return []
    epochs = (0.0, max(point.epoch for point in history))
    chart = charts.LineChart(title, "epoch", y_label, series, _quantizing(history), epochs)
    return [Curve(title, charts.lines(chart), [(line.label, line.kind) for line in series])]


def _quantizing(history: Sequence[HistoryPoint]) -> tuple[float, float, str] | None:
    """Returns the epochs trained with quantization simulated.

    A point stands for the steps since the one before it.
    """
    transfer = sorted(
        (point for point in history if point.phase == "transfer"), key=lambda point: point.step
    )
    first = next((i for i, point in enumerate(transfer) if point.quantizing), None)
    if first is None:
        return None
    start = transfer[first - 1].epoch if first else 0.0
    return (start, transfer[-1].epoch, "training in INT8")


def _averaged(line: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Returns at most ``_POINTS_SHOWN`` points: means of equally many neighbours."""
    size = -(-len(line) // _POINTS_SHOWN)
    groups = [line[start : start + size] for start in range(0, len(line), size)]
    return [(fmean(x for x, _ in group), fmean(y for _, y in group)) for group in groups]
