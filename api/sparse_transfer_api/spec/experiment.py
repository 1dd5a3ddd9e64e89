"""The experiment: the resource that a user writes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from ..contract import API_VERSION, KIND
from ..errors import InputError
from ..optim_level import DEFAULT_LEVEL
from ..suggest import did_you_mean, listed
from ..use_cases import ALL_NAMES, UseCaseName, resolve_use_case
from .inputs import Credentials, Data, ModelOverride, Output, Storage
from .pod import Labels, PodTemplate, RunPolicy, Stages
from .rules import RULES_BROKEN, broken_rules
from .types import NOTHING, PREPARE, Block, DnsLabel, Hint, Level, Name
from .work import (
    Acceptance,
    Baseline,
    Benchmark,
    EvaluationSettings,
    Export,
    Recipe,
    Search,
    Teacher,
    Training,
)


def _canonical(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return resolve_use_case(value)
    except InputError:
        hint = did_you_mean(value[:64], ALL_NAMES)
        raise PydanticCustomError("use_case", "{hint}", {"hint": hint}) from None


UseCase = Annotated[
    UseCaseName,
    BeforeValidator(_canonical),
    Hint(
        f"a use case: {listed(UseCaseName)}",
        instead=(("type", "string"), ("minLength", 1), ("maxLength", 64)),
    ),
]
Image = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=512)]


class SparseTransferSpec(Block):
    """What the user wants; only useCase and data are required."""

    use_case: UseCase = Field(
        description="The task, such as nlp-text_classification, or an alias, such as sentiment, qa "
        "or ner. Case does not count; -, _ and space are alike.",
        json_schema_extra=PREPARE,
    )
    data: Data = Field(description="The user's data.")
    optim_level: Level = Field(
        DEFAULT_LEVEL,
        description="How far to optimize, 0 to 1: 0 largest model, dense; below 0.25 largest, "
        "INT8; below 0.5 largest, sparse INT8; below 0.75 medium, sparse INT8; up to 1 smallest, "
        "sparse INT8.",
        json_schema_extra=PREPARE,
    )
    model: ModelOverride = Field(
        default_factory=ModelOverride,
        description="A pre-sparsified model to start from. Default: the catalogue's.",
    )
    output: Output = Field(default_factory=Output, description="Where results go.")
    credentials: Credentials = Field(
        default_factory=Credentials, description="Access to data, model and output."
    )
    storage: Storage = Field(default_factory=Storage, description="How storage is reached.")
    teacher: Teacher = Field(default_factory=Teacher, description="Who teaches by distillation.")
    baseline: Baseline = Field(
        default_factory=Baseline, description="The dense counterpart to measure against."
    )
    recipe: Recipe = Field(
        default_factory=Recipe,
        description="How sparsity and quantization are applied. Default: the use case's.",
    )
    training: Training = Field(default_factory=Training, description="Settings of training.")
    evaluation: EvaluationSettings = Field(
        default_factory=EvaluationSettings, description="How results are scored."
    )
    export: Export = Field(default_factory=Export, description="What is exported.")
    benchmark: Benchmark = Field(default_factory=Benchmark, description="What is measured.")
    acceptance: Acceptance = Field(
        default_factory=Acceptance, description="What the result must reach."
    )
    search: Search = Field(
        default_factory=Search, description="Levels to try. Default: only optimLevel."
    )
    run_policy: RunPolicy = Field(
        default_factory=RunPolicy, description="How the stages' Jobs run."
    )
    template: PodTemplate = Field(
        default_factory=PodTemplate, description="What the pods of all stages have in common."
    )
    stages: Stages = Field(default_factory=Stages, description="Settings of single stages.")
    image: Image | None = Field(
        None,
        description="The runner's image. Default: the operator's setting.",
        json_schema_extra=NOTHING,
    )

    @model_validator(mode="after")
    def _keeps_the_rules(self) -> SparseTransferSpec:
        broken = broken_rules(self)
        if broken:
            text = "; ".join(f"{rule.where}: {rule.message}" for rule in broken)
            raise PydanticCustomError(RULES_BROKEN, "{text}", {"text": text, "rules": broken})
        return self


OBJECT_META = frozenset(
    {
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "finalizers",
        "generateName",
        "generation",
        "managedFields",
        "ownerReferences",
        "resourceVersion",
        "selfLink",
    }
)
"""What else the API server keeps in an object's metadata; ignored here."""


class Metadata(Block):
    """Of Kubernetes' object metadata, what this system uses."""

    model_config = ConfigDict(extra="ignore")

    name: Name = Field(description="A DNS label of at most 40 characters.")
    namespace: DnsLabel = Field("default", description="The experiment's namespace.")
    uid: Annotated[str, StringConstraints(strict=True, max_length=64)] | None = Field(
        None, description="Given by the API server; provenance only."
    )
    labels: Labels = Field(default_factory=dict, description="Labels.")
    annotations: dict[str, str] = Field(default_factory=dict, description="Annotations.")


class SparseTransferExperiment(Block):
    """One experiment, as a user writes it."""

    api_version: Literal["sparsetransfer.dev/v1alpha1"] = Field(
        "sparsetransfer.dev/v1alpha1", description=f"Always {API_VERSION}."
    )
    kind: Literal["SparseTransferExperiment"] = Field(
        "SparseTransferExperiment", description=f"Always {KIND}."
    )
    metadata: Metadata = Field(description="The experiment's name and namespace.")
    spec: SparseTransferSpec = Field(description="What the user wants.")
