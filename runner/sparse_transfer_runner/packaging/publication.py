"""What the finished stage tells others: learning curves, manifest, artifacts, one sentence."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sparse_transfer_api.contract import TEACHER_FOLDER, Stage
from sparse_transfer_api.records import Manifest
from sparse_transfer_api.results import Artifact, Results
from sparse_transfer_runner.digests import sha256_of
from sparse_transfer_runner.provenance import stage_provenance
from sparse_transfer_runner.stages.context import StageContext
from sparse_transfer_runner.training.outputs import HISTORY

from .evaluation import Evaluation, HistoryPoint
from .files import DEPLOYMENT
from .remeasure import EVALUATION

REPORT = "report.html"


def learning_curves(context: StageContext) -> list[HistoryPoint]:
    """Returns the learning curves of the baseline and of the transfer."""
    points: dict[str, HistoryPoint] = {}
    for name in (TEACHER_FOLDER, Stage.TRAIN):
        folder = context.earlier.get(name)
        if folder is not None and (folder.path / HISTORY).is_file():
            for point in json.loads((folder.path / HISTORY).read_bytes()):
                # At level 0 train's curve is the baseline's own.
                points[json.dumps(point)] = HistoryPoint.model_validate(point)
    return list(points.values())


def provisional_manifest(
    context: StageContext, results: Results, made_with: dict[str, Any], licences: dict[str, str]
) -> Manifest:
    """Returns the manifest as far as it is known before the last file is written."""
    return Manifest(
        stage=Stage.PACKAGE,
        key=context.work.key,
        created=datetime.now(UTC),
        files=[],
        results=results,
        provenance={
            **stage_provenance(context.experiment, context.earlier),
            **made_with,
        },
        licences=licences,
    )


def artifacts(
    root: Path, uri: str, evaluation: Evaluation, results: Results
) -> tuple[Artifact, ...]:
    """Returns what users take away: the deployment folder and the single files that matter.

    Args:
        root: Where the files are now.
        uri: Where they will be.
        evaluation: Names the files.
        results: Name the recommended one.
    """
    recommended = results.recommended.file
    files = {"report": REPORT, "evaluation": EVALUATION}
    files |= {f"model-{file.engine}": file.path for file in evaluation.files if file.shipped}
    if recommended not in files.values():
        files["recommended"] = recommended
    return (
        Artifact(name="deployment", uri=f"{uri}/{DEPLOYMENT}"),
        *(
            Artifact(
                name=name,
                uri=f"{uri}/{path}",
                sha256=sha256_of(root / path),
                size_bytes=(root / path).stat().st_size,
            )
            for name, path in files.items()
        ),
    )


def shipped_digest(root: Path, evaluation: Evaluation) -> str:
    """Returns the digest of the first target's shipped file."""
    return next(sha256_of(root / file.path) for file in evaluation.files if file.shipped)


def summary(results: Results) -> str:
    """Returns the outcome in one sentence."""
    head = results.headline
    recovery = "unknown" if results.recovery is None else f"{results.recovery:.4f}"
    return (
        f"recovery {recovery}, {head.speedup:.2f} times as fast as the dense model on "
        f"{head.engine}, sparsity {results.sparsity:.4f}"
    )
