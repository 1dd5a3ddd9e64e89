"""The report's drawings as inline SVG: pure functions from numbers to markup.

Drawn by hand rather than by a plotting library, because the report has to follow the reader's
light or dark theme and text size: colours are CSS classes, text is text, and a screen reader finds
title and description. Everything that comes from outside is escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from .axes import (
    MARGIN_BOTTOM,
    MARGIN_LEFT,
    MARGIN_RIGHT,
    MARGIN_TOP,
    PLOT_HEIGHT,
    WIDTH,
    Frame,
    nice_ticks,
    short,
    svg,
    tick,
    units,
    x_label,
    x_tick,
)

_BAR_HEIGHT = 22
_BAR_GAP = 8
_LABEL_WIDTH = 152
_VALUE_WIDTH = 132


@dataclass(frozen=True)
class Bar:
    """One horizontal bar.

    Args:
        label: Left of the bar.
        value: Its length, at least 0.
        text: Right of the bar: the value as people read it.
        kind: CSS class that colours it, such as ``dense`` or ``sparse``.
        upper: A thin line up to here, such as the 95th percentile.
    """

    label: str
    value: float
    text: str
    kind: str
    upper: float | None = None


@dataclass(frozen=True)
class Series:
    """One line of a chart.

    Args:
        label: In the legend.
        points: ``(x, y)`` in data units, by rising x.
        kind: CSS class that colours it.
    """

    label: str
    points: Sequence[tuple[float, float]]
    kind: str


@dataclass(frozen=True)
class LineChart:
    """A chart of one or more lines.

    Args:
        title: What it shows, for readers who do not see it.
        x_label: Below the horizontal axis.
        y_label: Above the vertical axis.
        series: The lines.
        shaded: A range of x with its name, such as the epochs trained with quantization.
        x_range: What the horizontal axis covers at least; the points' own range when None.
    """

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    shaded: tuple[float, float, str] | None = None
    x_range: tuple[float, float] | None = None


def bars(title: str, rows: Sequence[Bar]) -> Markup:
    """Draws horizontal bars from zero, all on one scale.

    Args:
        title: What they show, for readers who do not see them.
        rows: From top to bottom.
    """
    longest = max((max(row.value, row.upper or 0.0) for row in rows), default=0.0) or 1.0
    room = WIDTH - _LABEL_WIDTH - _VALUE_WIDTH
    height = len(rows) * (_BAR_HEIGHT + _BAR_GAP)
    parts = []
    for index, row in enumerate(rows):
        top = index * (_BAR_HEIGHT + _BAR_GAP) + _BAR_GAP / 2
        middle = top + _BAR_HEIGHT / 2
        length = max(1.0, room * row.value / longest)
        end = _LABEL_WIDTH + max(length, room * (row.upper or 0.0) / longest)
        parts.append(
            Markup(
                '<text class="label" x="{}" y="{}" text-anchor="end">{}</text>'
                '<rect class="{}" x="{}" y="{}" width="{}" height="{}" rx="3"/>'
            ).format(
                _LABEL_WIDTH - 10, units(middle + 4.5), row.label,
                row.kind, _LABEL_WIDTH, units(top), units(length), _BAR_HEIGHT,
            )
        )  # fmt: skip
        if row.upper is not None:
            parts.append(_whisker(_LABEL_WIDTH + length, end, middle))
        parts.append(
            Markup('<text class="value" x="{}" y="{}">{}</text>').format(
                units(end + 8), units(middle + 4.5), row.text
            )
        )
    description = "; ".join(f"{row.label}: {row.text}" for row in rows)
    return svg(title, description, height, parts)


def columns(title: str, rows: Sequence[tuple[str, float]], kind: str) -> Markup:
    """Draws one thin column a row on a scale from 0 to 100 per cent.

    Args:
        title: What they show.
        rows: Name, shown on pointing at the column, and share from 0 to 1.
        kind: CSS class that colours them.
    """
    height = 180
    plot = height - MARGIN_TOP - 20
    width = WIDTH - MARGIN_LEFT - MARGIN_RIGHT
    parts = [
        tick(height - 20 - plot * share, f"{round(100 * share)} %")
        for share in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    slot = width / max(len(rows), 1)
    for index, (name, share) in enumerate(rows):
        tall = plot * share
        parts.append(
            Markup(
                '<rect class="{}" x="{}" y="{}" width="{}" height="{}">'
                "<title>{}: {:.1f} %</title></rect>"
            ).format(
                kind, units(MARGIN_LEFT + index * slot + slot * 0.1), units(height - 20 - tall),
                units(slot * 0.8), units(tall), name, 100 * share,
            )
        )  # fmt: skip
    shares = [share for _, share in rows] or [0.0]
    description = (
        f"{len(rows)} layers, from {100 * min(shares):.1f} to {100 * max(shares):.1f} per cent"
    )
    return svg(title, description, height, parts)


def lines(chart: LineChart) -> Markup:
    """Draws a line chart with axes, grid and legend."""
    points = [point for series in chart.series for point in series.points]
    xs = [x for x, _ in points] + list(chart.x_range or ())
    x_ticks = nice_ticks(min(xs), max(xs))
    y_ticks = nice_ticks(min(y for _, y in points), max(y for _, y in points))
    frame = Frame(x_ticks[0], x_ticks[-1], y_ticks[0], y_ticks[-1])
    parts = []
    if chart.shaded is not None:
        parts.append(_shade(frame, *chart.shaded))
    parts += [tick(frame.y(value), short(value, y_ticks)) for value in y_ticks]
    parts += [x_tick(frame.x(value), short(value, x_ticks)) for value in x_ticks]
    parts.append(x_label(chart.x_label))
    parts += [_line(frame, series) for series in chart.series]
    ends = (
        f"{series.label}: {chart.y_label} from {series.points[0][1]:.4g} to "
        f"{series.points[-1][1]:.4g}"
        for series in chart.series
    )
    return svg(chart.title, "; ".join(ends), PLOT_HEIGHT, parts)


def _line(frame: Frame, series: Series) -> Markup:
    path = " ".join(f"{units(frame.x(x))},{units(frame.y(y))}" for x, y in series.points)
    dots = Markup("").join(
        Markup('<circle class="{0}" cx="{1}" cy="{2}" r="3"><title>{3}: {4:.4g}</title></circle>')
        .format(series.kind, units(frame.x(x)), units(frame.y(y)), series.label, y)
        for x, y in (series.points if len(series.points) <= _DOTS_UP_TO else series.points[-1:])
    )  # fmt: skip
    return Markup('<polyline class="{}" points="{}"/>').format(series.kind, path) + dots


_DOTS_UP_TO = 30
"""Points of a line; of a longer one only the last is marked."""


def _shade(frame: Frame, start: float, end: float, label: str) -> Markup:
    left, right = frame.x(start), frame.x(end)
    # The name stands above the plot, where no line crosses it, and ends inside the drawing.
    at_start = left < WIDTH * 0.7
    return Markup(
        '<rect class="shade" x="{}" y="{}" width="{}" height="{}"/>'
        '<text class="axis" x="{}" y="{}" text-anchor="{}">{}</text>'
    ).format(
        units(left), MARGIN_TOP, units(max(2.0, right - left)),
        PLOT_HEIGHT - MARGIN_TOP - MARGIN_BOTTOM,
        units(left if at_start else right), MARGIN_TOP - 7,
        "start" if at_start else "end", label,
    )  # fmt: skip


def _whisker(start: float, end: float, middle: float) -> Markup:
    return Markup('<path class="whisker" d="M{0} {2}H{1}M{1} {3}V{4}"/>').format(
        units(start), units(end), units(middle), units(middle - 5), units(middle + 5)
    )
