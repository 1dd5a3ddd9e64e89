"""The page of a search: pictures that are true, the status's words, and nothing unescaped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparse_transfer_api.results import Results
from sparse_transfer_api.search import skipped, with_figures
from sparse_transfer_api.spec import Acceptance, Search
from sparse_transfer_api.status import LevelStatus, SearchStatus
from sparse_transfer_runner.report import SearchReport, render_search
from sparse_transfer_runner.report.fronts import Dot, front


def results(
    recovery: float | None, latency: float, size: int = 1_000_000, **metric: Any
) -> Results:
    point = {"batch": 1, "sequence": 128, "version": "1.26", "isa": "AVX512", "threads": 2}
    measured = {"name": "onnxruntime", "denseLatencyMs": 10, "speedup": 10 / latency, **point}
    return Results.model_validate(
        {
            "metric": {
                "name": "accuracy", "baseline": 0.84, "value": 0.8, "samples": 100,
                "split": "test", "interval": {"low": 0.96, "high": 1.0}, **metric,
            },
            "recovery": recovery,
            "sparsity": 0.8,
            "zeroShare": 0.7,
            "sizeBytes": size,
            "compressedSizeBytes": size // 2,
            "denseSizeBytes": 4 * size,
            "headline": {"engine": "onnxruntime", "batch": 1, "sequence": 128, "speedup": 2.0},
            "recommended": {"file": "model.onnx", "engine": "onnxruntime", "reason": "fastest"},
            "engines": [{**measured, "latencyMs": latency}],
        }
    )  # fmt: skip


def level(number: float, found: Results | None = None, **fields: Any) -> LevelStatus:
    outcome = "Succeeded" if found is not None else "Failed"
    return LevelStatus.model_validate(
        {"level": number, "band": "MediumSparseInt8", "outcome": outcome, "results": found} | fields
    )


def page(
    levels: Sequence[LevelStatus],
    search: Search | None = None,
    selected: float | None = 0.6,
    message: str = "level 0.6 is the fastest of 2 that pass",
    reports: dict[float, str] | None = None,
) -> str:
    wanted = search or Search(levels=tuple(each.level for each in levels))
    status = SearchStatus(
        selected=selected, message=message, levels=with_figures(levels, wanted.objective)
    )
    return render_search(
        SearchReport("film-reviews", "sentiment", wanted, Acceptance(), status, reports or {})
    )


LEVELS = (level(0.3, results(0.99, 7)), level(0.6, results(0.97, 3)), level(0.9, results(0.9, 4)))


def drawings(html: str) -> list[ElementTree.Element]:
    parts = html.split('<svg class="chart"')[1:]
    return [
        ElementTree.fromstring('<svg class="chart"' + part.partition("</svg>")[0] + "</svg>")
        for part in parts
    ]


def test_the_page_shows_every_level_and_the_one_that_is_kept() -> None:
    html = page(LEVELS, reports={0.3: "../package-aaaaaaaaaa/report.html"})
    assert "level 0.6 is the fastest of 2 that pass" in html
    assert "Level kept" in html
    assert 'href="../package-aaaaaaaaaa/report.html"' in html
    assert html.count("<tr") == 1 + len(LEVELS)
    assert "beaten" in html, "0.9 is slower and less accurate than 0.6"


def test_there_is_a_picture_of_latency_and_one_of_size_with_a_dot_for_each_level() -> None:
    latency, size = drawings(page(LEVELS, Search(levels=(0.3,), min_recovery=0.95)))
    for picture in (latency, size):
        assert len(list(picture.iter("circle"))) == len(LEVELS)
        assert [each.attrib["class"] for each in picture.iter("path")] == ["floor"]
    assert latency.attrib["aria-label"].startswith("Latency: recovery against ms at the headline")
    (line,) = latency.iter("polyline")
    assert len(line.attrib["points"].split()) == 2


def test_the_dots_lie_where_their_figures_are() -> None:
    latency, _ = drawings(page(LEVELS))
    first, second, third = (
        (float(dot.attrib["cx"]), float(dot.attrib["cy"])) for dot in latency.iter("circle")
    )
    assert second[0] < third[0] < first[0], "faster levels are further left"
    assert first[1] < second[1] < third[1], "levels that keep more are higher"


def test_where_no_level_passes_the_nearest_is_not_called_kept() -> None:
    html = page(LEVELS, Search(levels=(0.3,), min_recovery=0.999), selected=0.3)
    assert "Level that comes nearest" in html
    assert "Level kept" not in html


def test_levels_without_a_result_say_why() -> None:
    html = page((*LEVELS, skipped(level(0.7), 0.6), level(0.8, message="<b>too large</b>")))
    assert "Skipped: comes to the same model and recipe as level 0.6" in html
    assert "Failed: &lt;b&gt;too large&lt;/b&gt;" in html


def test_without_any_result_there_are_no_pictures() -> None:
    html = page([level(0.3, message="broken")], selected=None, message="no level came to a result")
    assert drawings(html) == []
    assert "no level came to a result" in html


def test_without_recoveries_the_metric_is_drawn() -> None:
    unknown = [level(0.3, results(None, 7, baseline=None)), level(0.6, results(0.97, 3))]
    latency, _ = drawings(page(unknown))
    assert latency.attrib["aria-label"].startswith("Latency: accuracy against")


def test_recoveries_of_different_dense_models_are_not_passed_off_as_one_measure() -> None:
    one = page([level(0.3, results(0.99, 7)), level(0.6, results(0.97, 3))])
    other = page([level(0.3, results(0.99, 7)), level(0.6, results(0.97, 3, baseline=0.7))])
    assert "own dense model" not in one
    assert "own dense model" in other
    assert drawings(one)[0].attrib["aria-label"].startswith("Latency: recovery against")
    assert drawings(other)[0].attrib["aria-label"].startswith("Latency: accuracy against")


def test_what_levels_were_chosen_by_stands_beside_what_is_reported() -> None:
    found = results(0.991, 7).model_copy(update={"choice_recovery": 0.9432})
    assert "0.9432" in page([level(0.6, found)])


def test_nothing_from_outside_becomes_markup() -> None:
    html = page(LEVELS, message="<script>alert(1)</script>")
    assert "<script>" not in html
    assert "&lt;script&gt;" in html


FIGURES = st.floats(0.001, 1e6, allow_nan=False)


@given(
    dots=st.lists(
        st.builds(Dot, st.text(max_size=5), FIGURES, st.floats(-1, 2), st.text(max_size=5),
                  st.booleans(), st.booleans()),
        min_size=1, max_size=8,
    ),
    least=st.none() | st.floats(0.0001, 2),
)  # fmt: skip
def test_a_picture_is_valid_markup_inside_its_frame(dots: list[Dot], least: float | None) -> None:
    clean = [Dot("a", each.cost, each.kept, "b", each.on_front, each.chosen) for each in dots]
    root = ElementTree.fromstring(front("Latency", "ms", "recovery", clean, least=least))
    _, _, width, height = (float(part) for part in root.attrib["viewBox"].split())
    for dot in root.iter("circle"):
        assert 0 <= float(dot.attrib["cx"]) <= width
        assert 0 <= float(dot.attrib["cy"]) <= height


@pytest.mark.parametrize("text", ["<b>", "&", '"'])
def test_labels_are_escaped(text: str) -> None:
    root = ElementTree.fromstring(front("t", "c", "k", [Dot(text, 1, 1, text)]))
    assert any(each.text == text for each in root.iter("text"))
