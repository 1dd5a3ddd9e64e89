from __future__ import annotations

import pytest

from sparse_transfer_api.acceptance import judge
from sparse_transfer_api.results import Headline, MetricResult, Recommended, Results
from sparse_transfer_api.spec import Acceptance


def results(recovery: float | None = 0.98, speedup: float | None = 2.5) -> Results:
    """Returns an outcome with these two figures."""
    return Results(
        metric=MetricResult(name="accuracy", baseline=0.9, value=0.882, samples=3000, split="test"),
        recovery=recovery,
        sparsity=0.8,
        zero_share=0.5,
        size_bytes=10,
        compressed_size_bytes=5,
        dense_size_bytes=40,
        headline=Headline(engine="onnxruntime", batch=1, speedup=speedup),
        recommended=Recommended(file="model.onnx", engine="onnxruntime", reason="fastest"),
    )


@pytest.mark.parametrize(
    ("acceptance", "recovery", "speedup"),
    [
        (Acceptance(), None, None),
        (Acceptance(min_recovery=0.98), 0.98, None),
        (Acceptance(min_speedup=2.5), None, 2.5),
        (Acceptance(min_recovery=0.97, min_speedup=2), 0.98, 2.5),
        (Acceptance(min_recovery=1, min_speedup=1), 1.0, 1.0),
    ],
)
def test_what_reaches_its_criteria_misses_nothing(
    acceptance: Acceptance, recovery: float | None, speedup: float | None
) -> None:
    assert judge(acceptance, results(recovery, speedup)) == []


def test_each_missed_criterion_is_one_sentence_with_both_figures() -> None:
    acceptance = Acceptance(min_recovery=0.99, min_speedup=3)
    assert judge(acceptance, results(0.9812, 2.5)) == [
        "recovery is 0.9812; at least 0.99 is required",
        "speed-up at the headline is 2.5; at least 3 is required",
    ]


def test_an_unknown_figure_does_not_reach_a_criterion() -> None:
    acceptance = Acceptance(min_recovery=0.9, min_speedup=1)
    assert judge(acceptance, results(None, None)) == [
        "recovery is unknown; at least 0.9 is required",
        "speed-up at the headline is unknown; at least 1 is required",
    ]
