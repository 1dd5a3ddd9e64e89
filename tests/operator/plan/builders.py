"""Fluent builders of what the operator observes.

    experiment("a").level(0.5).suspended()
    job("train").with_pod(pod().running())

Each method returns a changed copy. Keys follow from the experiment and ``DIGESTS``, so that nobody
has to write one down.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Self

from sparse_transfer_api.contract import API_VERSION, KIND, Stage
from sparse_transfer_api.fitting import fitted_status
from sparse_transfer_api.keys import stage_key
from sparse_transfer_api.records import StageResult
from sparse_transfer_api.search import at_level
from sparse_transfer_api.spec import SparseTransferExperiment, parse_experiment
from sparse_transfer_api.status import SparseTransferStatus, StageStatus
from sparse_transfer_operator.effective import effective
from sparse_transfer_operator.names import job_name
from sparse_transfer_operator.observed import (
    JobEnd,
    ObservedExperiment,
    ObservedJob,
    ObservedPod,
    PodPhase,
)
from sparse_transfer_operator.settings import OperatorSettings

from .stage_results import DIGESTS, NOON, at, digests, level_results, results, succeeded

SETTINGS = OperatorSettings()
UID = "experiment-uid"
QUEUE = {SETTINGS.queue_label: "gpus"}


@dataclass(frozen=True)
class Experiment:
    """Builds an observed experiment."""

    name: str = "a"
    spec: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    status: SparseTransferStatus = field(default_factory=SparseTransferStatus)
    generation: int = 1
    retry: str | None = None
    deleting: bool = False
    problem: str | None = None

    def with_spec(self, **blocks: Any) -> Self:
        """Changes blocks of the spec, by their YAML names; None removes one. An edit."""
        spec = {name: block for name, block in {**self.spec, **blocks}.items() if block is not None}
        return replace(self, spec=spec)

    def edited(self, **blocks: Any) -> Self:
        """The same as ``with_spec``, as a new generation."""
        return replace(self.with_spec(**blocks), generation=self.generation + 1)

    def policy(self, **fields: Any) -> Self:
        return self.with_spec(runPolicy={**self.spec.get("runPolicy", {}), **fields})

    def level(self, level: float) -> Self:
        return self.with_spec(optimLevel=level)

    def searching(self, *levels: float, **search: Any) -> Self:
        """Tries these levels, by the search's other fields in YAML."""
        return self.with_spec(search={"levels": list(levels), **search})

    def suspended(self, suspend: bool = True) -> Self:
        return self.policy(suspend=suspend)

    def in_queue(self) -> Self:
        return replace(self, labels=QUEUE)

    def retried(self, value: str) -> Self:
        return replace(self, retry=value)

    def being_deleted(self) -> Self:
        return replace(self, deleting=True)

    def invalid(self, problem: str) -> Self:
        return replace(self, problem=problem, generation=self.generation + 1)

    def mended(self) -> Self:
        return replace(self, problem=None, generation=self.generation + 1)

    def with_status(self, status: SparseTransferStatus) -> Self:
        """Takes a status as the API server would give it back."""
        return replace(self, status=SparseTransferStatus.model_validate(fitted_status(status)))

    def with_records(self, *records: StageStatus) -> Self:
        return replace(self, status=self.status.model_copy(update={"stages": records}))

    def done(self, *stages: str) -> Self:
        """Records stages as succeeded."""
        records = tuple(
            StageStatus(
                name=stage,
                key=self.key(stage),
                job=self.job_name(stage),
                attempt=1,
                disruptions=0,
                start_time=NOON,
                last_start_time=NOON,
                completion_time=NOON,
                active_seconds=0,
                outcome="Succeeded",
                reason="Completed",
                digests=DIGESTS[Stage(stage)],
            )
            for stage in stages
        )
        update: dict[str, Any] = {"stages": (*self.status.stages, *records)}
        if "package" in stages:
            update["results"] = results()
        return replace(self, status=self.status.model_copy(update=update))

    @property
    def parsed(self) -> SparseTransferExperiment:
        spec = {
            "useCase": "sentiment",
            "data": {"uri": "s3://bucket/reviews/"},
            "output": {"uri": "s3://bucket/runs/"},
            **self.spec,
        }
        spec = {name: block for name, block in spec.items() if block != {}}
        metadata = {"name": self.name, "namespace": "ns", "uid": UID, "labels": dict(self.labels)}
        document = {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec}
        return parse_experiment(document, self.name)

    def key(self, stage: str, level: float | None = None) -> str:
        """Returns a stage's key, where the stages before recorded ``digests``."""
        wanted = effective(self.parsed, SETTINGS)
        spec = (wanted if level is None else at_level(wanted, level)).spec
        key: str | None = None
        recorded: dict[str, str] = {}
        for each in Stage:
            key = stage_key(spec, each, key, recorded)
            recorded = digests(each, level)
            if each == stage:
                return key
        raise ValueError(stage)

    def job_name(
        self, stage: str, *, recorded_only: bool = False, level: float | None = None
    ) -> str:
        key = self.key(stage, level)
        return job_name(self.name, Stage(stage), key, recorded_only=recorded_only)

    def observed(self) -> ObservedExperiment:
        return ObservedExperiment(
            name=self.name,
            namespace="ns",
            uid=UID,
            generation=self.generation,
            created=at(-60),
            experiment=None if self.problem is not None else self.parsed,
            problem=self.problem,
            status=self.status,
            retry=self.retry,
            deleting=self.deleting,
        )


@dataclass(frozen=True)
class Pod:
    """Builds an observed pod; its result is made for the stage and key of its Job."""

    fields: Mapping[str, Any] = field(default_factory=dict)
    result: Mapping[str, Any] | None = None

    def _with(self, **fields: Any) -> Self:
        return replace(self, fields={**self.fields, **fields})

    def made(self, seconds: float) -> Self:
        return self._with(created=at(seconds))

    def running(self, since: float = 2) -> Self:
        return self._with(phase=PodPhase.RUNNING, started=at(since))

    def unschedulable(self, message: str) -> Self:
        return self._with(unschedulable=message)

    def waiting(self, reason: str, message: str = "") -> Self:
        return self._with(waiting_because=(reason, message))

    def succeeded(self, when: float = 60, **result: Any) -> Self:
        """Ended well, with its result."""
        ran = self._with(phase=PodPhase.SUCCEEDED, started=at(2), finished=at(when), exit_code=0)
        return replace(ran, result={"outcome": "Succeeded", **result})

    def failed(self, code: int, when: float = 60, because: str | None = "Error") -> Self:
        return self._with(
            phase=PodPhase.FAILED,
            started=at(2),
            finished=at(when),
            exit_code=code,
            ended_because=because,
        )

    def saying(self, reason: str, message: str = "", outcome: str = "Failed") -> Self:
        """Left a result that tells of no success."""
        return replace(self, result={"outcome": outcome, "reason": reason, "message": message})

    def telling_success(self) -> Self:
        return replace(self, result={"outcome": "Succeeded"})

    def with_message(self, message: str) -> Self:
        return replace(self._with(message=message), result=None)

    def disrupted(self, reason: str = "EvictionByEvictionAPI") -> Self:
        return self._with(disrupted=reason)

    def being_deleted(self) -> Self:
        return self._with(deleting=True)

    def observed(self, job: ObservedJob, number: int) -> ObservedPod:
        fields: dict[str, Any] = {
            "name": f"{job.name}-{number}",
            "uid": f"{job.uid}-{number}",
            "job_uid": job.uid,
            "phase": PodPhase.PENDING,
            "created": job.created + timedelta(seconds=1 + number),
            **self.fields,
        }
        if self.result is not None:
            fields["message"] = self._message(job)
        return ObservedPod(**fields)

    def _message(self, job: ObservedJob) -> str:
        result = dict(self.result or {})
        if result.pop("outcome") == "Succeeded":
            found = succeeded(job.stage, job.key, **result)
        else:
            found = StageResult(stage=job.stage, key=job.key, **(self.result or {}))
        return found.to_termination_message().decode()


@dataclass(frozen=True)
class Job:
    """Builds an observed Job of the stage's wanted key, with its pods."""

    stage: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    pods: tuple[Pod, ...] = ()
    level: float | None = None

    def _with(self, **fields: Any) -> Self:
        return replace(self, fields={**self.fields, **fields})

    def made(self, seconds: float) -> Self:
        return self._with(created=at(seconds), started=at(seconds))

    def at(self, level: float) -> Self:
        """The Job is of a level of a search, and hands over what that level comes to."""
        return replace(self, level=level)

    def of_key(self, key: str) -> Self:
        return self._with(key=key)

    def owned_by(self, uid: str) -> Self:
        return self._with(owner_uid=uid)

    def with_uid(self, uid: str) -> Self:
        return self._with(uid=uid)

    def recorded_only(self) -> Self:
        return self._with(recorded_only=True)

    def searching(self, *levels: float, **search: Any) -> Self:
        """Tries these levels, by the search's other fields in YAML."""
        return self.with_spec(search={"levels": list(levels), **search})

    def suspended(self) -> Self:
        return self._with(suspended=True, started=None)

    def suspended_by(self, manager: str) -> Self:
        return self.suspended()._with(suspended_by=manager)

    def not_started(self) -> Self:
        return self._with(started=None)

    def in_queue(self) -> Self:
        return self._with(queued=True)

    def being_deleted(self) -> Self:
        return self._with(deleting=True)

    def with_failures(self, failed: int) -> Self:
        return self._with(failed=failed)

    def with_deadline(self, seconds: int) -> Self:
        return self._with(active_deadline_seconds=seconds)

    def with_pod(self, *pods: Pod) -> Self:
        return replace(self, pods=(*self.pods, *pods))

    def running(self) -> Self:
        return self.with_pod(pod().running())

    def complete(self, when: float = 61) -> Self:
        """The Job is complete; its pods are whatever was added."""
        return self._with(end=JobEnd.COMPLETE, ended=(at(when), "CompletionsReached", ""))

    def succeeded(self, **result: Any) -> Self:
        told: dict[str, Any] = {}
        if self.level is not None:
            told["digests"] = digests(self.stage, self.level)
            if self.stage == Stage.PACKAGE:
                told["results"] = level_results(self.level)
        return self.with_pod(pod().succeeded(**(told | result))).complete()

    def failed(self, reason: str = "PodFailurePolicy", message: str = "", when: float = 61) -> Self:
        failures = max(1, self.fields.get("failed", 0))
        return self._with(end=JobEnd.FAILED, ended=(at(when), reason, message), failed=failures)

    def observed(self, owner: Experiment) -> tuple[ObservedJob, list[ObservedPod]]:
        recorded_only = self.fields.get("recorded_only", False)
        key = self.fields.get("key") or owner.key(self.stage, self.level)
        name = job_name(owner.name, Stage(self.stage), key, recorded_only=recorded_only)
        fields: dict[str, Any] = {
            "name": name,
            "uid": f"uid-of-{name}",
            "owner_uid": UID,
            "stage": Stage(self.stage),
            "key": key,
            "created": NOON,
            "started": NOON,
            **self.fields,
        }
        made = ObservedJob(**fields)
        return made, [each.observed(made, number) for number, each in enumerate(self.pods)]


def experiment(name: str = "a") -> Experiment:
    return Experiment(name)


def job(stage: str) -> Job:
    return Job(stage)


def pod() -> Pod:
    return Pod()
