"""The Pareto picture: what each level costs against what it keeps, and which levels none beats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from .axes import (
    MARGIN_RIGHT,
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
    y_label,
)

_RADIUS = 6
_ROOM_FOR_LABEL = 60


@dataclass(frozen=True)
class Dot:
    """One level.

    Args:
        label: Beside the dot.
        cost: From the left, the less the better.
        kept: From below, the more the better.
        text: Both figures, as people read them.
        on_front: No other level beats it.
        chosen: It is the one that is kept.
    """

    label: str
    cost: float
    kept: float
    text: str
    on_front: bool = False
    chosen: bool = False


def front(
    title: str, cost: str, kept: str, dots: Sequence[Dot], *, least: float | None = None
) -> Markup:
    """Draws levels as dots, those that none beats joined by a line.

    Args:
        title: What it shows, for readers who do not see it.
        cost: What the horizontal axis measures.
        kept: What the vertical axis measures.
        dots: At least one.
        least: What a level has to keep, drawn as a line across.
    """
    floor = [] if least is None else [least]
    x_ticks = nice_ticks(0.0, max(dot.cost for dot in dots))
    heights = [*(dot.kept for dot in dots), *floor]
    y_ticks = nice_ticks(min(heights), max(heights))
    frame = Frame(x_ticks[0], x_ticks[-1], y_ticks[0], y_ticks[-1])
    parts = [tick(frame.y(value), short(value, y_ticks)) for value in y_ticks]
    parts += [x_tick(frame.x(value), short(value, x_ticks)) for value in x_ticks]
    parts += [x_label(cost), y_label(kept)]
    if least is not None:
        parts.append(_floor(frame, least))
    parts.append(_line(frame, [dot for dot in dots if dot.on_front]))
    parts += [_dot(frame, dot) for dot in dots]
    described = "; ".join(f"{dot.label}: {dot.text}{_role(dot)}" for dot in dots)
    return svg(f"{title}: {kept} against {cost}", described, PLOT_HEIGHT, parts)


def _line(frame: Frame, dots: Sequence[Dot]) -> Markup:
    path = " ".join(
        f"{units(frame.x(dot.cost))},{units(frame.y(dot.kept))}"
        for dot in sorted(dots, key=lambda dot: (dot.cost, dot.kept))
    )
    return Markup('<polyline class="front" points="{}"/>').format(path)


def _dot(frame: Frame, dot: Dot) -> Markup:
    x, y = frame.x(dot.cost), frame.y(dot.kept)
    # Beside the right edge the label stands on the left.
    at_left = x > WIDTH - MARGIN_RIGHT - _ROOM_FOR_LABEL
    return Markup(
        '<circle class="{}" cx="{}" cy="{}" r="{}"><title>{}: {}{}</title></circle>'
        '<text class="{}" x="{}" y="{}" text-anchor="{}">{}</text>'
    ).format(
        "sparse" if dot.chosen else "dense-int8" if dot.on_front else "dense",
        units(x), units(y), _RADIUS + 2 * dot.chosen, dot.label, dot.text, _role(dot),
        "value" if dot.chosen else "label", units(x - 9 if at_left else x + 9), units(y + 18),
        "end" if at_left else "start", dot.label,
    )  # fmt: skip


def _role(dot: Dot) -> str:
    return (", on the front" if dot.on_front else "") + (", kept" if dot.chosen else "")


def _floor(frame: Frame, least: float) -> Markup:
    left, right = units(frame.x(frame.x_low)), units(frame.x(frame.x_high))
    y = units(frame.y(least))
    return Markup(
        '<path class="floor" d="M{} {}H{}"><title>a level has to keep {:g}</title></path>'
    ).format(left, y, right, least)
