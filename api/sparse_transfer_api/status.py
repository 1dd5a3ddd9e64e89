"""The status of an experiment: what the operator says about it.

Every part ignores unknown fields, so that an older reader copes with a newer writer.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from .base import Part, Ratio, Record
from .contract import Stage
from .records import Progress
from .results import Artifact, Resolved, Results
from .spec.types import Distinct

MAX_HISTORY = 5


class Phase(StrEnum):
    """Where an experiment stands, in one word."""

    PENDING = "Pending"
    QUEUED = "Queued"
    PREPARING = "Preparing"
    TRAINING = "Training"
    PACKAGING = "Packaging"
    SUSPENDED = "Suspended"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class ConditionType(StrEnum):
    """Conditions; the last three are what kstatus (Flux, Argo CD, kubectl wait) reads."""

    PREPARED = "Prepared"
    TRAINED = "Trained"
    PACKAGED = "Packaged"
    COMPLETE = "Complete"
    FAILED = "Failed"
    SUSPENDED = "Suspended"
    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"


class ConditionStatus(StrEnum):
    """Whether a condition holds."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(Part):
    """One observation, as the Kubernetes API writes it."""

    type: ConditionType = Field(description="What is observed.")
    status: ConditionStatus = Field(description="Whether it holds.")
    observed_generation: int | None = Field(
        None, description="The spec's generation that it was observed of."
    )
    last_transition_time: datetime = Field(description="When status last changed.")
    reason: Annotated[str, Field(max_length=128, pattern="^[A-Z][A-Za-z0-9]*$")] = Field(
        description="Why, in one CamelCase word."
    )
    message: Annotated[str, Field(max_length=2048)] = Field(
        "", description="The same for people: what, where and what to do."
    )


class Rerun(StrEnum):
    """Why a stage that had ended is run again, without anybody asking."""

    OUTPUT_VANISHED = "OutputVanished"
    RESULT_LOST = "ResultLost"


class StageStatus(Part):
    """How one stage went, the baseline within train's."""

    name: Stage = Field(description="The stage.")
    key: str | None = Field(None, description="Its key; the same key is the same result.")
    job: str | None = Field(None, description="Its Job.")
    attempt: int | None = Field(None, description="1 for the first attempt.")
    disruptions: int | None = Field(
        None, description="Attempts lost to evictions and the like; they do not count as failures."
    )
    start_time: datetime | None = Field(None, description="When its first pod ran.")
    completion_time: datetime | None = Field(None, description="When it ended.")
    outcome: Literal["Running", "Succeeded", "Failed", "Stopped"] | None = Field(
        None, description="How it ended, or Running."
    )
    reason: str | None = Field(None, description="Why, in one CamelCase word.")
    message: Annotated[str, Field(max_length=2048)] | None = Field(
        None, description="The same for people."
    )
    digests: dict[str, str] = Field(
        default_factory=dict, description="What it recorded: the next stage's key follows."
    )
    manifest_uri: str | None = Field(None, description="Its manifest.")
    last_start_time: datetime | None = Field(None, description="When its newest pod ran.")
    active_since: datetime | None = Field(
        None, description="Since when its Job runs unsuspended; absent while it does not."
    )
    active_seconds: int | None = Field(
        None, description="How long its Jobs ran unsuspended before that."
    )
    last_disruption_time: datetime | None = Field(
        None, description="When the newest pod that disruptions counts was made."
    )
    reruns: Annotated[tuple[Rerun, ...], Field(max_length=4), Distinct()] = Field(
        (), description="Why it was run again though it had ended; each at most once per key."
    )
    replaces: Annotated[tuple[str, ...], Field(max_length=8), Distinct()] = Field(
        (), description="UIDs of its earlier Jobs that have to be gone before it runs again."
    )


class ProgressStatus(Part):
    """The newest report of the running stage."""

    stage: Stage = Field(description="The stage that reported.")
    activity: str | None = Field(None, description="Such as baseline or benchmark.")
    epoch: float | None = Field(None, description="Passes over the training data so far.")
    step: int | None = Field(None, description="Steps of the activity so far.")
    total_steps: int | None = Field(None, description="Steps that the activity takes.")
    percentage: float | None = Field(None, description="Of the stage, 0 to 100.")
    estimated_remaining_seconds: float | None = Field(None, description="Of the stage.")
    last_updated_time: datetime | None = Field(None, description="When it was reported.")
    metrics: dict[str, float] = Field(
        default_factory=dict, description="Such as loss, of the last report."
    )

    @classmethod
    def of(cls, report: Progress) -> ProgressStatus:
        """Returns a runner's report as the status keeps it."""
        return cls.model_validate(report.model_dump(by_alias=True))


class PastResult(Part):
    """What an earlier version of the spec came to."""

    generation: int | None = Field(None, description="Of the spec.")
    completion_time: datetime | None = Field(None, description="When it ended.")
    outcome: Literal["Succeeded", "Failed"] = Field(description="How it ended.")
    reason: str | None = Field(None, description="Why, in one CamelCase word.")
    level: float | None = Field(None, description="The optimization level.")
    sparsity: Ratio | None = Field(None, description="Of the shipped file.")
    recovery: Ratio | None = Field(None, description="Relative to the baseline.")
    speedup: Ratio | None = Field(None, description="At the headline.")
    manifest_uri: str | None = Field(None, description="The package stage's manifest.")


class LevelStatus(Part):
    """One level of a search: how it stands, and what came out of it."""

    level: float = Field(description="The optimization level.")
    band: str | None = Field(None, description="Such as MediumSparseInt8.")
    outcome: Literal["Running", "Succeeded", "Failed", "Skipped"] | None = Field(
        None, description="How it ended, or Running; Skipped where it equals another level."
    )
    reason: str | None = Field(None, description="Why, in one CamelCase word.")
    message: Annotated[str, Field(max_length=2048)] | None = Field(
        None, description="The same for people."
    )
    same_as: float | None = Field(
        None, description="The level that comes to the same model and recipe."
    )
    latency_ms: float | None = Field(
        None, description="Median latency of the shipped file at the headline."
    )
    pareto: bool | None = Field(
        None,
        description="No other level beats it in recovery and in what the objective makes small.",
    )
    resolved: Resolved | None = Field(
        None, description="What aliases, defaults and the catalogue came to."
    )
    results: Results | None = Field(None, description="What came out.")
    artifacts: Annotated[tuple[Artifact, ...], Field(max_length=64), Distinct("name")] = Field(
        (), description="What to take away."
    )
    stages: Annotated[tuple[StageStatus, ...], Field(max_length=8), Distinct("name")] = Field(
        (), description="How each stage went."
    )


class SearchStatus(Part):
    """How a search over levels stands."""

    selected: float | None = Field(
        None,
        description="The level whose results the status has: the best that passes, or where none "
        "does, the best of all. Absent while levels are being tried.",
    )
    summary: Annotated[str, Field(max_length=64)] | None = Field(
        None, description="How many levels have ended, such as 2 of 4."
    )
    message: Annotated[str, Field(max_length=2048)] | None = Field(
        None, description="Why this level, or why none."
    )
    levels: Annotated[tuple[LevelStatus, ...], Field(max_length=8)] = Field(
        (), description="Every level, in the order of the spec."
    )


class SearchRecord(Record):
    """What a search on one machine came to, kept beside the folders of its levels' stages."""

    created: datetime = Field(description="When the search ended.")
    search: SearchStatus = Field(description="As the status on a cluster says it.")

    def packages(self) -> dict[float, str]:
        """Returns the names of the levels' package folders."""
        last = {each.level: each.stages[-1] for each in self.search.levels if each.stages}
        return {
            level: stage.manifest_uri.split("/")[-2]
            for level, stage in last.items()
            if stage.name is Stage.PACKAGE and stage.manifest_uri is not None
        }


class SparseTransferStatus(Part):
    """What the operator says about an experiment."""

    observed_generation: int | None = Field(
        None, description="The spec's generation that this speaks of."
    )
    phase: Phase | None = Field(None, description="Where it stands, in one word.")
    conditions: Annotated[tuple[Condition, ...], Field(max_length=16), Distinct("type")] = Field(
        (), description="Observations; Complete tells the outcome."
    )
    stages: Annotated[tuple[StageStatus, ...], Field(max_length=8), Distinct("name")] = Field(
        (), description="How each stage went; of a search, of its running or selected level."
    )
    search: SearchStatus | None = Field(
        None, description="How the search over levels stands; absent where there is none."
    )
    resolved: Resolved | None = Field(
        None, description="What aliases, defaults and the catalogue came to."
    )
    progress: ProgressStatus | None = Field(
        None, description="Of the running stage; has its own field manager."
    )
    results: Results | None = Field(None, description="What came out.")
    artifacts: Annotated[tuple[Artifact, ...], Field(max_length=64), Distinct("name")] = Field(
        (), description="What to take away."
    )
    history: Annotated[tuple[PastResult, ...], Field(max_length=MAX_HISTORY)] = Field(
        (), description=f"The last {MAX_HISTORY} results, newest first."
    )
    observed_retry: str | None = Field(
        None, description="The value of the retry annotation that was last acted on."
    )

    def condition(self, kind: ConditionType) -> Condition | None:
        """Returns the condition of a type, or None while nothing was observed."""
        return next((each for each in self.conditions if each.type == kind), None)

    @property
    def all_stages(self) -> tuple[StageStatus, ...]:
        """The stages of every level; without a search, the only ones. None is there twice."""
        levels = () if self.search is None else self.search.levels
        every = (*(each for level in levels for each in level.stages), *self.stages)
        return tuple({(each.name, each.key): each for each in every}.values())


def with_condition(conditions: Sequence[Condition], new: Condition) -> tuple[Condition, ...]:
    """Returns the conditions with one set, in their order.

    The time of the last transition moves only when the condition's status changes.
    """
    old = next((each for each in conditions if each.type == new.type), None)
    if old is None:
        return (*conditions, new)
    if old.status == new.status:
        new = new.model_copy(update={"last_transition_time": old.last_transition_time})
    return tuple(new if each.type == new.type else each for each in conditions)


def with_past_result(history: Sequence[PastResult], new: PastResult) -> tuple[PastResult, ...]:
    """Returns the history with a result in front, as long as it may be."""
    return (new, *history)[:MAX_HISTORY]
