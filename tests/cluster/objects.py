"""Small objects of a cluster, to run something on it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.cluster.access import Cluster
from tests.servers.processes import wait_until

Object = dict[str, Any]
_END_SECONDS = 120


def pod(name: str, image: str = "simulated", command: Sequence[str] = (), **spec: Any) -> Object:
    """Returns a pod of one container ``runner`` that is not started again.

    Args:
        name: Of the pod.
        image: One that is there; none is pulled.
        command: What it runs; the image's own by default.
        spec: Further fields of the pod's spec; those of the container in ``container``.
    """
    container = {
        "name": "runner",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "terminationMessagePolicy": "File",
        **({"command": list(command)} if command else {}),
        **spec.pop("container", {}),
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "containers": [container],
            **spec,
        },
    }


def job(
    name: str,
    template: Object,
    annotations: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    **spec: Any,
) -> Object:
    """Returns a Job that tries once.

    Args:
        name: Of the Job.
        template: A pod, as ``pod`` returns it.
        annotations: Of its pods.
        labels: Of its pods.
        spec: Further fields of the Job's spec.
    """
    metadata = {"annotations": dict(annotations or {}), "labels": dict(labels or {})}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {
            "backoffLimit": 0,
            "template": {"metadata": metadata, "spec": template["spec"]},
            **spec,
        },
    }


def ended_container(cluster: Cluster, namespace: str, selector: str) -> Object:
    """Waits for the end of the only pod that a selector finds; returns its container's."""
    found: list[Object] = []

    def ended() -> bool:
        pods = cluster.get("pods", f"--namespace={namespace}", f"--selector={selector}")["items"]
        found[:] = [
            status["state"]["terminated"]
            for each in pods
            if each["status"]["phase"] in ("Succeeded", "Failed")
            for status in each["status"]["containerStatuses"]
        ]
        return bool(found)

    wait_until(ended, f"the end of {selector}", _END_SECONDS)
    (state,) = found
    return state


def wait_for_condition(cluster: Cluster, namespace: str, what: str, condition: str) -> None:
    """Waits until an object such as ``job/a`` has a condition."""
    arguments = (f"--for=condition={condition}", f"--timeout={_END_SECONDS}s")
    cluster.kubectl("wait", what, f"--namespace={namespace}", *arguments)


def evict(cluster: Cluster, namespace: str, name: str) -> None:
    """Evicts a pod, as a drain of its node does."""
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": name, "namespace": namespace},
    }
    path = f"/api/v1/namespaces/{namespace}/pods/{name}/eviction"
    cluster.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))


def define(cluster: Cluster, definitions: Path) -> None:
    """Applies a kustomization of definitions, and waits until their objects are served."""
    chosen = ("-k", str(definitions))
    cluster.kubectl("apply", "--server-side", *chosen)
    wait_until_served(cluster, *cluster.kubectl("get", "--output=name", *chosen).stdout.split())


def wait_until_served(cluster: Cluster, *definitions: str) -> None:
    """Waits until the API server serves objects of definitions, given as ``KIND/NAME``."""

    def served() -> bool:
        # kubectl wait fails where there are no conditions yet; and what is established may still
        # be answered with 429 for a moment.
        found = [cluster.get(name) for name in definitions]
        conditions = [each.get("status", {}).get("conditions") or () for each in found]
        return all(map(_established, conditions)) and all(
            cluster.kubectl("get", name.partition("/")[2], check=False).returncode == 0
            for name in definitions
        )

    wait_until(served, f"what {', '.join(definitions)} defines", _END_SECONDS)


def _established(conditions: Sequence[Object]) -> bool:
    return any(each["type"] == "Established" and each["status"] == "True" for each in conditions)
