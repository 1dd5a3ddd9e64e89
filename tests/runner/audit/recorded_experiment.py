"""A finished experiment as its stages record it, with small files in the place of models."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sparse_transfer_api.contract import MANIFEST, PLAN, TEACHER_FOLDER, Stage
from sparse_transfer_api.keys import planned_digests, planned_teacher_key, stage_key
from sparse_transfer_api.records import (
    Manifest,
    ModelSource,
    Plan,
    SplitInfo,
    StageResult,
    TrainingSettings,
)
from sparse_transfer_api.results import Artifact, Headline, MetricResult, Recommended, Results
from sparse_transfer_api.spec import SparseTransferSpec, parse_experiment
from sparse_transfer_runner.digests import digest_of_tree, sha256_of
from sparse_transfer_runner.output import Attempt, StageFolder
from sparse_transfer_runner.provenance import stage_provenance
from sparse_transfer_runner.storage.protocol import Place

EXPERIMENT = parse_experiment(
    {
        "apiVersion": "sparsetransfer.dev/v1alpha1",
        "kind": "SparseTransferExperiment",
        "metadata": {"name": "film-reviews"},
        "spec": {"useCase": "sentiment", "data": {"uri": "s3://bucket/reviews/"}},
    },
    "test",
)
_SETTINGS = TrainingSettings(epochs=1.5, learning_rate=1e-4, batch_size=8, seed=0, recipe="{}")


@dataclass(frozen=True)
class Written:
    """The folders of a finished experiment by their stages' names."""

    prepare: StageFolder
    teacher: StageFolder
    train: StageFolder
    package: StageFolder

    def folder(self, stage: str) -> Path:
        """Returns where a stage's folder lies on this machine."""
        return Path(getattr(self, stage).place.folder)

    def edit(self, stage: str, change: Mapping[str, Any]) -> None:
        """Changes a manifest behind the back of everybody: dotted paths lead to new values."""
        path = self.folder(stage) / MANIFEST
        document = json.loads(path.read_bytes())
        for dotted, value in change.items():
            *parents, last = dotted.split(".")
            part = document
            for name in parents:
                part = part[int(name)] if isinstance(part, list) else part[name]
            part[last] = value
        path.write_text(json.dumps(document))


def write_results(root: Place, spec: SparseTransferSpec = EXPERIMENT.spec) -> Written:
    """Writes everything as a run does, below ``ROOT/default/film-reviews``.

    Args:
        root: The output place.
        spec: What the stages' keys follow from.
    """
    above = root.below("default").below("film-reviews")
    plan = _plan()
    digests = planned_digests(plan)
    prepare = _folder(above, Stage.PREPARE, stage_key(spec, Stage.PREPARE, None, {}))
    with prepare.attempt() as work:
        (work.path / PLAN).write_bytes(plan.to_json())
        _complete(work, {}, digests)
    earlier = {str(Stage.PREPARE): prepare}
    teacher = _folder(above, TEACHER_FOLDER, plan.teacher_key or "")
    with teacher.attempt() as work:
        _write_model(work)
        _complete(work, earlier, None)
    train = _folder(above, Stage.TRAIN, stage_key(spec, Stage.TRAIN, prepare.key, digests))
    with train.attempt() as work:
        _write_model(work)
        (work.path / "masks.safetensors").write_bytes(b"masks")
        weights = {
            "weights": digest_of_tree(work.path / "model"),
            "masks": sha256_of(work.path / "masks.safetensors"),
        }
        _complete(work, earlier, weights)
    earlier |= {str(Stage.TRAIN): train, TEACHER_FOLDER: teacher}
    key = stage_key(spec, Stage.PACKAGE, train.key, weights)
    package = _folder(above, Stage.PACKAGE, key)
    with package.attempt() as work:
        _package(work, earlier)
    return Written(prepare, teacher, train, package)


def write_unfinished(root: Place) -> StageFolder:
    """Writes what an attempt at train leaves that was killed."""
    above = root.below("default").below("film-reviews")
    folder = _folder(above, Stage.TRAIN, "a" * 10)
    folder.place.create("attempts/1.json", b"{}")
    folder.place.create("attempts/2.json", b"{}")
    folder.place.create("checkpoints/step-1.safetensors", b"checkpoint")
    return folder


def _folder(above: Place, stage: str, key: str) -> StageFolder:
    return StageFolder(above.below(f"{stage}-{key}"), str(stage), key)


def _write_model(work: Attempt) -> None:
    model = work.path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_bytes(bytes(range(256)) * 40)


def _package(work: Attempt, earlier: Mapping[str, StageFolder]) -> None:
    deployment = work.path / "deployment"
    deployment.mkdir()
    (deployment / "model.onnx").write_bytes(b"onnx")
    (work.path / "report.html").write_text("<html>")
    shipped = deployment / "model.onnx"
    artifacts = [
        Artifact(name="deployment", uri=f"{work.uri}/deployment"),
        Artifact(
            name="model-onnxruntime",
            uri=f"{work.uri}/deployment/model.onnx",
            sha256=sha256_of(shipped),
            size_bytes=4,
        ),
    ]
    _complete(
        work,
        earlier,
        {"shipped": sha256_of(shipped)},
        results=_results(),
        artifacts=artifacts,
        more={"engines": {"onnxruntime": "1"}, "isa": "avx2"},
    )


def _complete(
    work: Attempt,
    earlier: Mapping[str, StageFolder],
    digests: dict[str, str] | None,
    *,
    results: Results | None = None,
    artifacts: list[Artifact] | None = None,
    more: Mapping[str, Any] | None = None,
) -> None:
    result = None
    if digests is not None:
        result = StageResult(
            stage=Stage(work.stage),
            key=work.key,
            outcome="Succeeded",
            reason="Completed",
            manifest_uri=f"{work.uri}/{MANIFEST}",
            digests=digests,
        )
    made = stage_provenance(EXPERIMENT, earlier, None if earlier else digests)
    work.complete(
        Manifest(
            stage=work.stage,
            key=work.key,
            created=datetime.now(UTC),
            files=[],
            result=result,
            results=results,
            artifacts=artifacts or [],
            provenance={**made, **(more or {})},
        )
    )


def _results() -> Results:
    return Results(
        metric=MetricResult(name="accuracy", baseline=0.8, value=0.79, samples=10, split="test"),
        recovery=0.9875,
        sparsity=0.8,
        zero_share=0.5,
        size_bytes=4,
        compressed_size_bytes=4,
        dense_size_bytes=16,
        headline=Headline(engine="onnxruntime", batch=1),
        recommended=Recommended(
            file="deployment/model.onnx", engine="onnxruntime", reason="the only one"
        ),
    )


def _plan() -> Plan:
    dense = ModelSource(
        uri="file:///dense",
        digest="b" * 64,
        format="huggingface-safetensors",
        architecture="BertModel",
        sparsity=0,
        parameters=1,
    )
    plan = Plan(
        use_case="nlp-sentiment_analysis",
        level=0.5,
        band="MediumSparseInt8",
        problem_type="single_label_classification",
        columns={"text": ["text"]},
        labels=["negative", "positive"],
        splits=[SplitInfo(name="train", file="train.csv", samples=10, digest="c" * 64)],
        evaluation_split="test",
        choice_split="val",
        data_digest="d" * 64,
        model=dense.model_copy(update={"digest": "e" * 64, "sparsity": 0.8}),
        dense=dense,
        quantize=True,
        training=_SETTINGS,
        baseline=_SETTINGS,
        total_steps=1,
        expected_memory_bytes=1,
    )
    return plan.model_copy(update={"teacher_key": planned_teacher_key(plan)})
