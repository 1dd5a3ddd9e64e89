"""What drawings have in common: size, axes with round ticks, and the SVG around them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH = 720
"""User units of every drawing; the page scales it to the column."""
PLOT_HEIGHT = 240
MARGIN_LEFT, MARGIN_RIGHT, MARGIN_TOP, MARGIN_BOTTOM = 56, 16, 24, 40
TICKS = 5


def nice_ticks(low: float, high: float) -> list[float]:
    """Returns round values that enclose a range, about ``TICKS`` of them.

    Args:
        low: The smallest value; finite.
        high: The largest value; a range of no width is widened.
    """
    if high - low < 1e-9 * max(1.0, abs(high)):
        low, high = low - 0.5, high + 0.5
    rough = (high - low) / TICKS
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = magnitude * next(f for f in (1, 2, 2.5, 5, 10) if f * magnitude >= rough * 0.999)
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    return [step * index for index in range(first, last + 1)]


@dataclass(frozen=True)
class Frame:
    """Maps data units to the plot's user units."""

    x_low: float
    x_high: float
    y_low: float
    y_high: float

    def x(self, value: float) -> float:
        """Returns where a value lies from the left."""
        share = (value - self.x_low) / (self.x_high - self.x_low)
        return MARGIN_LEFT + share * (WIDTH - MARGIN_LEFT - MARGIN_RIGHT)

    def y(self, value: float) -> float:
        """Returns where a value lies from the top."""
        share = (value - self.y_low) / (self.y_high - self.y_low)
        return PLOT_HEIGHT - MARGIN_BOTTOM - share * (PLOT_HEIGHT - MARGIN_TOP - MARGIN_BOTTOM)


def tick(y: float, text: str) -> Markup:
    """Draws a line across the plot with its text on the left."""
    return Markup(
        '<line class="grid" x1="{}" y1="{}" x2="{}" y2="{}"/>'
        '<text class="axis" x="{}" y="{}" text-anchor="end">{}</text>'
    ).format(
        MARGIN_LEFT, units(y), WIDTH - MARGIN_RIGHT, units(y), MARGIN_LEFT - 8, units(y + 4), text
    )


def x_tick(x: float, text: str) -> Markup:
    """Draws the text of a value on the horizontal axis."""
    return Markup('<text class="axis" x="{}" y="{}" text-anchor="middle">{}</text>').format(
        units(x), PLOT_HEIGHT - MARGIN_BOTTOM + 18, text
    )


def short(value: float, ticks: Sequence[float]) -> str:
    """Returns a tick's text with the digits that its step needs."""
    step = ticks[1] - ticks[0]
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    # A step such as 0.25 needs one digit more than its magnitude says.
    digits += not math.isclose(step * 10**digits, round(step * 10**digits))
    return f"{value:.{digits}f}"


def x_label(text: str) -> Markup:
    """Draws what the horizontal axis measures, below it."""
    return Markup('<text class="axis" x="{}" y="{}" text-anchor="middle">{}</text>').format(
        units((MARGIN_LEFT + WIDTH - MARGIN_RIGHT) / 2), PLOT_HEIGHT - 4, text
    )


def y_label(text: str) -> Markup:
    """Draws what the vertical axis measures, above it."""
    return Markup('<text class="axis" x="{}" y="{}">{}</text>').format(
        MARGIN_LEFT, MARGIN_TOP - 11, text
    )


def units(value: float) -> str:
    """Returns a length as SVG takes it, to a tenth of a unit."""
    return f"{value:.1f}".removesuffix(".0")


def svg(title: str, description: str, height: float, parts: Sequence[Markup]) -> Markup:
    """Puts parts into a drawing.

    Args:
        title: What it shows, for readers who do not see it.
        description: The same in figures.
        height: In user units.
        parts: From back to front.
    """
    return Markup(
        '<svg class="chart" role="img" viewBox="0 0 {0} {1}" aria-label="{2}. {3}">{4}</svg>'
    ).format(WIDTH, units(height), escape(title), escape(description), Markup("").join(parts))
