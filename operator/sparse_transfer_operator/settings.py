"""The operator's settings: one YAML file, which the chart writes from its values."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from sparse_transfer_api.base import ApiModel
from sparse_transfer_api.contract import Stage
from sparse_transfer_api.errors import InputError, Problem
from sparse_transfer_api.spec import Output, PodTemplate, Resources, Stages, StageTemplate
from sparse_transfer_api.template import merged

Port = Annotated[int, Field(ge=1, le=65535)]
Interval = Annotated[float, Field(gt=0)]


def _stages() -> Stages:
    """Returns what the stages ask for where nobody says: small for prepare, no GPU anywhere."""

    def asking(cpu: str, memory: str, limit: str) -> StageTemplate:
        return StageTemplate(
            resources=Resources(requests={"cpu": cpu, "memory": memory}, limits={"memory": limit})
        )

    return Stages(
        prepare=asking("500m", "2Gi", "4Gi"),
        train=asking("2", "8Gi", "16Gi"),
        package=asking("2", "8Gi", "16Gi"),
    )


class ProgressSettings(ApiModel):
    """The endpoint that runners post their progress to."""

    enabled: bool = Field(True, description="Without it only the end of a stage is seen.")
    host: str = Field(
        "sparse-transfer-operator-progress.sparse-transfer.svc",
        description="The name that pods reach the endpoint by: its Service.",
    )
    port: Port = Field(8443, description="Of the Service, and what the operator listens on.")
    secret: str = Field(
        "sparse-transfer-operator-progress",
        description="The Secret in the operator's namespace that keeps its certificates.",
    )
    interval_seconds: Interval = Field(
        30, description="At least so long between two writes of one experiment's progress."
    )
    writes_per_second: Interval = Field(20, description="At most so many writes of all together.")

    @property
    def url(self) -> str:
        """The endpoint's address, which is its tokens' audience as well."""
        return f"https://{self.host}:{self.port}"


class LeaseSettings(ApiModel):
    """Which of several operators leads: the holder of a Lease."""

    name: str = Field("sparse-transfer-operator", description="The Lease's name.")
    duration_seconds: Interval = Field(15, description="After which a silent leader has lost it.")
    renew_deadline_seconds: Interval = Field(
        10, description="After which a leader that cannot renew it gives up."
    )
    retry_seconds: Interval = Field(2, description="Between two tries to take or renew it.")

    @model_validator(mode="after")
    def _gives_up_in_time(self) -> Self:
        """Refuses times with which two operators could lead at once, or none for long."""
        if not self.retry_seconds < self.renew_deadline_seconds < self.duration_seconds:
            raise ValueError(
                "retrySeconds must be below renewDeadlineSeconds, and that below durationSeconds"
            )
        return self


class OperatorSettings(ApiModel):
    """All settings; each has a default that works."""

    image: str = Field(
        "sparse-transfer-runner:latest", description="The runner's image; spec.image goes before."
    )
    neuralmagic_image: str | None = Field(
        None,
        description="The runner's image of the neuralmagic flavour, for experiments with "
        "recipe.backend SparseML or the engine deepsparse; spec.image goes before. Default: image. "
        "One with DeepSparse you build for yourself: its licence is for evaluation only, not for "
        "production and not to be passed on.",
    )
    image_pull_policy: str = Field("IfNotPresent", description="As in a pod.")
    namespace: str = Field(
        "sparse-transfer", description="The operator's own: its Lease and Secret are there."
    )
    namespaces: tuple[str, ...] = Field(
        (), description="Where experiments are reconciled. Default: in all namespaces."
    )
    output: Output = Field(
        default_factory=Output, description="Where results go where spec.output names no place."
    )
    catalog: str | None = Field(
        None, description="Address of a catalogue instead of the packaged one: s3:// or pvc://."
    )
    template: PodTemplate = Field(
        default_factory=PodTemplate, description="What all pods have; spec.template goes before."
    )
    stages: Stages = Field(
        default_factory=_stages, description="Of single stages; spec.template goes before."
    )
    passed_labels: tuple[str, ...] = Field(
        ("kueue.x-k8s.io/queue-name", "kueue.x-k8s.io/priority-class"),
        description="Labels of an experiment that its Jobs get too.",
    )
    queue_label: str = Field(
        "kueue.x-k8s.io/queue-name",
        description="An experiment with it is queued: suspending its Jobs is the queue's.",
    )
    progress: ProgressSettings = Field(
        default_factory=ProgressSettings, description="The endpoint for progress."
    )
    lease: LeaseSettings = Field(default_factory=LeaseSettings, description="Leader election.")
    http_port: Port = Field(8080, description="Of /metrics, /healthz and /readyz.")
    resync_seconds: Interval = Field(
        600, description="After which every experiment is looked at again, whatever happened."
    )

    @field_validator("stages")
    @classmethod
    def _with_defaults(cls, given: Stages) -> Stages:
        """Keeps the defaults of what a file does not mention."""
        return Stages(
            **{
                stage.value: merged([getattr(_stages(), stage.value), getattr(given, stage.value)])
                for stage in Stage
            }
        )


def load_settings(path: Path) -> OperatorSettings:
    """Reads the settings.

    Raises:
        InputError: The file cannot be read, or a setting is unknown or wrong.
    """
    try:
        document = yaml.safe_load(path.read_text("utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: not readable as YAML ({error})") from error
    try:
        return OperatorSettings.model_validate(document)
    except ValidationError as error:
        problems = [
            Problem(".".join(str(part) for part in each["loc"]) or "document", each["msg"])
            for each in error.errors()
        ]
        raise InputError(f"{path}: not valid settings of the operator", problems) from error
