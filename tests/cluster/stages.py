"""What simulated nodes do with pods, as stages of kwok: a pure description, to be read by kwok.

A pod of a Job runs for a while and ends, with a termination message as a real runner's; annotations
of the pod say otherwise. Any other pod runs until it is deleted. A pod that is deleted or evicted
ends with 143 before it goes, as on a kubelet.

========================  ========================================================================
``sim/duration``          how long it runs, as Go writes durations; ``DEFAULT_DURATION`` by default
``sim/exit-code``         how it ends; 0 by default
``sim/reason``            the container's reason, such as ``OOMKilled``
``sim/message``           the termination message, with ``{stage}`` and ``{key}`` filled in; a
                          stage result that fits the exit code by default, none for 137
``sim/hang``              it never ends by itself; a test that removes this later lets it end
``sim/waiting``           it never starts: the reason, such as ``ImagePullBackOff``
``sim/term-duration``     how long it takes to end once it is deleted; nothing by default
========================  ========================================================================
"""

from __future__ import annotations

from typing import Any

from sparse_transfer_api.base import SCHEMA_VERSION
from sparse_transfer_api.contract import ENV_STAGE_KEY, GROUP

DEFAULT_DURATION = "300ms"

Document = dict[str, Any]

# The stage and its key, as the operator tells them to a pod; the message as the pod's author wants
# it; else the result that the runner would leave.
_DEFINITIONS = (
    """
{{ $now := Now }}
{{ $notes := or .metadata.annotations dict }}
{{ $stage := or (index (or .metadata.labels dict) "@GROUP@/stage") "" }}
{{ $key := "" }}
{{ range .spec.containers }}{{ range .env }}
{{ if eq .name "@ENV_STAGE_KEY@" }}{{ $key = or .value "" }}{{ end }}
{{ end }}{{ end }}
{{ $code := @CODE@ }}
{{ $message := "" }}
{{ if hasKey $notes "sim/message" }}
{{ $message = index $notes "sim/message" | replace "{stage}" $stage | replace "{key}" $key }}
{{ else if and $key (ne $code "137") }}
{{ $outcome := ternary "Succeeded" (ternary "Stopped" "Failed" (eq $code "143")) (eq $code "0") }}
{{ $reason := ternary "Completed" "Simulated" (eq $code "0") }}
{{ $message = dict "schemaVersion" @SCHEMA_VERSION@ "stage" $stage "key" $key "outcome" $outcome
     "reason" $reason "exitCode" (atoi $code) | toJson }}
{{ end }}
{{ $reason := or (index $notes "sim/reason") (ternary "Completed" "Error" (eq $code "0")) }}
""".replace("@GROUP@", GROUP)
    .replace("@ENV_STAGE_KEY@", ENV_STAGE_KEY)
    .replace("@SCHEMA_VERSION@", str(SCHEMA_VERSION))
    .strip()
)

_ENDED = """
containerStatuses:
{{ $started := $now }}
{{ range .status.containerStatuses }}
{{ with .state.running }}{{ $started = .startedAt }}{{ end }}
{{ end }}
{{ range .spec.containers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  imageID: ""
  ready: false
  started: false
  restartCount: 0
  state:
    terminated:
      exitCode: {{ $code }}
      reason: {{ $reason | Quote }}
      message: {{ $message | Quote }}
      startedAt: {{ $started | Quote }}
      finishedAt: {{ $now | Quote }}
{{ end }}
conditions:
- {type: Ready, status: "False", lastTransitionTime: {{ $now | Quote }}}
- {type: ContainersReady, status: "False", lastTransitionTime: {{ $now | Quote }}}
phase: {{ ternary "Succeeded" "Failed" (eq $code "0") }}
""".strip()

_RUNNING = """
{{ $now := Now }}
conditions:
- {type: Initialized, status: "True", lastTransitionTime: {{ $now | Quote }}}
- {type: ContainersReady, status: "True", lastTransitionTime: {{ $now | Quote }}}
- {type: Ready, status: "True", lastTransitionTime: {{ $now | Quote }}}
containerStatuses:
{{ range .spec.containers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  imageID: ""
  ready: true
  started: true
  restartCount: 0
  state: {running: {startedAt: {{ $now | Quote }}}}
{{ end }}
{{ with NodeIPsWith .spec.nodeName }}
hostIP: {{ index . 0 | Quote }}
hostIPs: [{ip: {{ index . 0 | Quote }}}]
{{ end }}
{{ with PodIPsWith .spec.nodeName false .metadata.uid .metadata.name .metadata.namespace }}
podIP: {{ index . 0 | Quote }}
podIPs: [{ip: {{ index . 0 | Quote }}}]
{{ end }}
phase: Running
startTime: {{ $now | Quote }}
""".strip()

_WAITING = """
containerStatuses:
{{ $reason := index .metadata.annotations "sim/waiting" }}
{{ range .spec.containers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  imageID: ""
  ready: false
  started: false
  restartCount: 0
  state: {waiting: {reason: {{ $reason | Quote }}, message: simulated}}
{{ end }}
phase: Pending
startTime: {{ Now | Quote }}
""".strip()

_NODE_READY = """
{{ $now := Now }}
conditions:
{{ range NodeConditions }}
- type: {{ .type | Quote }}
  status: {{ .status | Quote }}
  reason: {{ .reason | Quote }}
  message: {{ .message | Quote }}
  lastHeartbeatTime: {{ $now | Quote }}
  lastTransitionTime: {{ $now | Quote }}
{{ end }}
phase: Running
""".strip()

_PHASE = ".status.phase"
_WAITS = '.metadata.annotations["sim/waiting"]'


def configuration() -> list[Document]:
    """Returns kwok's configuration, document by document."""
    alive = _expects(".metadata.deletionTimestamp", "DoesNotExist")
    deleted = _expects(".metadata.deletionTimestamp", "Exists")
    ready = '.status.conditions.[] | select( .type == "Ready" ) | .status'
    parallel = ("podPlayStageParallelism", "nodePlayStageParallelism", "nodeLeaseParallelism")
    return [
        {
            "apiVersion": "config.kwok.x-k8s.io/v1alpha1",
            "kind": "KwokConfiguration",
            "options": dict.fromkeys(parallel, 16),
        },
        _stage("node-ready", "Node", [_expects(ready, "NotIn", "True")], _NODE_READY),
        _stage(
            "pod-waits",
            "Pod",
            [
                alive,
                _expects(_PHASE, "In", "Pending"),
                _expects(_WAITS, "Exists"),
                _expects(".status.containerStatuses", "DoesNotExist"),
            ],
            _WAITING,
        ),
        _stage(
            "pod-runs",
            "Pod",
            [
                alive,
                _expects(_PHASE, "In", "Pending"),
                _expects(_WAITS, "DoesNotExist"),
                _expects(ready, "NotIn", "True"),
            ],
            _RUNNING,
        ),
        _stage(
            "pod-ends",
            "Pod",
            [
                alive,
                _expects(_PHASE, "In", "Running"),
                _expects('.metadata.annotations["sim/hang"]', "DoesNotExist"),
                _expects(".metadata.ownerReferences.[].kind", "In", "Job"),
            ],
            _ended('or (index $notes "sim/exit-code") "0"'),
            f'.metadata.annotations["sim/duration"] // "{DEFAULT_DURATION}"',
        ),
        _stage(
            "pod-is-stopped",
            "Pod",
            [deleted, _expects(_PHASE, "NotIn", "Succeeded", "Failed")],
            _ended('"143"'),
            '.metadata.annotations["sim/term-duration"] // "0s"',
        ),
        _stage("pod-goes", "Pod", [deleted, _expects(_PHASE, "In", "Succeeded", "Failed")]),
    ]


def _ended(code: str) -> str:
    return f"{_DEFINITIONS.replace('@CODE@', code)}\n{_ENDED}"


def _expects(key: str, operator: str, *values: str) -> Document:
    return {"key": key, "operator": operator, **({"values": list(values)} if values else {})}


def _stage(
    name: str, kind: str, expected: list[Document], status: str = "", delay: str = ""
) -> Document:
    spec: Document = {
        "resourceRef": {"apiGroup": "v1", "kind": kind},
        "selector": {"matchExpressions": expected},
        "next": {"statusTemplate": status} if status else {"delete": True},
    }
    if delay:
        spec["delay"] = {"durationMilliseconds": 0, "durationFrom": {"expressionFrom": delay}}
    return {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Stage",
        "metadata": {"name": name},
        "spec": spec,
    }
