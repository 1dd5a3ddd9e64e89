"""What the stages of these tests hand over, and when."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from sparse_transfer_api.contract import Stage
from sparse_transfer_api.optim_level import band_of
from sparse_transfer_api.records import StageResult
from sparse_transfer_api.results import Artifact, Resolved, Results

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)

DIGESTS: Mapping[Stage, dict[str, str]] = {
    Stage.PREPARE: {"data": "d", "model": "m", "recipe": "r"},
    Stage.TRAIN: {"weights": "w"},
    Stage.PACKAGE: {"deployment": "p"},
}


def at(seconds: float) -> datetime:
    """Returns a time so many seconds after noon."""
    return NOON + timedelta(seconds=seconds)


def digests(stage: Stage | str, level: float | None = None) -> dict[str, str]:
    """Returns what a stage records; levels of one band come to the same model."""
    found = DIGESTS[Stage(stage)]
    if level is None or stage != Stage.PREPARE:
        return found
    return {**found, "model": band_of(level).name}


def level_results(level: float) -> Results:
    """Returns what a level comes to: the higher, the less accurate, the faster and the smaller."""
    latency = 10.0 - 8 * level
    point = {"name": "onnxruntime", "batch": 1, "version": "1", "isa": "AVX512", "threads": 2}
    measured = {**point, "denseLatencyMs": 10.0, "latencyMs": latency, "speedup": 10 / latency}
    found = results(recovery=round(1 - level / 10, 4), speedup=10 / latency)
    document = found.model_dump(mode="json", by_alias=True)
    size = 1000 - round(900 * level)
    return Results.model_validate({**document, "sizeBytes": size, "engines": [measured]})


def results(recovery: float = 0.98, speedup: float = 3.0) -> Results:
    return Results.model_validate(
        {
            "metric": {"name": "accuracy", "value": 0.9, "samples": 100, "split": "test"},
            "recovery": recovery,
            "sparsity": 0.8,
            "zeroShare": 0.7,
            "sizeBytes": 10,
            "compressedSizeBytes": 5,
            "denseSizeBytes": 40,
            "headline": {"engine": "onnxruntime", "batch": 1, "speedup": speedup},
            "recommended": {"file": "model.onnx", "engine": "onnxruntime", "reason": "fastest"},
        }
    )


def succeeded(stage: Stage | str, key: str, **more: Any) -> StageResult:
    """Returns what a stage hands over when it succeeds."""
    stage = Stage(stage)
    found: dict[str, Any] = {
        "manifest_uri": f"s3://bucket/runs/{stage}-{key}/manifest.json",
        "digests": DIGESTS[stage],
        "message": f"{stage} is done",
    }
    if stage is Stage.PREPARE:
        found["resolved"] = Resolved(model="catalog:small", recipe="packaged", settings={"e": 3})
    if stage is Stage.PACKAGE:
        found["results"] = results()
        found["artifacts"] = [Artifact(name="deployment", uri="s3://bucket/runs/deployment")]
    return StageResult(
        stage=stage, key=key, outcome="Succeeded", reason="Completed", **(found | more)
    )
