"""A small cluster in memory: just enough of the Job controller, the kubelet and the runner.

It does what it is told, so that a test can lead an experiment through any weather. What must hold
at every moment is asserted where it happens: when a plan is carried out.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from sparse_transfer_api.contract import ExitCode, Stage
from sparse_transfer_api.fitting import fitted_status
from sparse_transfer_api.records import StageResult
from sparse_transfer_api.status import Phase, SparseTransferStatus, StageStatus
from sparse_transfer_operator.actions import (
    Action,
    CreateJob,
    DeleteExperiment,
    DeleteJob,
    Event,
    Plan,
    SetSuspend,
)
from sparse_transfer_operator.names import job_name
from sparse_transfer_operator.observed import (
    Children,
    JobEnd,
    ObservedJob,
    ObservedPod,
    PodPhase,
)
from sparse_transfer_operator.plan import plan

from .builders import SETTINGS, UID, Experiment, experiment
from .stage_results import NOON, digests, level_results, succeeded

FATAL = (ExitCode.USAGE, ExitCode.INPUT, ExitCode.MEMORY, ExitCode.ACCESS, ExitCode.VANISHED)


@dataclass
class Cluster:
    """One experiment, its Jobs and pods, and the output place.

    Args:
        owner: The experiment; its status is what was written last.
        now: The time.
        jobs: By name.
        pods: By UID.
        output: Stages and keys whose results are in the output place.
        events: All that were told.
        gone: The experiment was deleted.
        made: Jobs and pods so far.
        levels: Of a search: Jobs' levels, by the Jobs' names.
        seen: Pods as the operator sees them, where their watch is behind; None where it is not.
    """

    owner: Experiment = field(default_factory=experiment)
    now: datetime = NOON
    jobs: dict[str, ObservedJob] = field(default_factory=dict)
    pods: dict[str, ObservedPod] = field(default_factory=dict)
    output: set[tuple[Stage, str]] = field(default_factory=set)
    events: list[Event] = field(default_factory=list)
    gone: bool = False
    made: int = 0
    levels: dict[str, float | None] = field(default_factory=dict)
    seen: tuple[ObservedPod, ...] | None = None

    # ---- the operator ----------------------------------------------------------------------------

    def planned(self) -> Plan:
        pods = tuple(self.pods.values()) if self.seen is None else self.seen
        children = Children(tuple(self.jobs.values()), pods)
        return plan(self.owner.observed(), children, self.now, SETTINGS)

    def reconcile(self, *, status_is_lost: bool = False) -> bool:
        """Plans once and does what was planned; returns whether anything was to be done.

        Args:
            status_is_lost: The operator dies between its actions and the status.
        """
        found = self.planned()
        assert found == self.planned(), "the same question, another answer"
        assert found.next_check is None or found.next_check > self.now
        self._check_history(found)
        for action in found.actions:
            self._act(action)
        written = SparseTransferStatus.model_validate(fitted_status(found.status))
        assert written == found.status, "a status that is not read back as it was written"
        changed = written != self.owner.status
        assert changed or not found.events, "an event of nothing"
        if not status_is_lost:
            self.owner = replace(self.owner, status=written)
            self.events.extend(found.events)
        return changed or bool(found.actions)

    def settle(self) -> None:
        """Reconciles until nothing is left to be done; fails where that never comes."""
        for _ in range(12):
            if not self.reconcile():
                return
        raise AssertionError("planning does not converge")

    def _check_history(self, found: Plan) -> None:
        old, new = self.owner.status, found.status
        if old.results is not None and new.results != old.results:
            assert new.results is None, "a result was overwritten"
            assert new.history, "a result was lost"
            assert new.history[0].sparsity == old.results.sparsity
            assert new.history[1:] == old.history[:4]
        levels = {each.level: each for each in (new.search.levels if new.search else ())}
        for each in old.search.levels if old.search else ():
            now = levels.get(each.level)
            if each.results is not None and now is not None and now.stages[:1] == each.stages[:1]:
                same = [(stage.name, stage.key) for stage in now.stages] == [
                    (stage.name, stage.key) for stage in each.stages
                ]
                assert not same or now.results == each.results, "a level's result was lost"

    def _act(self, action: Action) -> None:
        if isinstance(action, CreateJob):
            self._create(action)
        elif isinstance(action, DeleteExperiment):
            self.gone = True
        elif action.name in self.jobs and self.jobs[action.name].uid == action.uid:
            if isinstance(action, DeleteJob):
                self.delete_job(action.name)
            else:
                self._suspend(action)

    def _create(self, order: CreateJob) -> None:
        name = job_name(self.owner.name, order.stage, order.key, recorded_only=order.recorded_only)
        for record in self.owner.status.all_stages:
            assert (record.key, record.outcome) != (order.key, "Succeeded"), "made again"
        if name in self.jobs:
            return
        for each in self.jobs.values():
            live = each.end is None
            assert each.stage is not order.stage or not live, "two live Jobs of one stage"
        self.made += 1
        self.levels[name] = order.level
        self.jobs[name] = ObservedJob(
            name=name,
            uid=f"job-{self.made}",
            owner_uid=UID,
            stage=order.stage,
            key=order.key,
            created=self.now,
            recorded_only=order.recorded_only,
            suspended=order.suspended,
            queued=bool(self.owner.labels),
            active_deadline_seconds=order.active_deadline_seconds,
        )

    def _suspend(self, action: SetSuspend) -> None:
        job = self.jobs[action.name]
        assert not job.queued, "the field is the queue manager's"
        self.set_suspended(action.name, action.suspend)

    # ---- the Job controller and the queue manager ------------------------------------------------

    def set_suspended(self, name: str, suspend: bool) -> None:
        job = self.jobs[name]
        if job.end is None and not job.deleting and job.suspended != suspend:
            self.jobs[name] = replace(job, suspended=suspend, started=None)
            if suspend:
                self._stop_pods(job)

    def delete_job(self, name: str) -> None:
        self.jobs[name] = replace(self.jobs[name], deleting=True)

    def collect(self) -> None:
        """The garbage collector removes what is being deleted."""
        for job in [each for each in self.jobs.values() if each.deleting]:
            self._drop_pods(job)
            del self.jobs[job.name]

    def control_jobs(self) -> None:
        """Starts Jobs, makes their pods, and ends those whose time is up."""
        for job in [each for each in self.jobs.values() if self._acts(each)]:
            job = replace(job, started=job.started or self.now)
            self.jobs[job.name] = job
            limit = job.active_deadline_seconds
            if limit is not None and job.started and self.now >= job.started + _seconds(limit):
                self._stop_pods(job)
                self._end(job, JobEnd.FAILED, "DeadlineExceeded")
            elif not self._live_pods(job):
                self._make_pod(job)

    def _acts(self, job: ObservedJob) -> bool:
        return job.end is None and not job.suspended and not job.deleting

    def _live_pods(self, job: ObservedJob) -> list[ObservedPod]:
        ended = (PodPhase.SUCCEEDED, PodPhase.FAILED)
        return [
            each
            for each in self.pods.values()
            if each.job_uid == job.uid and each.phase not in ended
        ]

    def _make_pod(self, job: ObservedJob) -> None:
        self.made += 1
        uid = f"pod-{self.made}"
        self.pods[uid] = ObservedPod(
            name=uid, uid=uid, job_uid=job.uid, phase=PodPhase.PENDING, created=self.now
        )

    def _stop_pods(self, job: ObservedJob) -> None:
        for pod in self._live_pods(job):
            del self.pods[pod.uid]

    def _drop_pods(self, job: ObservedJob) -> None:
        self.pods = {uid: each for uid, each in self.pods.items() if each.job_uid != job.uid}

    def _end(self, job: ObservedJob, end: JobEnd, reason: str) -> None:
        self.jobs[job.name] = replace(job, end=end, ended=(self.now, reason, ""))

    # ---- the kubelet and the runner --------------------------------------------------------------

    def live(self) -> list[tuple[ObservedJob, ObservedPod]]:
        """Returns all live pods of Jobs that are not being deleted."""
        return [
            (job, pod)
            for job in self.jobs.values()
            if self._acts(job)
            for pod in self._live_pods(job)
        ]

    def start(self, pod: ObservedPod) -> None:
        self.pods[pod.uid] = replace(pod, phase=PodPhase.RUNNING, started=self.now)

    def cannot_start(self, pod: ObservedPod) -> None:
        self.pods[pod.uid] = replace(pod, waiting_because=("ErrImagePull", "no such image"))

    def work(self, job: ObservedJob, pod: ObservedPod) -> None:
        """The runner does its work, or finds that it cannot."""
        if self._earlier_vanished(job):
            self.fail(job, pod, ExitCode.VANISHED)
            return
        if job.recorded_only and (job.stage, job.key) not in self.output:
            self.fail(job, pod, ExitCode.VANISHED)
            return
        self.output.add((job.stage, job.key))
        self._end_pod(pod, PodPhase.SUCCEEDED, 0, self._result(job))
        self._end(job, JobEnd.COMPLETE, "CompletionsReached")

    def _result(self, job: ObservedJob) -> StageResult:
        level = self.levels[job.name]
        told: dict[str, Any] = {"digests": digests(job.stage, level)}
        if level is not None and job.stage is Stage.PACKAGE:
            told["results"] = level_results(level)
        return succeeded(job.stage, job.key, **told)

    def _earlier_vanished(self, job: ObservedJob) -> bool:
        records = {each.name: each for each in self._records(self.levels[job.name])}
        earlier = list(Stage)[: list(Stage).index(job.stage)]
        return any(
            (stage, records[stage].key) not in self.output for stage in earlier if stage in records
        )

    def _records(self, level: float | None) -> tuple[StageStatus, ...]:
        """Returns the stages that a Job of a level is one of, as far as they are known."""
        status = self.owner.status
        for each in status.search.levels if status.search is not None else ():
            if each.level == level:
                return each.stages
        return status.stages

    def fail(self, job: ObservedJob, pod: ObservedPod, code: int) -> None:
        """The pod ends with an exit code; with 137 nobody has had time to leave a result."""
        result = None
        if code != 137:
            reason = "OutputVanished" if code == ExitCode.VANISHED else "Because"
            result = StageResult(
                stage=job.stage, key=job.key, outcome="Failed", reason=reason, exit_code=code
            )
        self._end_pod(pod, PodPhase.FAILED, code, result)
        job = replace(job, failed=job.failed + 1)
        self.jobs[job.name] = job
        if code in FATAL:
            self._end(job, JobEnd.FAILED, "PodFailurePolicy")
        elif job.failed > self.owner.parsed.spec.run_policy.backoff_limit:
            self._end(job, JobEnd.FAILED, "BackoffLimitExceeded")

    def disrupt(self, pod: ObservedPod) -> None:
        self._end_pod(replace(pod, disrupted="EvictionByEvictionAPI"), PodPhase.FAILED, 143, None)

    def remove_pod(self, pod: ObservedPod) -> None:
        """The pod is gone, with whatever it had to tell."""
        self.pods.pop(pod.uid, None)

    def _end_pod(
        self, pod: ObservedPod, phase: PodPhase, code: int, result: StageResult | None
    ) -> None:
        self.pods[pod.uid] = replace(
            pod,
            phase=phase,
            started=pod.started or self.now,
            finished=self.now,
            exit_code=code,
            ended_because="Completed" if code == 0 else "Error",
            message=None if result is None else result.to_termination_message().decode(),
        )

    # ---- time, and fair weather ------------------------------------------------------------------

    def pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def work_in_fair_weather(self) -> None:
        """One round in which everything works: queues admit, pods start and succeed."""
        self.seen = None
        self.collect()
        for name, job in list(self.jobs.items()):
            if job.queued:
                self.set_suspended(name, False)
        self.control_jobs()
        for job, pod in self.live():
            self.work(job, pod)
        self.pass_time(20)

    def run_to_the_end(self) -> Phase | None:
        """Lets everything work until the experiment has ended; fails where it never does."""
        for _ in range(40 if not self.owner.parsed.spec.search.levels else 120):
            self.settle()
            if self.owner.status.phase in (Phase.SUCCEEDED, Phase.FAILED) or self.gone:
                return self.owner.status.phase
            self.work_in_fair_weather()
        raise AssertionError(f"no end, but {self.owner.status.phase}: {self.owner.status}")


def _seconds(number: int) -> timedelta:
    return timedelta(seconds=number)
