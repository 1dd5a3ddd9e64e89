"""The drawings: valid markup for any finite numbers, axes that enclose what they show."""

from __future__ import annotations

from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparse_transfer_runner.report.axes import nice_ticks
from sparse_transfer_runner.report.charts import (
    Bar,
    LineChart,
    Series,
    bars,
    columns,
    lines,
)

_FINITE = st.floats(min_value=-1e6, max_value=1e6, allow_nan=False)
_TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=20)


@given(_FINITE, _FINITE)
def test_ticks_enclose_the_range_with_few_even_steps(one: float, other: float) -> None:
    low, high = min(one, other), max(one, other)
    ticks = nice_ticks(low, high)
    slack = 1e-6 * max(1.0, abs(low), abs(high))
    assert ticks[0] <= low + slack
    assert ticks[-1] >= high - slack
    assert 2 <= len(ticks) <= 9
    step = ticks[1] - ticks[0]
    for left, right in pairwise(ticks):
        assert right - left == pytest.approx(step, rel=1e-3)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.0, 1.0, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.62, 0.83, [0.6, 0.65, 0.7, 0.75, 0.8, 0.85]),
        (0.0, 2.0, [0.0, 0.5, 1.0, 1.5, 2.0]),
    ],
)
def test_ticks_are_round_numbers(low: float, high: float, ticks: list[float]) -> None:
    assert nice_ticks(low, high) == pytest.approx(ticks)


@given(st.lists(st.tuples(_FINITE, _FINITE), min_size=1, max_size=50), _TEXT)
def test_a_line_chart_is_valid_markup_inside_its_frame(
    points: list[tuple[float, float]], label: str
) -> None:
    chart = LineChart(label, "epoch", label, [Series(label, sorted(points), "dense")])
    root = ElementTree.fromstring(lines(chart))
    _, _, width, height = (float(part) for part in root.attrib["viewBox"].split())
    for line in root.iter("polyline"):
        for pair in line.attrib["points"].split():
            x, y = (float(part) for part in pair.split(","))
            assert -0.1 <= x <= width + 0.1
            assert -0.1 <= y <= height + 0.1


@given(st.lists(st.tuples(_TEXT, st.floats(0, 1e9)), max_size=10))
def test_bars_are_proportional_and_start_at_one_line(rows: list[tuple[str, float]]) -> None:
    root = ElementTree.fromstring(
        bars("title", [Bar(name, value, "text", "dense") for name, value in rows])
    )
    drawn = list(root.iter("rect"))
    assert len(drawn) == len(rows)
    assert len({bar.attrib["x"] for bar in drawn}) <= 1
    longest = max((value for _, value in rows), default=0.0)
    widest = max((float(bar.attrib["width"]) for bar in drawn), default=0.0)
    for (_, value), bar in zip(rows, drawn, strict=True):
        if longest > 0 and value / longest > 0.01:
            assert float(bar.attrib["width"]) == pytest.approx(widest * value / longest, abs=0.1)


def test_columns_carry_each_layer_s_name_and_share() -> None:
    root = ElementTree.fromstring(columns("layers", [("a<b", 0.5), ("c", 1.0)], "sparse"))
    assert [title.text for title in root.iter("title")] == ["a<b: 50.0 %", "c: 100.0 %"]
    assert "from 50.0 to 100.0 per cent" in root.attrib["aria-label"]


@pytest.mark.parametrize(("start", "anchor"), [(0.5, "start"), (1.9, "end")])
def test_the_name_of_a_shaded_range_stays_inside_the_drawing(start: float, anchor: str) -> None:
    series = [Series("loss", [(0.0, 1.0), (2.0, 0.5)], "dense")]
    chart = LineChart("t", "epoch", "loss", series, (start, 2.0, "training in INT8"), (0.0, 2.0))
    root = ElementTree.fromstring(lines(chart))
    (label,) = (text for text in root.iter("text") if text.text == "training in INT8")
    assert label.attrib["text-anchor"] == anchor
    (shade,) = (rect for rect in root.iter("rect") if rect.attrib["class"] == "shade")
    assert float(shade.attrib["width"]) > 0
