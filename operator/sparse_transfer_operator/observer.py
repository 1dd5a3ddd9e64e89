"""What is known of the cluster: experiments with their Jobs and pods, in memory, by experiment.

Fed with bodies from watches, from listings and from answers to own requests, in any order: a body
counts only if it is newer than what is known, so that the operator sees its own writes at once and
late events change nothing. Whole bodies are never kept: an experiment is packed JSON of what is
planned with, Jobs and pods are projections.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from sparse_transfer_api.contract import LABEL_EXPERIMENT

from .bodies import Body, mapping, shared, text
from .object_key import ObjectKey
from .observed import (
    Children,
    JobEnd,
    ObservedExperiment,
    ObservedJob,
    ObservedPod,
    PodPhase,
)
from .packing import NOTHING, State, newer, packed, packed_status, unpacked, version_of
from .progress.owners import ExperimentId, PodOwner
from .projection import DEFAULT_QUEUE_LABEL, observed_experiment, observed_job, observed_pod
from .summary import Summary, summary

_BURIED = 20_000
"""So many deleted objects are remembered: an answer that was on its way cannot bring them back."""

Gone = Callable[[ObjectKey, str], None]


class Kind(StrEnum):
    """What is watched."""

    EXPERIMENT = "experiment"
    JOB = "job"
    POD = "pod"


@dataclass(slots=True)
class _Entry:
    """All that is known under one name.

    Args:
        uid: Of the experiment; empty while only children are known.
        version: The experiment's resource version.
        state: What is planned with, as JSON: metadata with spec, and status.
        expected: The status that is being written, packed; its coming is no news.
        summary: For metrics.
        jobs: By UID, with their resource versions.
        pods: By UID, with their resource versions.
    """

    uid: str = ""
    version: int = 0
    state: State = NOTHING
    expected: bytes | None = None
    summary: Summary | None = None
    jobs: dict[str, tuple[int, ObservedJob]] = field(default_factory=dict)
    pods: dict[str, tuple[int, ObservedPod]] = field(default_factory=dict)


class News(NamedTuple):
    """Something changed that is planned with.

    Args:
        key: Whose experiment has to be looked at.
        urgent: Something follows of it; else only the status says something new.
    """

    key: ObjectKey
    urgent: bool


class Seen(NamedTuple):
    """What a look at one experiment shows.

    Args:
        experiment: The experiment.
        children: All Jobs and pods that carry its name.
        mark: Tells this state of the experiment from any other.
    """

    experiment: ObservedExperiment
    children: Children
    mark: State


class Observer:
    """The operator's memory of the cluster.

    Args:
        queue_label: A Job with it belongs to a queue manager.
        gone: Called with each experiment that is gone, with its UID.
    """

    def __init__(
        self, queue_label: str = DEFAULT_QUEUE_LABEL, gone: Gone = lambda *_: None
    ) -> None:
        self._gone = gone
        self._queue_label = queue_label
        self._entries: dict[ObjectKey, _Entry] = {}
        self._pods: dict[str, ObjectKey] = {}
        self._buried: OrderedDict[str, None] = OrderedDict()

    def __len__(self) -> int:
        return sum(1 for entry in self._entries.values() if entry.uid)

    def see(self, kind: Kind, body: Body) -> News | None:
        """Takes in an object as it is now.

        Returns:
            None where nothing changed that is planned with.
        """
        meta = mapping(body, "metadata")
        key, uid, version = _key(kind, meta), text(meta, "uid"), version_of(meta)
        if key is None or not uid or uid in self._buried:
            return None
        entry = self._entries.setdefault(key, _Entry())
        if kind is Kind.EXPERIMENT:
            if entry.uid not in ("", uid) and newer(version, entry.version):
                self._gone(key, entry.uid)  # news of different objects come in any order
            urgent = self._take_experiment(entry, uid, version, body)
        elif kind is Kind.JOB:
            urgent = self._take_job(entry, uid, version, body)
        else:
            urgent = self._take_pod(entry, uid, version, body)
            self._pods[uid] = key
        self._drop_if_empty(key, entry)
        return None if urgent is None else News(key, urgent)

    def forget(self, kind: Kind, body: Body) -> News | None:
        """Takes in that an object is gone; returns None where it was not known."""
        meta = mapping(body, "metadata")
        key = _key(kind, meta)
        return None if key is None else self.bury(kind, key, text(meta, "uid"))

    def bury(self, kind: Kind, key: ObjectKey, uid: str) -> News | None:
        """Takes in that the object of a UID is gone; returns None where it was not known."""
        self._buried[uid] = None
        if len(self._buried) > _BURIED:
            self._buried.popitem(last=False)
        entry = self._entries.get(key)
        if entry is None:
            return None
        known = True
        if kind is Kind.EXPERIMENT:
            if known := entry.uid == uid:
                entry.uid, entry.version, entry.state, entry.summary = "", 0, NOTHING, None
                self._gone(key, uid)
        elif kind is Kind.JOB:
            known = entry.jobs.pop(uid, None) is not None
        else:
            known = entry.pods.pop(uid, None) is not None
            self._pods.pop(uid, None)
        self._drop_if_empty(key, entry)
        return News(key, urgent=True) if known else None

    def lose(self, namespace: str) -> None:
        """Takes in that nothing of a namespace can be seen any more; it may come back."""
        for key in [key for key in self._entries if key.namespace == namespace]:
            entry = self._entries.pop(key)
            for uid in entry.pods:
                self._pods.pop(uid, None)
            if entry.uid:
                self._gone(key, entry.uid)

    def look(self, key: ObjectKey) -> Seen | None:
        """Returns an experiment with all Jobs and pods that carry its name; None where it is not.

        Whose they are is not asked here: they may be of an earlier experiment of the same name.
        """
        entry = self._entries.get(key)
        if entry is None or not entry.uid:
            return None
        jobs = tuple(job for _, job in entry.jobs.values())
        pods = tuple(pod for _, pod in entry.pods.values())
        experiment = observed_experiment(unpacked(entry.state))
        return Seen(experiment, Children(jobs, pods), entry.state)

    def summary(self, key: ObjectKey) -> Summary | None:
        """Returns what metrics say about one experiment; None where it is not."""
        entry = self._entries.get(key)
        return None if entry is None else entry.summary

    def expect(self, key: ObjectKey, status: Body | None) -> None:
        """Says which status is being written, or None that none is any more."""
        entry = self._entries.get(key)
        if entry is not None:
            entry.expected = None if status is None else packed_status(status)

    def version(self, key: ObjectKey, mark: State) -> int | None:
        """Returns the newest version of an experiment in which it is as it was when looked at.

        Args:
            key: Where it is.
            mark: That look's.

        Returns:
            None where it is gone, or where something changed that is planned with.
        """
        entry = self._entries.get(key)
        return entry.version if entry is not None and entry.state is mark else None

    def experiments(self) -> list[ObjectKey]:
        """Returns all experiments that exist."""
        return [key for key, entry in self._entries.items() if entry.uid]

    def summaries(self) -> Iterator[tuple[ObjectKey, Summary]]:
        """Yields what metrics say about each experiment that exists."""
        for key, entry in self._entries.items():
            if entry.summary is not None:
                yield key, entry.summary

    def known(self, kind: Kind) -> Iterator[tuple[ObjectKey, str, int]]:
        """Yields key, UID and resource version of all objects of a kind."""
        for key, entry in self._entries.items():
            if kind is Kind.EXPERIMENT:
                if entry.uid:
                    yield key, entry.uid, entry.version
                continue
            held = entry.jobs if kind is Kind.JOB else entry.pods
            for uid, (version, _) in held.items():
                yield key, uid, version

    def owner(self, pod_uid: str) -> PodOwner | None:
        """Returns what a pod works on, by owner references from UID to UID.

        Returns:
            None for a pod that is not known, that has ended or is being deleted, and for one whose
            Job has ended, is being deleted, or belongs to no experiment that is known.
        """
        key = self._pods.get(pod_uid)
        if key is None:
            return None
        entry = self._entries[key]
        _, pod = entry.pods[pod_uid]
        _, job = entry.jobs.get(pod.job_uid, (0, None))
        if pod.finished or pod.deleting or job is None or job.end or job.deleting:
            return None
        if not entry.uid or job.owner_uid != entry.uid:
            return None
        return PodOwner(ExperimentId(key.namespace, key.name, entry.uid), job.stage, job.key)

    # Each of these returns whether the change is urgent, and None where there is none that matters.

    def _take_experiment(self, entry: _Entry, uid: str, version: int, body: Body) -> bool | None:
        if not newer(version, entry.version):
            return None
        state = packed(body)
        changed = uid != entry.uid or state != entry.state
        news = changed and state != (entry.state[0], entry.expected)
        entry.uid, entry.version, entry.summary = uid, version, summary(body)
        if changed:
            entry.state = state
        return True if news else None

    def _take_job(self, entry: _Entry, uid: str, version: int, body: Body) -> bool | None:
        before, known = entry.jobs.get(uid, (0, None))
        if not newer(version, before) or (job := observed_job(body, self._queue_label)) is None:
            return None
        entry.jobs[uid] = (version, job)
        if job == known:
            return None
        # That it is complete is told by its pod, which says how, too.
        was = (known.deleting, known.suspended) if known else (False, False)
        return job.end is JobEnd.FAILED or (job.deleting, job.suspended) != was

    def _take_pod(self, entry: _Entry, uid: str, version: int, body: Body) -> bool | None:
        before, known = entry.pods.get(uid, (0, None))
        if not newer(version, before):
            return None
        pod = observed_pod(body)
        entry.pods[uid] = (version, pod)
        return None if pod == known else pod.phase is PodPhase.SUCCEEDED

    def _drop_if_empty(self, key: ObjectKey, entry: _Entry) -> None:
        if not entry.uid and not entry.jobs and not entry.pods:
            self._entries.pop(key, None)


def _key(kind: Kind, meta: Body) -> ObjectKey | None:
    of_its_own = kind is Kind.EXPERIMENT
    name = text(meta, "name") if of_its_own else text(mapping(meta, "labels"), LABEL_EXPERIMENT)
    return ObjectKey(shared(meta, "namespace"), name) if name else None
