"""Names of what the operator makes in a cluster: Jobs, their labels, and field managers."""

from __future__ import annotations

from sparse_transfer_api.contract import (
    ANNOTATION_RETRY,
    LABEL_EXPERIMENT,
    LABEL_KEY,
    LABEL_RECORDED_ONLY,
    LABEL_STAGE,
    Stage,
)

__all__ = [
    "ANNOTATION_RETRY",
    "FIELD_MANAGER",
    "LABEL_EXPERIMENT",
    "LABEL_KEY",
    "LABEL_RECORDED_ONLY",
    "LABEL_STAGE",
    "MANAGED_BY",
    "PROGRESS_FIELD_MANAGER",
    "job_name",
    "labels",
]

FIELD_MANAGER = "sparse-transfer-operator"
"""Of all fields of the status but ``progress``."""
PROGRESS_FIELD_MANAGER = f"{FIELD_MANAGER}-progress"
"""Of ``status.progress``, and of nothing else."""
MANAGED_BY = FIELD_MANAGER
"""The value of ``app.kubernetes.io/managed-by`` on Jobs and pods."""

_RECORDED = "r"


def job_name(experiment: str, stage: Stage, key: str, *, recorded_only: bool = False) -> str:
    """Returns the name of a stage's Job: at most 61 characters, so that it fits a label's value.

    Keys hold no hyphen, so that no two Jobs of a namespace can meet under one name.

    Args:
        experiment: The experiment's name, at most 40 characters.
        stage: The stage.
        key: Its key, 10 characters.
        recorded_only: The Job that only returns the recorded result has a name of its own.
    """
    name = f"{experiment}-{stage}-{key}"
    return f"{name}-{_RECORDED}" if recorded_only else name


def labels(
    experiment: str, stage: Stage, key: str, *, recorded_only: bool = False
) -> dict[str, str]:
    """Returns the labels of a stage's Job and of its pods."""
    found = {
        LABEL_EXPERIMENT: experiment,
        LABEL_STAGE: stage.value,
        LABEL_KEY: key,
        "app.kubernetes.io/name": "sparse-transfer-runner",
        "app.kubernetes.io/instance": experiment,
        "app.kubernetes.io/component": stage.value,
        "app.kubernetes.io/part-of": "sparse-transfer",
        "app.kubernetes.io/managed-by": MANAGED_BY,
    }
    return {**found, LABEL_RECORDED_ONLY: "true"} if recorded_only else found
