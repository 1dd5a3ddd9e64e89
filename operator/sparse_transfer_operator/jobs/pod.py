"""The pod: the runner's container, and where and with which rights it runs."""

from __future__ import annotations

from typing import Any

from sparse_transfer_api.contract import RUNNER_CONTAINER
from sparse_transfer_api.spec import SparseTransferExperiment, StageTemplate
from sparse_transfer_operator.actions import CreateJob
from sparse_transfer_operator.settings import OperatorSettings

from .environment import env_from, environment
from .image import runner_image
from .mounts import mounted
from .progress_access import ProgressAccess
from .resources import resources
from .security import container_security, pod_security

Json = dict[str, Any]


def pod_spec(
    experiment: SparseTransferExperiment,
    order: CreateJob,
    settings: OperatorSettings,
    template: StageTemplate,
    progress: ProgressAccess | None,
) -> Json:
    """Returns the spec of a stage's pod.

    Args:
        experiment: The experiment.
        order: Which Job the pod is of.
        settings: The operator's.
        template: How the pod shall look, all layers merged.
        progress: How it reaches the endpoint for progress.

    Raises:
        InputError: As ``build`` says.
    """
    volumes = mounted(experiment.spec, settings, template, with_progress=progress)
    image = runner_image(experiment.spec, settings)
    container = {
        "name": RUNNER_CONTAINER,
        "image": image,
        "imagePullPolicy": settings.image_pull_policy,
        "args": [order.stage.value, *(["--recorded-only"] if order.recorded_only else [])],
        "env": environment(experiment, order, settings, template, progress),
        **env_from(experiment.spec),
        "resources": resources(experiment.spec, order, template),
        "securityContext": container_security(template),
        "volumeMounts": volumes.mounts,
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
    }
    return {
        "restartPolicy": "Never",
        # Whatever speaks to the API server in a pod is not this project's; the token for progress
        # and those of workload identities are volumes of their own.
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": template.termination_grace_period_seconds,
        "securityContext": pod_security(template),
        **_placement(template),
        "containers": [container],
        "volumes": volumes.volumes,
    }


def _placement(template: StageTemplate) -> Json:
    """Returns where and as whom the pod runs, as far as anybody says."""
    said: Json = {
        "serviceAccountName": template.service_account_name,
        "nodeSelector": template.node_selector,
        "tolerations": [each.to_json_dict() for each in template.tolerations],
        "affinity": template.affinity,
        "priorityClassName": template.priority_class_name,
        "runtimeClassName": template.runtime_class_name,
        "schedulerName": template.scheduler_name,
        "imagePullSecrets": [each.to_json_dict() for each in template.image_pull_secrets],
    }
    return {name: value for name, value in said.items() if value}
