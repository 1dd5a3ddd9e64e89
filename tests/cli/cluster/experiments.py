"""Experiments as an API server returns them, in every state that matters."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sparse_transfer_cli.cluster.observed import Observed, observed

Document = dict[str, Any]

NOW = datetime(2026, 11, 25, 12, 0, 0, tzinfo=UTC)
PACKAGE = "s3://team-runs/ml/film-reviews/package-pppppppppp"

RESULTS: Document = {
    "metric": {
        "name": "accuracy",
        "baseline": 0.84,
        "value": 0.82,
        "samples": 3000,
        "split": "test",
        "interval": {"low": 0.965, "high": 0.99},
    },
    "recovery": 0.9762,
    "sparsity": 0.8,
    "zeroShare": 0.5,
    "sizeBytes": 23_000_000,
    "compressedSizeBytes": 12_000_000,
    "denseSizeBytes": 91_000_000,
    "denseCompressedSizeBytes": 83_000_000,
    "headline": {
        "engine": "onnxruntime",
        "batch": 1,
        "sequence": 128,
        "speedup": 2.0,
        "speedupVsFp32": 2.1,
        "speedupVsDenseInt8": 1.01,
    },
    "recommended": {
        "file": "deployment/dense-int8.onnx",
        "engine": "onnxruntime",
        "reason": "sparse is not faster here",
    },
    "engines": [
        {
            "name": "onnxruntime",
            "version": "1.26",
            "isa": "AVX2",
            "threads": 2,
            "batch": 1,
            "sequence": 128,
            "denseLatencyMs": 11.7,
            "latencyMs": 5.85,
            "speedup": 2.0,
            "speedupVsFp32": 2.1,
            "speedupVsDenseInt8": 1.01,
            "notes": ["sparsity brings no time here"],
        }
    ],
}


def at(minutes: float) -> str:
    """Returns the time so many minutes before now, as the API writes it."""
    stamp = datetime.fromtimestamp(NOW.timestamp() - 60 * minutes, UTC)
    return stamp.strftime("%Y-%m-%dT%H:%M:%SZ")


def document(status: Document | None = None, **fields: Any) -> Document:
    """Returns an experiment of ten minutes ago.

    Args:
        status: What the operator said.
        fields: ``spec`` (added to a minimal one), and those of the metadata.
    """
    spec = {
        "useCase": "sentiment-analysis",
        "data": {"uri": "s3://team-data/reviews/"},
        **fields.pop("spec", {}),
    }
    metadata = {
        "name": "film-reviews",
        "namespace": "ml",
        "uid": "11111111-2222-3333-4444-555555555555",
        "generation": 1,
        "resourceVersion": "100",
        "creationTimestamp": at(10),
        **fields,
    }
    found = {
        "apiVersion": "sparsetransfer.dev/v1alpha1",
        "kind": "SparseTransferExperiment",
        "metadata": metadata,
        "spec": spec,
    }
    return {**found, "status": status} if status is not None else found


def seen(status: Document | None = None, **fields: Any) -> Observed:
    """Returns the same as the command line reads it."""
    return observed(document(status, **fields))


def condition(kind: str, status: str, reason: str, message: str = "") -> Document:
    """Returns a condition."""
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": at(5),
    }


def conditions(
    reason: str, message: str = "", *, done: Sequence[str] = (), ready: bool, **true: bool
) -> list[Document]:
    """Returns the conditions as the operator writes them.

    Args:
        reason: Of where the experiment stands.
        message: The same for people.
        done: Conditions of stages that are done.
        ready: Whether Ready holds.
        true: Others that hold, by their type.
    """
    found = []
    reached = True
    for kind in ("Prepared", "Trained", "Packaged"):
        if kind in done:
            found.append(condition(kind, "True", "Completed"))
        elif reached:
            found.append(condition(kind, "False", reason, message))
            reached = False
        else:
            found.append(condition(kind, "False", "Waiting", "waits for the stages before"))
    found.append(condition("Complete", str("Complete" in true), reason, message))
    for kind in ("Failed", "Suspended", "Reconciling", "Stalled"):
        told = (reason, message) if kind in true else ("InProgress", "")
        found.append(condition(kind, str(kind in true), *told))
    return [*found, condition("Ready", str(ready), reason, message)]


def stage(name: str, outcome: str | None = None, **fields: Any) -> Document:
    """Returns how a stage went; one that ended took a minute and a half."""
    found: Document = {"name": name, "key": name[0] * 10, "attempt": 1, "disruptions": 0}
    if outcome is not None:
        found |= {"outcome": outcome, "startTime": at(8)}
    if outcome in ("Succeeded", "Failed", "Stopped"):
        found["completionTime"] = at(6.5)
    if outcome == "Succeeded":
        found["reason"] = "Completed"
        found["manifestUri"] = f"s3://team-runs/ml/film-reviews/{name}-{name[0] * 10}/manifest.json"
    return {**found, **fields}


RESOLVED: Document = {
    "useCase": "nlp-sentiment_analysis",
    "level": 0.5,
    "band": "MediumSparseInt8",
    "model": "hf://neuralmagic/minilm",
    "recipe": "builtin",
    "digests": {"data": "d" * 64, "model": "e" * 64},
}


def queued() -> Document:
    """Returns a status: nothing runs yet, because of a queue manager."""
    why = "Job film-reviews-prepare-pppppppppp waits to be admitted by its queue manager"
    return {
        "observedGeneration": 1,
        "phase": "Queued",
        "conditions": conditions("Queued", why, ready=True),
        "stages": [stage("prepare", reason="Queued", message=why)],
    }


def training(percentage: float = 45, **fields: Any) -> Document:
    """Returns a status: prepare is done, train runs and reports."""
    return {
        "observedGeneration": 1,
        "phase": "Training",
        "conditions": conditions("Running", done=["Prepared"], ready=True),
        "stages": [stage("prepare", "Succeeded"), stage("train", "Running")],
        "resolved": RESOLVED,
        "progress": {
            "stage": "train",
            "activity": "transfer",
            "step": 450,
            "totalSteps": 1000,
            "percentage": percentage,
            "estimatedRemainingSeconds": 190,
            "lastUpdatedTime": at(0.1),
            "metrics": {"loss": 0.25},
        },
        **fields,
    }


def succeeded(**fields: Any) -> Document:
    """Returns a status: all is done, with results."""
    return {
        "observedGeneration": 1,
        "phase": "Succeeded",
        "conditions": conditions(
            "Completed",
            "recovery 0.9762, speed-up 2.00",
            done=["Prepared", "Trained", "Packaged"],
            ready=True,
            Complete=True,
        ),
        "stages": [stage(name, "Succeeded") for name in ("prepare", "train", "package")],
        "resolved": RESOLVED,
        "results": RESULTS,
        "artifacts": [
            {
                "name": "deployment",
                "uri": f"{PACKAGE}/deployment",
                "sizeBytes": 24_000_000,
            },
            {"name": "report", "uri": f"{PACKAGE}/report.html", "sha256": "a" * 64},
        ],
        **fields,
    }


def failed(reason: str, message: str = "", **fields: Any) -> Document:
    """Returns a status: train failed for a reason."""
    return {
        "observedGeneration": 1,
        "phase": "Failed",
        "conditions": conditions(
            reason, message, done=["Prepared"], ready=False, Failed=True, Stalled=True
        ),
        "stages": [
            stage("prepare", "Succeeded"),
            stage("train", "Failed", reason=reason, message=message),
        ],
        **fields,
    }


def missed() -> Document:
    """Returns a status: all ran, and the results miss what was asked for."""
    return {**succeeded(), **_ended_with("AcceptanceMissed", "speed-up at the headline is 2")}


def _ended_with(reason: str, message: str) -> Document:
    ended = failed(reason, message)
    return {"phase": "Failed", "conditions": ended["conditions"]}


def level(
    number: float, outcome: str | None, recovery: float | None = None, **fields: Any
) -> Document:
    """Returns how a level of a search went; one with a recovery came to a result."""
    found: Document = {"level": number, "band": "MediumSparseInt8"}
    if outcome is not None:
        found["outcome"] = outcome
    if recovery is not None:
        point = {**RESULTS["engines"][0], "latencyMs": 10 - 8 * number}
        found["results"] = {**RESULTS, "recovery": recovery, "engines": [point]}
        found |= {"latencyMs": 10 - 8 * number, "pareto": True}
        found["stages"] = [stage(name, "Succeeded") for name in ("prepare", "train", "package")]
    return {**found, **fields}


def searching() -> Document:
    """Returns a status: of three levels one is done, one is trained, and one waits."""
    search = {
        "summary": "1 of 3",
        "message": "level 0.6 (2 of 3) is tried",
        "levels": [
            level(0.3, "Succeeded", 0.99),
            level(0.6, "Running", stages=_keyed(training()["stages"], "b")),
            level(0.9, None, reason="WaitingForTurn", stages=_keyed([stage("prepare")], "c")),
        ],
    }
    stages = _keyed(training()["stages"], "b")
    return training(search=search, stages=stages, resolved={**RESOLVED, "level": 0.6})


def searched(selected: float | None = 0.6, message: str = "level 0.6 is kept") -> Document:
    """Returns a status: all levels have ended, and one is kept."""
    levels = [
        level(0.3, "Succeeded", 0.99),
        level(0.6, "Succeeded", 0.97),
        level(0.7, "Skipped", sameAs=0.6, message="comes to the same model and recipe"),
        level(0.9, "Failed", reason="OutOfMemory", message="too large"),
    ]
    search = {"summary": "4 of 4", "message": message, "levels": levels}
    if selected is not None:
        search["selected"] = selected
    results = {**RESULTS, "recovery": 0.97}
    return succeeded(search=search, results=results, resolved={**RESOLVED, "level": 0.6})


def _keyed(stages: Sequence[Document], letter: str) -> list[Document]:
    return [{**each, "key": each["name"][0] * 9 + letter} for each in stages]
