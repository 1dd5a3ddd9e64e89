"""What the report says in words: causes told apart, losses not passed over."""

from __future__ import annotations

from typing import Any

import pytest

from sparse_transfer_api.results import EngineResult
from sparse_transfer_runner.report.findings import (
    cards,
    concerns,
    shipped_name,
    summary,
    what_brought_it,
)
from sparse_transfer_runner.report.wording import TIMES, UNKNOWN


@pytest.mark.parametrize(
    ("dense", "int8", "shipped", "expected"),
    [
        (
            10.0,
            5.0,
            2.5,
            f": 2.00{TIMES} by INT8, 2.00{TIMES} by sparsity on top of it.",
        ),
        (10.0, 5.0, 5.1, "Sparsity brings no time here, only size."),
        (10.0, 4.0, 5.0, "Sparsity costs time here: the dense INT8 file is the faster one."),
        (10.0, 12.0, 12.5, f"slower than the dense model, at 0.80{TIMES} its speed"),
        (10.0, 9.9, 9.8, f"about as fast as the dense model (1.02{TIMES})"),
        (10.0, None, 5.0, "No dense INT8 file was measured to tell causes apart."),
    ],
)
def test_what_int8_and_what_sparsity_brought_is_told_apart(
    dense: float, int8: float | None, shipped: float, expected: str
) -> None:
    engine = EngineResult(
        name="onnxruntime",
        version="1",
        isa="AVX2",
        threads=2,
        batch=1,
        dense_latency_ms=dense,
        dense_int8_latency_ms=int8,
        latency_ms=shipped,
        speedup=dense / shipped,
    )
    assert expected in what_brought_it(engine, "sparse INT8")


@pytest.mark.parametrize(
    ("shipped", "words"),
    [("dense INT8", "by INT8 alone"), ("dense fp32", "is the dense model itself")],
)
def test_sparsity_gets_no_credit_where_nothing_is_sparse(
    records: Any, shipped: str, words: str
) -> None:
    assert words in what_brought_it(records.results.engines[0], shipped)


def test_a_comparison_that_was_not_made_is_not_mentioned(records: Any) -> None:
    update = {"speedup_vs_dense_int8": None}
    headline = records.results.headline.model_copy(update=update)
    text = summary(records.plan, records.results.model_copy(update={"headline": headline}))
    assert text.endswith(f"(2.05{TIMES} against the engine forced to fp32).")


@pytest.mark.parametrize(
    ("sparsity", "quantize", "name"),
    [(0.8, True, "sparse INT8"), (0.0, True, "dense INT8"), (0.0, False, "dense fp32")],
)
def test_the_shipped_model_is_called_what_it_is(
    records: Any, sparsity: float, quantize: bool, name: str
) -> None:
    plan = records.plan.model_copy(update={"quantize": quantize})
    results = records.results.model_copy(update={"sparsity": sparsity})
    assert shipped_name(plan, results) == name


def test_each_concern_is_said_once(records: Any) -> None:
    twice = records.results.model_copy(update={"engines": [*records.results.engines] * 2})
    found = concerns(records.plan, twice, records.evaluation)
    assert len(found) == len(set(found))
    assert found[0] == "openvino: the sparse INT8 file is slower than dense INT8 (0.90x)"


def test_an_unknown_figure_stays_unknown(records: Any) -> None:
    headline = records.results.headline.model_copy(update={"speedup": None})
    shown = cards(records.results.model_copy(update={"recovery": None, "headline": headline}))
    assert [card.value for card in shown[:2]] == [UNKNOWN, UNKNOWN]
