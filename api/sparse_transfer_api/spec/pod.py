"""How the stages' pods look and how their Jobs run; nothing here changes a result."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import ConfigDict, Field, Strict, StringConstraints

from .types import (
    NOTHING,
    PRESERVE,
    Block,
    Count,
    Distinct,
    DnsSubdomain,
    Flag,
    Hint,
    LabelKey,
    LabelValue,
    Quantity,
    Seconds,
    Text,
    Value,
)

DEFAULT_GRACE_SECONDS = 120
"""Time to write a checkpoint after SIGTERM, where nobody sets another."""

FreeForm = Annotated[
    dict[str, Any],
    Hint("a mapping, as in a pod", instead=(("type", "object"), (PRESERVE, True))),
]
"""A part of Kubernetes' own pod format, checked by the API server when the pod is made."""


class Named(Block):
    """Something of Kubernetes' pod format that has a name; its other fields pass unchecked."""

    model_config = ConfigDict(extra="allow", json_schema_extra={PRESERVE: True})

    name: Text = Field(description="Its name.", json_schema_extra=NOTHING)


class EnvVar(Block):
    """An environment variable."""

    name: Text = Field(description="The variable.", json_schema_extra=NOTHING)
    value: Value | None = Field(None, description="Its value.", json_schema_extra=NOTHING)
    value_from: FreeForm | None = Field(
        None,
        description="Where its value comes from, as in a pod (secretKeyRef, fieldRef …).",
        json_schema_extra=NOTHING,
    )


class Volume(Named):
    """A volume, as in a pod."""


class VolumeMount(Block):
    """Where a volume is mounted."""

    name: Text = Field(description="The volume's name.", json_schema_extra=NOTHING)
    mount_path: Text = Field(description="Path in the container.", json_schema_extra=NOTHING)
    sub_path: Text | None = Field(
        None, description="Path in the volume. Default: its root.", json_schema_extra=NOTHING
    )
    read_only: Flag = Field(
        False, description="Mount without the right to write.", json_schema_extra=NOTHING
    )


class TolerationOperator(StrEnum):
    """How a taint is compared."""

    EXISTS = "Exists"
    EQUAL = "Equal"


class TaintEffect(StrEnum):
    """What a taint does."""

    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


class Toleration(Block):
    """A node's taint that the pod tolerates, as in a pod."""

    key: LabelKey | None = Field(
        None, description="The taint's key. Default: any.", json_schema_extra=NOTHING
    )
    operator: TolerationOperator | None = Field(
        None, description="Default: Equal.", json_schema_extra=NOTHING
    )
    value: LabelValue | None = Field(
        None, description="The taint's value.", json_schema_extra=NOTHING
    )
    effect: TaintEffect | None = Field(
        None,
        description="Default: any.",
        json_schema_extra=NOTHING,
    )
    toleration_seconds: Seconds | None = Field(
        None,
        description="How long NoExecute is tolerated. Default: for ever.",
        json_schema_extra=NOTHING,
    )


class PullSecret(Block):
    """A Secret that the image is pulled with."""

    name: DnsSubdomain = Field(description="The Secret's name.", json_schema_extra=NOTHING)


Labels = Annotated[dict[LabelKey, LabelValue], Field(max_length=64)]
Annotations = Annotated[dict[LabelKey, Value], Field(max_length=64)]


Tolerations = Annotated[tuple[Toleration, ...], Field(max_length=64), Distinct(ordered=True)]
PullSecrets = Annotated[tuple[PullSecret, ...], Field(max_length=16), Distinct("name")]
Env = Annotated[tuple[EnvVar, ...], Field(max_length=128), Distinct("name")]
Volumes = Annotated[tuple[Volume, ...], Field(max_length=32), Distinct("name")]
VolumeMounts = Annotated[tuple[VolumeMount, ...], Field(max_length=64), Distinct("mountPath")]


class PodTemplate(Block):
    """What the pods of all stages have in common; operator settings < template < stage."""

    service_account_name: DnsSubdomain | None = Field(
        None,
        description="Whose rights the pod has towards storage. Default: the namespace's default.",
        json_schema_extra=NOTHING,
    )
    node_selector: Labels = Field(
        default_factory=dict, description="Labels of suitable nodes.", json_schema_extra=NOTHING
    )
    tolerations: Tolerations = Field(
        (), description="Taints that are tolerated; appended.", json_schema_extra=NOTHING
    )
    affinity: FreeForm | None = Field(
        None,
        description="As in a pod; a stage's replaces the template's as a whole.",
        json_schema_extra=NOTHING,
    )
    priority_class_name: DnsSubdomain | None = Field(
        None, description="As in a pod.", json_schema_extra=NOTHING
    )
    runtime_class_name: DnsSubdomain | None = Field(
        None, description="As in a pod.", json_schema_extra=NOTHING
    )
    scheduler_name: DnsSubdomain | None = Field(
        None, description="As in a pod.", json_schema_extra=NOTHING
    )
    image_pull_secrets: PullSecrets = Field(
        (), description="Secrets that the image is pulled with.", json_schema_extra=NOTHING
    )
    env: Env = Field(
        (),
        description="Environment variables; merged by name. Names that begin with STE_ are the "
        "operator's.",
        json_schema_extra=NOTHING,
    )
    volumes: Volumes = Field(
        (),
        description="Further volumes; merged by name. Names that begin with ste- are the "
        "operator's.",
        json_schema_extra=NOTHING,
    )
    volume_mounts: VolumeMounts = Field(
        (),
        description="Their mounts; merged by path. One at /scratch, /tmp or /mnt/pvc/CLAIM takes "
        "the place of the operator's.",
        json_schema_extra=NOTHING,
    )
    labels: Labels = Field(
        default_factory=dict, description="Of the pods; merged.", json_schema_extra=NOTHING
    )
    annotations: Annotations = Field(
        default_factory=dict, description="Of the pods; merged.", json_schema_extra=NOTHING
    )
    shm_size: Quantity | None = Field(
        None,
        description="Shared memory for data loaders, such as 2Gi. Default: the node's, 64Mi.",
        json_schema_extra=NOTHING,
    )
    pod_security_context: FreeForm | None = Field(
        None,
        description="As in a pod; replaced as a whole. Default: user and group 65532, not root.",
        json_schema_extra=NOTHING,
    )
    termination_grace_period_seconds: Seconds | None = Field(
        None,
        description=f"Time to write a checkpoint. Default: {DEFAULT_GRACE_SECONDS}.",
        json_schema_extra=NOTHING,
    )


Quantities = Annotated[dict[Text, Quantity], Field(max_length=16)]


class Resources(Block):
    """What a stage's container asks for and is limited to."""

    requests: Quantities = Field(
        default_factory=dict,
        description="Such as cpu, memory and ephemeral-storage.",
        json_schema_extra=NOTHING,
    )
    limits: Quantities = Field(
        default_factory=dict,
        description="The same, and in train the GPUs, such as nvidia.com/gpu.",
        json_schema_extra=NOTHING,
    )


class StageTemplate(PodTemplate):
    """One stage's own settings, which go before the template's."""

    resources: Resources = Field(
        default_factory=Resources,
        description="Of the stage's container. Default: the operator's settings.",
    )


class Stages(Block):
    """Settings of single stages."""

    prepare: StageTemplate = Field(default_factory=StageTemplate, description="Of prepare.")
    train: StageTemplate = Field(
        default_factory=StageTemplate,
        description="Of train; GPUs are asked for in its resources, nowhere else.",
    )
    package: StageTemplate = Field(
        default_factory=StageTemplate,
        description="Of package, which belongs on the kind of node that will serve.",
    )


class TtlSeconds(Block):
    """How long Jobs and pods are kept after the end; the experiment stays."""

    succeeded: Seconds = Field(86_400, description="After success.", json_schema_extra=NOTHING)
    failed: Seconds = Field(604_800, description="After failure.", json_schema_extra=NOTHING)


Manager = Annotated[
    str,
    StringConstraints(
        strict=True, min_length=3, max_length=63, pattern="^[a-z0-9.-]+/[A-Za-z0-9._-]+$"
    ),
    Hint("a domain, a slash and a name, such as example.com/dispatcher"),
]


class RunPolicy(Block):
    """How the stages' Jobs run."""

    suspend: Flag = Field(
        False,
        description="Stop at the next checkpoint and wait until it is false again.",
        json_schema_extra=NOTHING,
    )
    backoff_limit: Annotated[int, Strict(), Field(ge=0, le=100)] = Field(
        3,
        description="Failed attempts of a stage before it fails; disruptions do not count.",
        json_schema_extra=NOTHING,
    )
    active_deadline_seconds: Seconds | None = Field(
        None,
        description="Running time of all stages together. Default: no limit.",
        json_schema_extra=NOTHING,
    )
    pending_deadline_seconds: Seconds | None = Field(
        None,
        description="From admission to the first running pod. Default: no limit.",
        json_schema_extra=NOTHING,
    )
    checkpoint_interval_seconds: Annotated[int, Strict(), Field(ge=10, le=86_400)] = Field(
        600, description="Between two checkpoints.", json_schema_extra=NOTHING
    )
    checkpoint_interval_steps: Count | None = Field(
        None,
        description="Optimizer steps between two checkpoints; beside the seconds, whichever comes "
        "first. Default: by the seconds alone.",
        json_schema_extra=NOTHING,
    )
    ttl_seconds_after_finished: TtlSeconds = Field(
        default_factory=TtlSeconds, description="Of Jobs and pods; the experiment stays."
    )
    delete_after_seconds: Seconds | None = Field(
        None,
        description="Delete the experiment itself so long after its end; not for GitOps, which "
        "would make it again. Default: never.",
        json_schema_extra=NOTHING,
    )
    managed_by: Manager | None = Field(
        None,
        description="Who reconciles the experiment, such as example.com/dispatcher. Default: "
        "this project's operator.",
        json_schema_extra=NOTHING,
    )
