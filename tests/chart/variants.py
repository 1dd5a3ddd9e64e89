"""Ways to install the operator, by what they are about: values of the chart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_FROM_MONITORING = {
    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}
}

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "as it stands": {},
    "two replicas": {"replicas": 2},
    "two namespaces": {"namespaces": ["team-a", "team-b"]},
    "no progress": {"settings": {"progress": {"enabled": False}}},
    "other ports": {"settings": {"httpPort": 9090, "progress": {"port": 9443}}},
    "other names": {"fullnameOverride": "trainer", "serviceAccount": {"name": "trainer-account"}},
    "rights made by others": {
        "rbac": {"create": False, "aggregate": False},
        "serviceAccount": {"create": False, "name": "given"},
        "crds": {"install": False},
    },
    "pinned images from a private registry": {
        "image": {"repository": "registry:5000/operator", "digest": "sha256:" + "0" * 64},
        "runner": {"image": {"repository": "registry:5000/runner", "tag": "1.2.3"}},
        "imagePullSecrets": [{"name": "pull"}],
        "settings": {"template": {"imagePullSecrets": [{"name": "pull"}]}},
    },
    "everything about the pod": {
        "podLabels": {"team": "ml"},
        "podAnnotations": {"note": "kept"},
        "priorityClassName": "system-cluster-critical",
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "control", "operator": "Exists", "effect": "NoSchedule"}],
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [
                        {"matchExpressions": [{"key": "gpu", "operator": "DoesNotExist"}]}
                    ]
                }
            }
        },
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "topology.kubernetes.io/zone",
                "whenUnsatisfiable": "DoNotSchedule",
            }
        ],
        "serviceAccount": {"annotations": {"note": "kept"}},
        "metrics": {"service": {"annotations": {"note": "kept"}}},
        "resources": {"requests": {"cpu": 1, "memory": "256Mi"}, "limits": {"memory": "1Gi"}},
    },
    "a network policy for everybody": {"networkPolicy": {"enabled": True}},
    "a tight network policy": {
        "networkPolicy": {
            "enabled": True,
            "metricsFrom": [_FROM_MONITORING],
            "apiServerAddresses": ["10.0.0.1/32"],
            "apiServerPorts": [6443],
        }
    },
    "user ids chosen by the platform": {
        "podSecurityContext": {"runAsUser": None, "runAsGroup": None}
    },
    "settings in full": {
        "settings": {
            "output": {"uri": "s3://bucket/runs/"},
            "catalog": "s3://bucket/catalog.yaml",
            "template": {
                "serviceAccountName": "runner",
                "env": [{"name": "AWS_REGION", "value": "eu-central-1"}],
                "tolerations": [{"key": "nvidia.com/gpu", "tolerationSeconds": 1_000_000}],
            },
            "stages": {"train": {"resources": {"limits": {"nvidia.com/gpu": 1}}}},
            "passedLabels": ["kueue.x-k8s.io/queue-name"],
            "queueLabel": "kueue.x-k8s.io/queue-name",
            "progress": {"intervalSeconds": 10, "writesPerSecond": 5},
            "lease": {"durationSeconds": 30, "renewDeadlineSeconds": 20, "retrySeconds": 5},
            "resyncSeconds": 1_000_000,
        }
    },
}

MONITORED: Mapping[str, Any] = {
    "metrics": {
        kind: {
            "enabled": True,
            "labels": {"release": "prometheus"},
            "interval": "30s",
            "relabelings": [{"action": "labeldrop", "regex": "pod"}],
            "metricRelabelings": [{"action": "drop", "regex": "python_.*"}],
        }
        for kind in ("serviceMonitor", "podMonitor")
    }
}
"""With objects of the Prometheus operator, whose definitions Kubernetes has not."""
