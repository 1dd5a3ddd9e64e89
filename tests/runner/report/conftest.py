"""Records of a plausible experiment: two engines, one of which gains nothing from sparsity."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from sparse_transfer_api.records import (
    Manifest,
    ModelSource,
    Plan,
    SplitInfo,
    TrainingSettings,
)
from sparse_transfer_api.results import (
    EngineResult,
    Headline,
    Interval,
    MetricResult,
    Recommended,
    Results,
)
from sparse_transfer_runner.packaging.evaluation import (
    Evaluation,
    FileEvaluation,
    HistoryPoint,
    LatencyPoint,
    LayerSparsity,
)

_ISA = "AVX-512 VNNI"
_SEQUENCE = 128
_SHIPPED = "deployment/model.onnx"


@dataclass(frozen=True)
class Records:
    """What ``render_report`` takes."""

    plan: Plan
    results: Results
    evaluation: Evaluation
    history: list[HistoryPoint]
    manifest: Manifest


@pytest.fixture
def records() -> Records:
    results = _results()
    return Records(
        plan=_plan(),
        results=results,
        evaluation=_evaluation(),
        history=_history(),
        manifest=Manifest(
            stage="package",
            key="k3xq7m2a5d",
            created=datetime(2025, 11, 23, 13, 16, tzinfo=UTC),
            files=[],
            results=results,
            provenance={"experiment": {"metadata": {"name": "film-reviews"}}, "python": "3.11"},
            licences={"foundation": "Apache-2.0"},
        ),
    )


def _plan() -> Plan:
    settings = TrainingSettings(
        epochs=2, learning_rate=4e-4, batch_size=32, seed=0, recipe="modifiers:\n  - !Example\n"
    )
    return Plan(
        use_case="nlp-sentiment_analysis",
        level=0.5,
        band="MediumSparseInt8",
        problem_type="single_label_classification",
        columns={"text": ["text"], "label": ["label"]},
        labels=["negative", "positive"],
        splits=[
            SplitInfo(name="train", file="train.csv", samples=4528, digest="a" * 64),
            SplitInfo(name="val", file="val.csv", samples=1000, digest="b" * 64),
            SplitInfo(name="test", file="test.csv", samples=3000, digest="c" * 64),
        ],
        evaluation_split="test",
        choice_split="val",
        data_digest="d" * 64,
        max_sequence_length=64,
        truncated_share=0.0021,
        model=_model("file:///srv/foundation", 0.8),
        dense=_model("package://a_model/model", 0.0),
        quantize=True,
        training=settings,
        baseline=settings,
        total_steps=566,
        expected_memory_bytes=2_000_000_000,
        licences={"foundation": "Apache-2.0"},
        warnings=["2 texts of train occur in test too"],
    )


def _model(uri: str, sparsity: float) -> ModelSource:
    return ModelSource(
        uri=uri,
        digest="e" * 64,
        format="huggingface-safetensors",
        architecture="BertModel",
        sparsity=sparsity,
        parameters=22_713_216,
        licence="Apache-2.0",
    )


def _results() -> Results:
    return Results(
        metric=MetricResult(
            name="accuracy",
            baseline=0.834,
            value=0.8227,
            samples=3000,
            split="test",
            interval=Interval(low=0.9745, high=0.9987),
        ),
        recovery=0.9865,
        sparsity=0.8,
        zero_share=0.4123,
        size_bytes=23_000_000,
        compressed_size_bytes=12_100_000,
        dense_size_bytes=91_000_000,
        dense_compressed_size_bytes=83_400_000,
        headline=Headline(
            engine="onnxruntime",
            batch=1,
            sequence=_SEQUENCE,
            speedup=2.0526,
            speedup_vs_fp32=2.0526,
            speedup_vs_dense_int8=1.0,
        ),
        recommended=Recommended(
            file=_SHIPPED,
            engine="onnxruntime",
            reason="As fast as dense INT8 within the noise, and a third smaller compressed.",
        ),
        engines=[
            _engine("onnxruntime", "1.26.0", 1, (11.7, 11.7, 5.7, 5.7)),
            _engine("onnxruntime", "1.26.0", 16, (171.0, 171.0, 83.1, 82.0)),
            _engine(
                "openvino",
                "2026.4.0",
                1,
                (3.37, 10.7, 3.09, 3.42),
                notes=["the sparse INT8 file is slower than dense INT8 (0.90x)"],
            ),
        ],
    )


def _engine(
    name: str,
    version: str,
    batch: int,
    latencies: tuple[float, float, float, float],
    notes: list[str] | None = None,
) -> EngineResult:
    dense, fp32, int8, shipped = latencies
    return EngineResult(
        name=name,
        version=version,
        isa=_ISA,
        threads=2,
        batch=batch,
        sequence=_SEQUENCE,
        dense_latency_ms=dense,
        dense_fp32_latency_ms=fp32,
        dense_int8_latency_ms=int8,
        latency_ms=shipped,
        latency_p95_ms=shipped * 1.12,
        speedup=dense / shipped,
        speedup_vs_fp32=fp32 / shipped,
        speedup_vs_dense_int8=int8 / shipped,
        metric=0.8227,
        dense_int8_metric=0.8327,
        notes=notes or [],
    )


def _evaluation() -> Evaluation:
    # Path, engine, role, form, accuracy, megabytes raw and compressed.
    files = [
        ("dense.onnx", "onnxruntime", "dense-fp32", "fp32", 0.834, 91, 83.4),
        ("dense-int8.onnx", "onnxruntime", "dense-int8", "dynamic", 0.8327, 23, 18),
        (_SHIPPED, "onnxruntime", "sparse-int8", "matmul-integer", 0.8227, 23, 12.1),
        ("dense.onnx", "openvino", "dense-fp32", "fp32", 0.834, 91, 83.4),
        ("openvino/dense.xml", "openvino", "dense-int8", "nncf-ptq", 0.8373, 24, 20),
        ("openvino/sparse.xml", "openvino", "sparse-int8", "qdq", 0.8217, 24, 15),
    ]
    parts = ("query", "key", "value", "attention", "intermediate", "output")
    return Evaluation(
        files=[
            FileEvaluation(
                path=path,
                engine=engine,
                role=role,
                form=form,
                metric=metric,
                largest_difference=0.0312 if "int8" in role else 1.2e-6,
                label_agreement=0.9943 if "int8" in role else 1.0,
                sparsity=0.8 if role == "sparse-int8" else 0.0,
                zero_share=0.41 if role == "sparse-int8" else 0.0,
                size_bytes=int(size * 1e6),
                compressed_size_bytes=int(compressed * 1e6),
                shipped=path == _SHIPPED,
            )
            for path, engine, role, form, metric, size, compressed in files
        ],
        latencies=[
            LatencyPoint(
                path="dense.onnx",
                engine="onnxruntime",
                threads=2,
                batch=1,
                sequence=_SEQUENCE,
                median_ms=11.7,
                p95_ms=13.1,
                runs=60,
            )
        ],
        layers=[
            LayerSparsity(
                name=f"encoder.layer.{index // len(parts)}.{parts[index % len(parts)]}",
                weights=147_456,
                sparsity=0.8 + 0.06 * math.sin(index * 1.7),
            )
            for index in range(36)
        ],
        notes=["the accuracy of INT8 files holds for this instruction set"],
    )


def _history() -> list[HistoryPoint]:
    points = []
    for phase, last_loss, last_accuracy in (("baseline", 0.2, 0.83), ("transfer", 0.35, 0.82)):
        for step in range(0, 284, 4):
            share = step / 283
            evaluated = {"accuracy": last_accuracy - 0.2 * (1 - share) ** 3}
            points.append(
                HistoryPoint(
                    phase=phase,
                    step=step,
                    epoch=round(2 * share, 3),
                    loss=last_loss + 0.5 * math.exp(-4 * share) + 0.02 * math.sin(step),
                    quantizing=phase == "transfer" and share >= 0.75,
                    metrics=evaluated if step % 40 == 0 else {},
                )
            )
    return points
