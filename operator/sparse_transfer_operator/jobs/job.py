"""The Job: how often its pod is tried, what its failures mean, and whose it is."""

from __future__ import annotations

from typing import Any

from sparse_transfer_api.contract import (
    API_VERSION,
    KIND,
    LABEL_EXPERIMENT,
    LABEL_LEVEL,
    RUNNER_CONTAINER,
    ExitCode,
    Stage,
)
from sparse_transfer_api.errors import InputError, Problem
from sparse_transfer_api.search import at_level
from sparse_transfer_api.spec import Metadata, SparseTransferExperiment, StageTemplate
from sparse_transfer_api.template import merged, stage_template
from sparse_transfer_operator.actions import CreateJob
from sparse_transfer_operator.names import job_name, labels
from sparse_transfer_operator.settings import OperatorSettings

from .pod import pod_spec
from .progress_access import ProgressAccess

Json = dict[str, Any]

FATAL = (ExitCode.USAGE, ExitCode.INPUT, ExitCode.MEMORY, ExitCode.ACCESS, ExitCode.VANISHED)
"""The runner's exit codes after which another attempt cannot succeed."""

_OWN_LABELS = LABEL_EXPERIMENT.partition("/")[0] + "/"


def build(
    experiment: SparseTransferExperiment,
    order: CreateJob,
    settings: OperatorSettings,
    progress: ProgressAccess | None,
) -> Json:
    """Returns the whole manifest of a stage's Job.

    Args:
        experiment: As the API server has it, with its UID, and with the output place that the
            settings may have given it.
        order: Which Job.
        settings: The operator's.
        progress: How the pod reaches the endpoint for progress; None where there is none.

    Raises:
        InputError: A template takes what the contract needs, an address names no claim, or the
            experiment is larger than the contract allows.
    """
    if order.level is not None:
        experiment = at_level(experiment, order.level)
    template = _template(experiment, order, settings)
    own = labels(
        experiment.metadata.name, order.stage, order.key, recorded_only=order.recorded_only
    )
    if order.level is not None:
        own[LABEL_LEVEL] = f"{order.level:g}"
    passed = _passed(experiment.metadata, settings)
    queued = settings.queue_label in experiment.metadata.labels
    deadline = order.active_deadline_seconds
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": job_name(
                experiment.metadata.name,
                order.stage,
                order.key,
                recorded_only=order.recorded_only,
            ),
            "namespace": experiment.metadata.namespace,
            "labels": {**passed, **own},
            "ownerReferences": [_owner(experiment.metadata)],
        },
        "spec": {
            # A queue manager admits only what was made suspended.
            "suspend": order.suspended or queued,
            "completions": 1,
            "parallelism": 1,
            "backoffLimit": experiment.spec.run_policy.backoff_limit,
            **({} if deadline is None else {"activeDeadlineSeconds": deadline}),
            # The next pod starts when the last one has let go of its attempt, and of its node.
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": _failure_policy(),
            "template": {
                "metadata": {
                    "labels": {**passed, **own, **_checked_labels(template)},
                    "annotations": {
                        "kubectl.kubernetes.io/default-container": RUNNER_CONTAINER,
                        **template.annotations,
                    },
                },
                "spec": pod_spec(experiment, order, settings, template, progress),
            },
        },
    }


def _template(
    experiment: SparseTransferExperiment, order: CreateJob, settings: OperatorSettings
) -> StageTemplate:
    """Returns how the pod shall look; one that only reads a record looks as prepare's does."""
    stage = Stage.PREPARE if order.recorded_only else order.stage
    layers = [settings.template, getattr(settings.stages, stage.value)]
    return stage_template(experiment.spec, stage, merged(layers))


def _owner(metadata: Metadata) -> Json:
    if metadata.uid is None:
        raise ValueError(f"{metadata.name}: has no UID, so that nothing can be owned by it")
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": metadata.name,
        "uid": metadata.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def _passed(metadata: Metadata, settings: OperatorSettings) -> dict[str, str]:
    # Without its own label a queue manager would not know the Job, and it would not be queued.
    names = (*settings.passed_labels, settings.queue_label)
    return {name: metadata.labels[name] for name in names if name in metadata.labels}


def _checked_labels(template: StageTemplate) -> dict[str, str]:
    """Returns the labels that a template gives its pods; those that pods are found by stay ours."""
    problems = [
        Problem(f"labels.{name}", "is the operator's own; remove it from the template's or stage's")
        for name in template.labels
        if name.startswith(_OWN_LABELS)
    ]
    if problems:
        raise InputError("the template's labels cannot be used", problems)
    return template.labels


def _failure_policy() -> Json:
    """Returns what failures of the pod mean; the first rule that fits counts."""
    return {
        "rules": [
            {
                "action": "Ignore",
                "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
            },
            {
                "action": "FailJob",
                "onExitCodes": {
                    "containerName": RUNNER_CONTAINER,
                    "operator": "In",
                    "values": sorted(int(code) for code in FATAL),
                },
            },
        ]
    }
