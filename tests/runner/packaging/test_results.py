from __future__ import annotations

from typing import Any

import pytest

from sparse_transfer_api.results import MetricResult
from sparse_transfer_runner.packaging.evaluation import Evaluation, FileEvaluation, LatencyPoint
from sparse_transfer_runner.packaging.points import HeadlinePoint, Point
from sparse_transfer_runner.packaging.results import (
    EngineFacts,
    Score,
    assemble,
    engine_results,
    recommended,
)

_ENGINE = "openvino"
_FACTS = EngineFacts(_ENGINE, "2026.4", "avx512_vnni")
_WANTED = HeadlinePoint(_ENGINE, Point(1, 128))
_DENSE, _INT8, _SHIPPED = "reference/dense.onnx", "reference/int8.xml", "deployment/model.xml"


def _file(path: str, role: Any, **fields: Any) -> FileEvaluation:
    values: dict[str, Any] = {
        "metric": 0.80,
        "choice_metric": 0.80,
        "largest_difference": 0.1,
        "label_agreement": 0.99,
        "sparsity": 0.0,
        "zero_share": 0.0,
        "size_bytes": 1000,
        "compressed_size_bytes": 900,
        **fields,
    }
    return FileEvaluation(path=path, engine=_ENGINE, role=role, form="qdq", **values)


def _files(role: Any = "sparse-int8", **shipped: Any) -> list[FileEvaluation]:
    return [
        _file(_DENSE, "dense-fp32", size_bytes=4000, compressed_size_bytes=3600),
        _file(_INT8, "dense-int8"),
        _file(
            _SHIPPED,
            role,
            **{"shipped": True, "sparsity": 0.8, "compressed_size_bytes": 300, **shipped},
        ),
    ]


def _latency(path: str, median: float, **fields: Any) -> LatencyPoint:
    values = {
        "threads": 2,
        "batch": 1,
        "sequence": 128,
        "p95_ms": median * 1.04,
        "runs": 20,
        **fields,
    }
    return LatencyPoint(path=path, engine=_ENGINE, median_ms=median, **values)


def _latencies(
    dense: float = 12.0, fp32: float = 20.0, int8: float = 6.0, shipped: float = 4.0
) -> list[LatencyPoint]:
    return [
        _latency(_DENSE, dense),
        _latency(_DENSE, fp32, arithmetic="fp32"),
        _latency(_INT8, int8),
        _latency(_SHIPPED, shipped),
    ]


def _evaluation(
    files: list[FileEvaluation] | None = None, latencies: list[LatencyPoint] | None = None
) -> Evaluation:
    return Evaluation(files=files or _files(), latencies=latencies or _latencies(), layers=[])


def test_each_speedup_is_a_ratio_of_medians_by_its_definition() -> None:
    [result] = engine_results(_evaluation(), [_FACTS])
    assert result.speedup == 3.0
    assert result.speedup_vs_fp32 == 5.0
    assert result.speedup_vs_dense_int8 == 1.5
    assert result.latency_p95_ms == 4.16
    assert (result.threads, result.batch, result.sequence) == (2, 1, 128)
    assert result.notes == []


def test_an_engine_whose_defaults_are_fp32_has_one_dense_latency() -> None:
    latencies = [p for p in _latencies() if p.arithmetic == "default"]
    [result] = engine_results(_evaluation(latencies=latencies), [_FACTS])
    assert result.speedup_vs_fp32 == result.speedup


def test_every_point_is_its_own_result() -> None:
    more = [p.model_copy(update={"batch": 16, "median_ms": p.median_ms * 10}) for p in _latencies()]
    results = engine_results(_evaluation(latencies=[*_latencies(), *more]), [_FACTS])
    assert [(r.batch, r.latency_ms) for r in results] == [(1, 4.0), (16, 40.0)]


def test_a_dense_int8_file_that_loses_accuracy_is_no_rival() -> None:
    files = _files()
    files[1] = _file(_INT8, "dense-int8", keeps_accuracy=False)
    [result] = engine_results(_evaluation(files), [_FACTS])
    assert result.dense_int8_latency_ms is None
    assert result.speedup_vs_dense_int8 is None


@pytest.mark.parametrize(
    ("latencies", "trained", "notes"),
    [
        pytest.param(
            _latencies(shipped=13.0),
            None,
            ["slower than the dense model at batch 1, 128 tokens: 13.00 ms against 12.00 ms",
             "slower than dense INT8 at batch 1, 128 tokens: 13.00 ms against 6.00 ms"],
            id="slower",
        ),
        pytest.param(_latencies(shipped=6.2), None, [], id="alike is not slower"),
        pytest.param(
            _latencies(),
            0.82,
            ["loses accuracy: 0.8000 against 0.8200 of the trained model (form qdq)"],
            id="less accurate than the trained model",
        ),
        pytest.param(_latencies(), 0.805, [], id="within tolerance"),
    ],
)  # fmt: skip
def test_what_got_worse_is_said(
    latencies: list[LatencyPoint], trained: float | None, notes: list[str]
) -> None:
    [result] = engine_results(_evaluation(latencies=latencies), [_FACTS], trained)
    assert result.notes == notes


@pytest.mark.parametrize(
    ("shipped", "file", "said"),
    [
        pytest.param(4.0, _SHIPPED, "faster than dense INT8", id="sparsity pays"),
        pytest.param(5.9, _INT8, "gains no time from sparsity", id="alike"),
        pytest.param(8.0, _INT8, "3.0 times smaller compressed", id="slower"),
    ],
)
def test_the_recommended_file_is_dense_where_sparsity_brings_no_time(
    shipped: float, file: str, said: str
) -> None:
    evaluation = _evaluation(latencies=_latencies(shipped=shipped))
    found = recommended(evaluation, engine_results(evaluation, [_FACTS]), _WANTED)
    assert found.file == file
    assert said in found.reason


def test_on_a_busy_machine_small_differences_decide_nothing() -> None:
    busy = [p.model_copy(update={"p95_ms": p.median_ms * 1.6}) for p in _latencies(shipped=4.5)]
    evaluation = _evaluation(latencies=busy)
    results = engine_results(evaluation, [_FACTS])
    assert results[0].notes == [
        "latencies vary by 60% at batch 1, 128 tokens: the machine was busy, measure again on a "
        "quiet one"
    ]
    assert recommended(evaluation, results, _WANTED).file == _INT8


def test_without_a_dense_int8_file_the_shipped_one_is_recommended() -> None:
    files = [file for file in _files() if file.role != "dense-int8"]
    evaluation = _evaluation(files)
    found = recommended(evaluation, engine_results(evaluation, [_FACTS]), _WANTED)
    assert found.file == _SHIPPED


def test_a_dense_product_is_recommended_over_the_reference() -> None:
    files = _files(role="dense-int8")
    evaluation = _evaluation(files, _latencies(shipped=6.5))
    found = recommended(evaluation, engine_results(evaluation, [_FACTS]), _WANTED)
    assert found.file == _SHIPPED


def test_without_a_counterpart_the_products_own_fp32_file_stands_in() -> None:
    files = [_file(_DENSE, "sparse-fp32", sparsity=0.8), _files()[2]]
    [result] = engine_results(_evaluation(files), [_FACTS])
    assert result.dense_latency_ms == 12.0
    assert result.speedup_vs_dense_int8 is None


def test_the_outcome_is_that_of_the_shipped_headline_file() -> None:
    evaluation = _evaluation()
    metric = MetricResult(name="accuracy", baseline=0.82, value=0.80, samples=9, split="test")
    results = assemble(
        evaluation,
        engine_results(evaluation, [_FACTS]),
        _WANTED,
        Score(metric, 0.80 / 0.82, 0.8, choice_recovery=0.97),
    )
    assert results.recovery == round(0.80 / 0.82, 4)
    assert results.choice_recovery == 0.97
    assert results.sparsity == 0.8
    assert (results.compressed_size_bytes, results.dense_compressed_size_bytes) == (300, 3600)
    assert results.headline.speedup == 3.0
    assert results.headline.engine == _ENGINE
    assert results.recommended.file == _SHIPPED
