"""Rights inside the node: what the Pod Security Standard *restricted* asks for.

The container's own settings keep it, so that a ``podSecurityContext``, which replaces the pod's as
a whole, cannot lose it unawares. An empty one leaves the choice of user to the cluster, as
OpenShift wants it.
"""

from __future__ import annotations

from typing import Any

from sparse_transfer_api.contract import RUNNER_UID
from sparse_transfer_api.spec import PodTemplate

Json = dict[str, Any]

_SECCOMP = "seccompProfile"
_NOT_ROOT = "runAsNonRoot"


def pod_security(template: PodTemplate) -> Json:
    """Returns the pod's security context: the template's, else the image's own user and group."""
    if template.pod_security_context is not None:
        return template.pod_security_context
    return {
        _NOT_ROOT: True,
        "runAsUser": RUNNER_UID,
        "runAsGroup": RUNNER_UID,
        "fsGroup": RUNNER_UID,
        # Claims may hold millions of files.
        "fsGroupChangePolicy": "OnRootMismatch",
        _SECCOMP: {"type": "RuntimeDefault"},
    }


def container_security(template: PodTemplate) -> Json:
    """Returns the container's security context; what the template says for the pod stands."""
    said = template.pod_security_context or {}
    return {
        _NOT_ROOT: said.get(_NOT_ROOT, True),
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        _SECCOMP: said.get(_SECCOMP, {"type": "RuntimeDefault"}),
    }
