"""Random templates as users could write them, which Kubernetes takes."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

Json = dict[str, Any]

NAMES = st.from_regex("[a-z]([-a-z0-9]{0,12}[a-z0-9])?", fullmatch=True)
_LABEL_NAMES = st.sampled_from(["team", "example.com/cost-centre", "app.kubernetes.io/version"])
_LABEL_VALUES = st.from_regex("([A-Za-z0-9]([-A-Za-z0-9_.]{0,20}[A-Za-z0-9])?)?", fullmatch=True)
_LABELS = st.dictionaries(_LABEL_NAMES, _LABEL_VALUES)
_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
_SECONDS = st.integers(0, 10_000)

_ENV = st.lists(
    st.builds(
        lambda name, source: {"name": name, **source},
        st.sampled_from(["HOME", "HF_TOKEN", "AWS_REGION", "A", "PATH"]),
        st.builds(lambda text: {"value": text}, _TEXT)
        | st.just({})
        | st.just({"valueFrom": {"secretKeyRef": {"name": "s", "key": "k", "optional": True}}})
        | st.just({"valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}})
        | st.just({"valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}),
    ),
    unique_by=lambda each: each["name"],
    max_size=5,
)
_SOURCES = st.sampled_from(
    [
        {"emptyDir": {"sizeLimit": "1Gi"}},
        {"persistentVolumeClaim": {"claimName": "datasets", "readOnly": True}},
        {"secret": {"secretName": "s", "optional": True}},
        {"configMap": {"name": "c", "items": [{"key": "k", "path": "p"}]}},
        {"nfs": {"server": "nfs.example.com", "path": "/"}},
        {"csi": {"driver": "csi.example.com", "volumeAttributes": {"a": "b"}}},
    ]
)
_PATHS = st.sampled_from(["/scratch", "/tmp", "/dev/shm", "/mnt/pvc/data", "/data", "/a/b/"])


@st.composite
def _volumes(draw: st.DrawFn) -> Json:
    """Returns volumes, each mounted nowhere, once or more often, no path twice."""
    names = draw(st.lists(NAMES, unique=True, max_size=3))
    if not names:
        return {}
    paths = draw(st.lists(_PATHS, unique=True, max_size=4))
    return {
        "volumes": [{"name": name, **draw(_SOURCES)} for name in names],
        "volumeMounts": [
            {
                "name": draw(st.sampled_from(names)),
                "mountPath": path,
                "readOnly": draw(st.booleans()),
                **draw(st.sampled_from([{}, {"subPath": "a/b"}])),
            }
            for path in paths
        ],
    }


_TOLERATIONS = st.lists(
    st.sampled_from(
        [
            {"operator": "Exists"},
            {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
            {"key": "a", "operator": "Equal", "value": "b"},
            {"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5},
        ]
    ),
    unique_by=str,
    max_size=3,
)
_NODES = {
    "requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [
            {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}
        ]
    }
}
_SECURITY = st.sampled_from(
    [
        {},
        {"fsGroup": 2000, "supplementalGroups": [3000]},
        {"runAsUser": 1000, "runAsNonRoot": True},
        {"seccompProfile": {"type": "Localhost", "localhostProfile": "p.json"}},
    ]
)

TEMPLATES = st.builds(
    lambda fields, volumes: {**fields, **volumes},
    st.fixed_dictionaries(
        {},
        optional={
            "serviceAccountName": NAMES,
            "nodeSelector": _LABELS,
            "tolerations": _TOLERATIONS,
            "affinity": st.sampled_from([{"nodeAffinity": _NODES}, {}]),
            "priorityClassName": st.sampled_from(["system-node-critical"]),
            "schedulerName": NAMES,
            "imagePullSecrets": st.lists(
                st.builds(lambda name: {"name": name}, NAMES), unique_by=str, max_size=2
            ),
            "env": _ENV,
            "labels": _LABELS,
            "annotations": st.dictionaries(_LABEL_NAMES, _TEXT),
            "shmSize": st.sampled_from(["64Mi", 1 << 30, "1e9"]),
            "podSecurityContext": _SECURITY,
            "terminationGracePeriodSeconds": _SECONDS,
        },
    ),
    _volumes(),
)
"""What a template or a stage may say, all but resources."""

_AMOUNTS = {
    "cpu": st.sampled_from(["100m", 1, "2.5", 64]),
    "memory": st.sampled_from(["512Mi", "4Gi", "1e10", 1 << 36]),
    "ephemeral-storage": st.sampled_from(["1Gi", "200Gi"]),
}


@st.composite
def _resources(draw: st.DrawFn) -> Json:
    """Returns requests, or limits with devices: both of one resource could disagree."""
    which = draw(st.sampled_from(["requests", "limits"]))
    amounts = draw(st.fixed_dictionaries({}, optional=_AMOUNTS))
    if which == "limits" and draw(st.booleans()):
        amounts["nvidia.com/gpu"] = 1
    return {"resources": {which: amounts}}


SPECS = st.builds(
    lambda template, stage, resources, rest: {
        "template": template,
        "stages": {"train": {**stage, **resources}},
        **rest,
    },
    TEMPLATES,
    TEMPLATES,
    _resources(),
    st.fixed_dictionaries(
        {},
        optional={
            "image": st.just("registry.example.com/runner@sha256:" + "0" * 64),
            "data": st.sampled_from([{"uri": "pvc://data/x"}, {"uri": "hf://imdb"}]),
            "output": st.sampled_from([{"uri": "pvc://data/y"}, {"uri": "pvc://runs.v1"}]),
            "storage": st.sampled_from(
                [
                    {"cache": {"claim": "cache"}},
                    {"cache": {"hostPath": "/var/models"}},
                    {"s3": {"caBundle": {"configMap": "c"}}},
                ]
            ),
            "credentials": st.just({"secretRef": {"name": "s"}}),
            "runPolicy": st.builds(lambda limit: {"backoffLimit": limit}, st.integers(0, 100)),
        },
    ),
)
"""Specs around two such templates, whose volumes do not contradict each other."""
