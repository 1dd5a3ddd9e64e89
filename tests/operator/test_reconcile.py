"""Observe, plan, act, write, tell: what is done with a plan, and with what fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.operator.bodies import NAME, NAMESPACE, UID, experiment_body, job_body

from sparse_transfer_api.contract import Stage
from sparse_transfer_api.errors import InputError
from sparse_transfer_api.status import ConditionType, Phase, SparseTransferStatus, StageStatus
from sparse_transfer_operator.actions import (
    CreateJob,
    DeleteExperiment,
    DeleteJob,
    Event,
    Plan,
    SetSuspend,
)
from sparse_transfer_operator.bodies import Body
from sparse_transfer_operator.cluster.failures import Conflict, NotFound, Refused, RequestFailed
from sparse_transfer_operator.cluster.writes import NameTaken
from sparse_transfer_operator.doing import Doing
from sparse_transfer_operator.object_key import ObjectKey
from sparse_transfer_operator.observed import Children, ObservedExperiment
from sparse_transfer_operator.observer import Kind, Observer
from sparse_transfer_operator.progress import ExperimentId, RunningStage
from sparse_transfer_operator.reconcile import Reconciler
from sparse_transfer_operator.settings import OperatorSettings
from sparse_transfer_operator.work_queue import WorkQueue

KEY = ObjectKey(NAMESPACE, NAME)
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
CREATE = CreateJob(Stage.PREPARE, "abcdefghij")
PREPARING = SparseTransferStatus(phase=Phase.PREPARING)
TOLD = Event("JobCreated", "made it")


@dataclass
class Workshop:
    """A reconciler with everything around it, and what was done there.

    Args:
        plans: That the state machine returns, one after the other; the last one for ever.
        failures: What writing raises, by the write's name; each once.
        observer: Knows one experiment.
        now: The experiment as it is when it is asked for.
    """

    plans: list[Plan]
    failures: dict[str, list[Exception]] = field(default_factory=dict)
    observer: Observer = field(default_factory=Observer)
    queue: WorkQueue = field(default_factory=WorkQueue)
    writes: list[tuple[Any, ...]] = field(default_factory=list)
    told: list[Event] = field(default_factory=list)
    failed_for: list[str] = field(default_factory=list)
    seen: list[tuple[ObservedExperiment, Children]] = field(default_factory=list)
    settled: list[RunningStage | None] = field(default_factory=list)
    now: Body = field(default_factory=dict)
    version: int = 10

    def __post_init__(self) -> None:
        self.observer.see(Kind.EXPERIMENT, experiment_body(5))
        doing = Doing(
            observer=self.observer,
            writes=self,
            plan=self.plan,
            build=lambda _, order: {"stage": order.stage.value},
            settings=OperatorSettings(),
            recorder=self,
            meter=self,
            progress=self,
            clock=lambda: NOW,
        )
        self.reconciler = Reconciler(doing, self.queue)

    def plan(
        self,
        observed: ObservedExperiment,
        children: Children,
        now: datetime,
        settings: OperatorSettings,
    ) -> Plan:
        self.seen.append((observed, children))
        return self.plans.pop(0) if len(self.plans) > 1 else self.plans[0]

    async def create_job(self, namespace: str, manifest: dict[str, Any], owner_uid: str) -> Body:
        self._write("create_job", manifest["stage"])
        return job_body(self._next(), stage=manifest["stage"])

    async def delete_job(self, namespace: str, name: str, uid: str) -> Body | None:
        self._write("delete_job", name)
        return None

    async def suspend_job(self, namespace: str, name: str, uid: str, suspend: bool) -> Body | None:
        self._write("suspend_job", name, suspend)
        return job_body(self._next(), uid=uid, spec={"suspend": suspend})

    async def apply_status(self, key: ObjectKey, version: int, status: dict[str, Any]) -> Body:
        seen = self.observer.look(key)
        assert seen is not None
        assert version == self.observer.version(key, seen.mark)
        self._write("apply_status", status)
        return experiment_body(self._next(), status=status)

    async def read_experiment(self, key: ObjectKey) -> Body:
        return self.now

    async def delete_experiment(self, key: ObjectKey, uid: str) -> None:
        self._write("delete_experiment", key)

    def tell(self, key: ObjectKey, uid: str, event: Event) -> None:
        self.told.append(event)

    def reconciled(self, seconds: float) -> None:
        assert seconds >= 0

    def failed(self, reason: str) -> None:
        self.failed_for.append(reason)

    def written(self, before: ObservedExperiment, children: Children, after: Plan) -> None:
        assert before.status != after.status

    def settle(
        self, experiment: ExperimentId, running: RunningStage | None, shown: datetime | None
    ) -> None:
        assert experiment == ExperimentId(NAMESPACE, NAME, UID)
        self.settled.append(running)

    def _write(self, name: str, *what: Any) -> None:
        if self.failures.get(name):
            raise self.failures[name].pop(0)
        self.writes.append((name, *what))

    def _next(self) -> int:
        self.version += 1
        return self.version

    @property
    def kinds(self) -> list[str]:
        """The writes' names."""
        return [name for name, *_ in self.writes]


def _work(workshop: Workshop, enough: Callable[[], bool]) -> None:
    """Lets the reconciler work on the experiment until there is enough."""

    async def work() -> None:
        workshop.queue.add(KEY)
        worker = asyncio.create_task(workshop.reconciler.work())
        async with asyncio.timeout(10):
            while not enough():
                await asyncio.sleep(0.001)
        workshop.reconciler.wake.stop()
        workshop.queue.close()
        await worker

    asyncio.run(work())


def _idle(workshop: Workshop, looks: int) -> Callable[[], bool]:
    return lambda: len(workshop.seen) >= looks and not len(workshop.queue)


def test_actions_come_first_then_the_status_then_events() -> None:
    workshop = Workshop([Plan(PREPARING, (CREATE,), (TOLD,)), Plan(PREPARING)])
    _work(workshop, _idle(workshop, 1))
    assert workshop.kinds == ["create_job", "apply_status"]
    assert workshop.writes[1][1]["phase"] == "Preparing"
    assert workshop.told == [TOLD]


def test_an_action_that_changes_nothing_is_not_repeated_at_once() -> None:
    workshop = Workshop([Plan(PREPARING, (CREATE,))])
    _work(workshop, _idle(workshop, 2))
    assert workshop.kinds == ["create_job", "apply_status", "create_job"]


def test_own_writes_are_seen_at_once() -> None:
    delete = DeleteJob(job_body()["metadata"]["name"], "uid-of-the-job")
    workshop = Workshop([Plan(PREPARING, (delete,)), Plan(PREPARING)])
    workshop.observer.see(Kind.JOB, job_body())
    _work(workshop, _idle(workshop, 2))
    (before, after) = workshop.seen
    assert (before[0].status.phase, after[0].status.phase) == (None, Phase.PREPARING)
    assert (len(before[1].jobs), len(after[1].jobs)) == (1, 0)


def test_a_status_that_is_the_same_is_not_written() -> None:
    workshop = Workshop([Plan(SparseTransferStatus(), events=(TOLD,))])
    _work(workshop, _idle(workshop, 1))
    assert workshop.writes == []


def test_what_a_moving_stage_says_is_gathered_into_one_write() -> None:
    training = SparseTransferStatus(phase=Phase.TRAINING)
    packaging = SparseTransferStatus(phase=Phase.PACKAGING)
    workshop = Workshop(
        [Plan(PREPARING, (CREATE,)), Plan(training, (CREATE,)), Plan(packaging, (), (TOLD,))]
    )
    _work(workshop, lambda: bool(workshop.told))
    written = [what["phase"] for name, *rest in workshop.writes for what in rest if name[0] == "a"]
    assert written == ["Preparing", "Packaging"]


def test_an_end_is_written_at_once() -> None:
    succeeded = SparseTransferStatus(phase=Phase.SUCCEEDED)
    workshop = Workshop([Plan(PREPARING, (CREATE,)), Plan(succeeded)])
    _work(workshop, _idle(workshop, 2))
    assert workshop.writes[-1][1]["phase"] == "Succeeded"


@pytest.mark.parametrize(
    ("action", "write"),
    [
        (DeleteJob("a", "1"), ("delete_job", "a")),
        (SetSuspend("a", "1", True), ("suspend_job", "a", True)),
        (DeleteExperiment(), ("delete_experiment", KEY)),
    ],
)
def test_every_action_is_carried_out(action: Any, write: tuple[Any, ...]) -> None:
    workshop = Workshop([Plan(SparseTransferStatus(), (action,)), Plan(SparseTransferStatus())])
    _work(workshop, lambda: bool(workshop.writes))
    assert workshop.writes == [write]


@pytest.mark.parametrize("failure", [RequestFailed("Timeout", "too slow"), ValueError("a mistake")])
@pytest.mark.parametrize("where", ["create_job", "apply_status"])
def test_what_fails_is_counted_and_tried_again(where: str, failure: Exception) -> None:
    workshop = Workshop(
        [*[Plan(PREPARING, (CREATE,), (TOLD,))] * 2, Plan(PREPARING)], {where: [failure]}
    )
    _work(workshop, lambda: bool(workshop.told))
    expected = failure.reason if isinstance(failure, RequestFailed) else "ValueError"
    assert workshop.failed_for == [expected]
    assert workshop.told == [TOLD]
    assert workshop.kinds[-1] == "apply_status"


def test_a_refused_job_is_said_in_the_conditions_and_tried_again() -> None:
    refusal = Refused("Forbidden", "exceeded quota", 403)
    workshop = Workshop([Plan(PREPARING, (CREATE,), (TOLD,))], {"create_job": [refusal]})
    _work(workshop, lambda: TOLD in workshop.told)
    first, last = (
        SparseTransferStatus.model_validate(status)
        for name, status in workshop.writes
        if name == "apply_status"
    )
    refused = first.condition(ConditionType.RECONCILING)
    assert refused is not None
    assert (refused.status, refused.reason) == ("True", "JobRefused")
    assert "exceeded quota" in refused.message
    assert (first.phase, last.phase) == (Phase.PENDING, Phase.PREPARING)
    assert workshop.told[0].reason == "JobRefused"


def _stages(*outcomes: str) -> tuple[StageStatus, ...]:
    """Returns records of the first stages."""
    return tuple(
        StageStatus(name=stage, key="abcdefghij", job=f"job-{stage}", outcome=outcome)
        for stage, outcome in zip(Stage, outcomes, strict=False)
    )


def test_a_refused_job_does_not_hide_what_the_stage_before_came_to() -> None:
    refusal = Refused("Forbidden", "exceeded quota", 403)
    train = CreateJob(Stage.TRAIN, "abcdefghij")
    planned = SparseTransferStatus(phase=Phase.PENDING, stages=_stages("Succeeded", "Running"))
    workshop = Workshop([Plan(planned, (train,))], {"create_job": [refusal, refusal]})
    _work(workshop, lambda: len(workshop.failed_for) == 2 and not len(workshop.queue))
    (told,) = (
        SparseTransferStatus.model_validate(status)
        for name, status in workshop.writes
        if name == "apply_status"
    )
    assert [(each.outcome, each.job) for each in told.stages] == [
        ("Succeeded", "job-prepare"),
        (None, None),
    ]
    conditions = {each.type: each.status for each in told.conditions}
    assert conditions[ConditionType.PREPARED] == "True"
    assert conditions[ConditionType.RECONCILING] == "False"
    assert workshop.settled[-1] is None


def test_trouble_that_does_not_pass_is_told() -> None:
    broken = [RequestFailed("InternalError", "failed calling webhook", 500) for _ in range(5)]
    workshop = Workshop([Plan(PREPARING, (CREATE,))], {"create_job": [*broken]})
    _work(workshop, lambda: "apply_status" in workshop.kinds)
    told = SparseTransferStatus.model_validate(workshop.writes[0][1])
    refused = told.condition(ConditionType.COMPLETE)
    assert refused is not None
    assert "failed calling webhook" in refused.message
    assert workshop.failed_for == ["InternalError"] * 5


@pytest.mark.parametrize("action", [DeleteJob("a", "1"), DeleteExperiment()])
def test_a_removal_that_is_refused_holds_up_nothing_and_is_tried_again(action: Any) -> None:
    succeeded = SparseTransferStatus(phase=Phase.SUCCEEDED)
    name = "delete_job" if isinstance(action, DeleteJob) else "delete_experiment"
    refusal = Refused("Forbidden", "a policy", 403)
    workshop = Workshop([Plan(succeeded, (action,))], {name: [refusal]})
    _work(workshop, lambda: name in workshop.kinds)
    assert workshop.kinds == ["apply_status", name]
    assert workshop.writes[0][1]["phase"] == "Succeeded"
    assert workshop.failed_for == ["Forbidden"]


def test_a_status_is_cut_to_what_the_api_server_takes() -> None:
    long = (StageStatus(name=Stage.PREPARE, manifest_uri="s3://" + "x" * 5000),)
    workshop = Workshop([Plan(SparseTransferStatus(phase=Phase.FAILED, stages=long))])
    workshop.queue.add(KEY)
    _work(workshop, _idle(workshop, 1))
    (write,) = workshop.writes
    assert len(write[1]["stages"][0]["manifestUri"]) == 1024
    asyncio.run(workshop.reconciler.reconcile(KEY))
    assert len(workshop.writes) == 1


def test_conflicts_without_end_wait_longer_each_time() -> None:
    conflicts = [Conflict("Conflict", "a webhook's", 409) for _ in range(5)]
    workshop = Workshop([Plan(PREPARING)], {"apply_status": [*conflicts]}, now=experiment_body(5))
    _work(workshop, lambda: bool(workshop.writes))
    assert workshop.failed_for == ["Conflict"]


def test_a_spec_of_which_no_job_can_be_made_fails() -> None:
    mistakes = [InputError("template.volumes: no such claim") for _ in range(3)]
    workshop = Workshop([Plan(PREPARING, (CREATE,))], {"create_job": [*mistakes]})
    _work(workshop, lambda: len(workshop.failed_for) >= 2)
    (status,) = (status for name, status in workshop.writes if name == "apply_status")
    assert status["phase"] == "Failed"
    failed = SparseTransferStatus.model_validate(status).condition(ConditionType.STALLED)
    assert failed is not None
    assert "no such claim" in failed.message


def test_a_name_that_is_taken_is_mostly_given_back_soon() -> None:
    taken = [NameTaken("JobNameTaken", "somebody else's") for _ in range(2)]
    workshop = Workshop([Plan(PREPARING, (CREATE,), (TOLD,))], {"create_job": [*taken]})
    _work(workshop, lambda: bool(workshop.told))
    assert workshop.told == [TOLD]
    assert workshop.kinds == ["create_job", "apply_status"]


def test_an_experiment_that_is_gone_when_its_status_is_written_is_forgotten() -> None:
    gone = NotFound("NotFound", "no such experiment", 404)
    workshop = Workshop([Plan(PREPARING, (), (TOLD,))], {"apply_status": [gone]})
    _work(workshop, lambda: workshop.observer.look(KEY) is None)
    assert workshop.told == []
    assert workshop.failed_for == []


def test_progress_that_was_written_meanwhile_is_no_obstacle() -> None:
    status = {"progress": {"stage": "prepare", "percentage": 1.0}}
    workshop = Workshop(
        [Plan(PREPARING, (), (TOLD,))],
        {"apply_status": [Conflict("Conflict", "modified", 409)]},
        now=experiment_body(9, status=status),
    )
    _work(workshop, lambda: bool(workshop.told))
    assert (len(workshop.seen), workshop.kinds) == (1, ["apply_status"])


def test_an_edit_meanwhile_is_planned_anew() -> None:
    workshop = Workshop(
        [Plan(PREPARING, (), (TOLD,))],
        {"apply_status": [Conflict("Conflict", "modified", 409)]},
        now=experiment_body(9, metadata={"generation": 2}),
    )
    _work(workshop, lambda: bool(workshop.told))
    assert [observed.generation for observed, _ in workshop.seen] == [1, 2]
    assert workshop.kinds == ["apply_status"]


def test_a_check_in_time_looks_again() -> None:
    soon = Plan(SparseTransferStatus(), next_check=NOW + timedelta(milliseconds=20))
    workshop = Workshop([soon, Plan(SparseTransferStatus())])
    _work(workshop, _idle(workshop, 2))


def test_an_unknown_experiment_is_no_work() -> None:
    workshop = Workshop([Plan(PREPARING)])
    workshop.observer.bury(Kind.EXPERIMENT, KEY, UID)
    asyncio.run(workshop.reconciler.reconcile(KEY))
    assert workshop.seen == workshop.writes == []
