"""The spec of an experiment: what a user writes, and how it is read.

``parse_experiment`` is the way in: it finds every mistake at once. Defaults are applied by the
models and by nothing else; an absent block is default-constructed.
"""

from __future__ import annotations

from .experiment import Metadata, SparseTransferExperiment, SparseTransferSpec
from .inputs import (
    CaBundle,
    Cache,
    Columns,
    Credentials,
    Data,
    ModelOverride,
    Output,
    ProblemType,
    S3Storage,
    SecretReference,
    Storage,
    Trust,
)
from .parse import parse_experiment
from .pod import (
    EnvVar,
    PodTemplate,
    PullSecret,
    Resources,
    RunPolicy,
    Stages,
    StageTemplate,
    Toleration,
    TtlSeconds,
    Volume,
    VolumeMount,
)
from .work import (
    Acceptance,
    Baseline,
    BaselineMode,
    Benchmark,
    EngineName,
    EvaluationSettings,
    Export,
    HeadlinePoint,
    Objective,
    Precision,
    Recipe,
    Search,
    Teacher,
    TeacherMode,
    Training,
)

__all__ = [
    "Acceptance",
    "Baseline",
    "BaselineMode",
    "Benchmark",
    "CaBundle",
    "Cache",
    "Columns",
    "Credentials",
    "Data",
    "EngineName",
    "EnvVar",
    "EvaluationSettings",
    "Export",
    "HeadlinePoint",
    "Metadata",
    "ModelOverride",
    "Objective",
    "Output",
    "PodTemplate",
    "Precision",
    "ProblemType",
    "PullSecret",
    "Recipe",
    "Resources",
    "RunPolicy",
    "S3Storage",
    "Search",
    "SecretReference",
    "SparseTransferExperiment",
    "SparseTransferSpec",
    "StageTemplate",
    "Stages",
    "Storage",
    "Teacher",
    "TeacherMode",
    "Toleration",
    "Training",
    "Trust",
    "TtlSeconds",
    "Volume",
    "VolumeMount",
    "parse_experiment",
]
