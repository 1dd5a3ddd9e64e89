"""The report as a page: complete, self-contained, escaped, accessible."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest

from sparse_transfer_runner.packaging.evaluation import LayerKernel
from sparse_transfer_runner.packaging.layer_kernels import FASTER, SLOWER, UNTIMED
from sparse_transfer_runner.report import render_report
from sparse_transfer_runner.report.wording import TIMES

TIMES_OF_LAYER = {"blocks": 0.21, "sparse_ms": 0.042, "dense_ms": 0.097}
_VOID = {"meta", "link", "br", "img", "hr", "input"}
_LOADING_ATTRIBUTES = {"src", "srcset", "data", "poster", "action", "formaction", "background"}


class Page(HTMLParser):
    """Tags, their attributes and the text of a page; fails on tags that do not nest."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def plain(self) -> str:
        return " ".join(" ".join(self.text).replace("\N{NO-BREAK SPACE}", " ").split())


def page_of(records: Any) -> Page:
    return Page(render_report(**vars(records)))


@pytest.fixture
def page(records: Any) -> Page:
    return page_of(records)


def test_the_page_is_well_formed_and_names_the_experiment(page: Page) -> None:
    assert "film-reviews" in page.plain
    assert page.all("html")[0]["lang"] == "en"
    assert len(page.all("h1")) == 1


@pytest.mark.parametrize(
    "figure",
    [
        "98.7 %",
        "97.5 % to 99.9 %",
        "0.8227",
        "0.8340",
        f"2.05{TIMES}",
        "12.1 MB",
        "83.4 MB",
        "80.0 %",
    ],
)
def test_the_page_shows_every_headline_figure(page: Page, figure: str) -> None:
    assert figure in page.plain


@pytest.mark.parametrize(
    "sentence",
    [
        "the sparse INT8 file is slower than dense INT8 (0.90x)",
        "Sparsity costs time here: the dense INT8 file is the faster one.",
        "Sparsity brings no time here, only size.",
        "2 texts of train occur in test too",
    ],
)
def test_the_page_says_what_does_not_flatter(page: Page, sentence: str) -> None:
    assert sentence in page.plain


def test_the_page_shows_each_file_each_engine_and_each_layer(page: Page, records: Any) -> None:
    for file in records.evaluation.files:
        assert file.path in page.plain
    for engine in records.results.engines:
        assert f"{engine.name} {engine.version}" in page.plain
    for layer in records.evaluation.layers:
        assert layer.name in page.plain


def test_the_page_says_which_layers_leave_zeros_out_and_why_others_do_not(records: Any) -> None:
    assert "leave zeros out" not in page_of(records).plain
    shipped = next(file for file in records.evaluation.files if file.shipped)
    shipped.kernels.extend(
        [
            LayerKernel(name="a.query", sparse=True, reason=FASTER, **TIMES_OF_LAYER),
            LayerKernel(name="a.key", sparse=False, reason=SLOWER, **TIMES_OF_LAYER),
            LayerKernel(name="a.value", sparse=False, reason=UNTIMED),
        ]
    )
    plain = page_of(records).plain
    assert f"1 of 3 quantized layers of {shipped.path} leave their zeros out" in plain
    assert "as measured on AVX-512 VNNI with 2 threads" in plain
    assert f"a.query 21.0 % 0.042 ms 0.097 ms sparse {FASTER}" in plain
    assert f"a.key 21.0 % 0.042 ms 0.097 ms dense {SLOWER}" in plain
    assert f"a.value \N{EN DASH} \N{EN DASH} \N{EN DASH} dense {UNTIMED}" in plain


def test_files_whose_outputs_have_no_largest_difference_have_an_empty_cell(records: Any) -> None:
    empty = '<td class="n"></td>'
    before = render_report(**vars(records)).count(empty)
    files = [
        file.model_copy(update={"largest_difference": None}) for file in records.evaluation.files
    ]
    evaluation = records.evaluation.model_copy(update={"files": files})
    html = render_report(**{**vars(records), "evaluation": evaluation})
    assert html.count(empty) == before + len(files)


def test_the_whole_manifest_is_in_a_folded_block(page: Page, records: Any) -> None:
    text = "".join(page.text)
    start = text.index('{\n  "schemaVersion"')
    document, _ = json.JSONDecoder().raw_decode(text[start:])
    assert document == json.loads(records.manifest.to_json())
    assert all("open" not in attributes for attributes in page.all("details"))


def test_the_page_loads_nothing_and_runs_nothing(page: Page) -> None:
    assert page.all("script") == []
    assert page.all("iframe") == []
    for tag, attributes in page.elements:
        loading = _LOADING_ATTRIBUTES & attributes.keys()
        assert not loading, f"<{tag}> loads {loading}"
        assert not any(name.startswith("on") for name in attributes)
        assert attributes.get("href", "#").startswith(("#", "data:"))
    assert page.all("meta")[2]["content"].startswith("default-src 'none'")


def test_drawings_have_names_and_tables_have_headings(page: Page) -> None:
    drawings = page.all("svg")
    assert len(drawings) >= 7
    assert all(drawing["role"] == "img" and drawing["aria-label"] for drawing in drawings)
    assert all(heading["scope"] in ("col", "row") for heading in page.all("th"))
    identifiers = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    for _, attributes in page.elements:
        assert attributes.get("aria-labelledby", identifiers[0]) in identifiers


def test_what_users_wrote_is_escaped_everywhere(records: Any) -> None:
    evil = "<script>alert('x')</script>\"&"
    plan = records.plan.model_copy(update={"labels": [evil, "b"], "warnings": [evil]})
    files = [file.model_copy(update={"path": evil}) for file in records.evaluation.files]
    layers = [layer.model_copy(update={"name": evil}) for layer in records.evaluation.layers]
    html = render_report(
        plan=plan,
        results=records.results.model_copy(
            update={"metric": records.results.metric.model_copy(update={"name": evil})}
        ),
        evaluation=records.evaluation.model_copy(update={"files": files, "layers": layers}),
        history=records.history,
        manifest=records.manifest.model_copy(
            update={"provenance": {"experiment": {"metadata": {"name": evil}}}}
        ),
    )
    assert "<script" not in html
    assert Page(html).all("h1")


def test_an_experiment_without_baseline_history_and_layers_is_reported_too(records: Any) -> None:
    metric = records.results.metric.model_copy(update={"baseline": None, "interval": None})
    bare = {
        "plan": records.plan.model_copy(update={"dense": None, "baseline": None}),
        "results": records.results.model_copy(update={"metric": metric, "recovery": None}),
        "evaluation": records.evaluation.model_copy(update={"layers": []}),
        "history": [],
        "manifest": records.manifest.model_copy(update={"provenance": {}}),
    }
    page = Page(render_report(**bare))
    assert "Recovery is unknown" in page.plain
    assert "there is no dense baseline to compare with" in page.plain
    assert "Learning curves" not in page.plain
    assert "Sparsity per layer" not in page.plain


def test_the_same_records_give_the_same_page(records: Any) -> None:
    assert render_report(**vars(records)) == render_report(**vars(records))


@pytest.mark.parametrize("quantize", [True, False])
def test_a_dense_product_is_reported_as_one(records: Any, quantize: bool) -> None:
    headline = records.results.headline.model_copy(update={"speedup_vs_dense_int8": None})
    update = {"dense_int8_latency_ms": None, "speedup_vs_dense_int8": None}
    page = page_of(
        replace(
            records,
            plan=records.plan.model_copy(update={"quantize": quantize, "level": 0.1}),
            results=records.results.model_copy(
                update={
                    "sparsity": 0.0,
                    "headline": headline,
                    "engines": [e.model_copy(update=update) for e in records.results.engines],
                }
            ),
            evaluation=records.evaluation.model_copy(update={"layers": []}),
        )
    )
    name = "dense INT8" if quantize else "dense fp32"
    assert f"The {name} model reaches" in page.plain
    assert f"{name} (shipped)" in page.plain
