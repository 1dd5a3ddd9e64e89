"""The pods that stages ran in: which there are, which is meant, and what they wrote."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kubernetes.client import CoreV1Api
from urllib3.exceptions import ReadTimeoutError

from sparse_transfer_api.contract import (
    LABEL_EXPERIMENT,
    LABEL_KEY,
    LABEL_STAGE,
    RUNNER_CONTAINER,
    Stage,
)

from .answers import CONNECT_SECONDS, TIMEOUT, document_of, lines_of
from .connection import Connection
from .refusals import Call, explained

SILENCE_SECONDS = 300
"""After which a log that is followed is asked for anew: the connection may have died silently."""


@dataclass(frozen=True)
class RunnerPod:
    """One pod of a stage.

    Args:
        name: The pod's.
        uid: The pod's.
        stage: Whose it is, by its label.
        key: The stage's key, by its label.
        created: When it was made.
        attempt: 1 for the first; a pod that replaces an evicted one has that one's number.
        started: Its runner has begun: there is a log.
        ended: Its runner has ended: the log is whole.
        waiting: Why its runner has not begun, in words.
    """

    name: str
    uid: str
    stage: Stage
    key: str
    created: datetime
    attempt: int
    started: bool
    ended: bool
    waiting: str


class Pods:
    """The pods of experiments.

    Args:
        connection: The cluster, and the namespace that is meant.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._api = CoreV1Api(connection.client)

    def of(self, experiment: str) -> list[RunnerPod]:
        """Returns an experiment's pods, oldest first; those that are gone are not among them.

        Args:
            experiment: The experiment's name.

        Raises:
            SparseTransferError: The cluster cannot be asked, or refuses.
        """
        with self._explained("list", "pods"):
            answer = self._api.list_namespaced_pod(
                self._connection.namespace,
                label_selector=f"{LABEL_EXPERIMENT}={experiment}",
                _preload_content=False,
                _request_timeout=TIMEOUT,
            )
            return runner_pods(document_of(answer)["items"])

    def log(self, pod: str, *, follow: bool) -> Iterator[tuple[str, str]]:
        """Yields the lines that a pod's runner wrote, each with its time, as the node tells it.

        Args:
            pod: The pod's name.
            follow: Go on with what it writes, until it ends, or is silent for long.

        Raises:
            NotThere: The pod is gone.
            InputError: Its runner has not begun.
            SparseTransferError: The cluster cannot be asked, or refuses.
        """
        with self._explained("get", "pods/log", pod):
            answer = self._api.read_namespaced_pod_log(
                pod,
                self._connection.namespace,
                container=RUNNER_CONTAINER,
                follow=follow,
                timestamps=True,
                _preload_content=False,
                _request_timeout=(CONNECT_SECONDS, SILENCE_SECONDS),
            )
            with suppress(ReadTimeoutError):  # it was silent; ask anew
                for line in lines_of(answer):
                    time, _, text = line.decode("utf-8", "replace").partition(" ")
                    yield time, text

    def _explained(self, verb: str, resource: str, name: str | None = None) -> Any:
        call = Call(verb, resource, "", self._connection.namespace, name)
        return explained(self._connection, call)


def runner_pods(documents: Iterable[Mapping[str, Any]]) -> list[RunnerPod]:
    """Returns an experiment's pods, oldest first, with the attempts of each stage counted."""
    failed: Counter[tuple[str, str]] = Counter()
    found = []
    for document in sorted(documents, key=lambda each: _age_order(each["metadata"])):
        labels = document["metadata"].get("labels") or {}
        stage, key = labels.get(LABEL_STAGE, ""), labels.get(LABEL_KEY, "")
        if stage not in set(Stage):
            continue  # of a newer operator
        found.append(_runner_pod(document, Stage(stage), key, 1 + failed[stage, key]))
        status = document.get("status") or {}
        if status.get("phase") == "Failed" and not _disrupted(status):
            failed[stage, key] += 1
    return found


def _age_order(metadata: Mapping[str, Any]) -> tuple[str, str]:
    return metadata["creationTimestamp"], metadata["name"]


def _disrupted(status: Mapping[str, Any]) -> bool:
    return any(
        condition["type"] == "DisruptionTarget" and condition["status"] == "True"
        for condition in status.get("conditions") or ()
    )


def _runner_pod(document: Mapping[str, Any], stage: Stage, key: str, attempt: int) -> RunnerPod:
    metadata, status = document["metadata"], document.get("status") or {}
    state = _container_state(status)
    ended = "terminated" in state or status.get("phase") in ("Succeeded", "Failed")
    return RunnerPod(
        name=metadata["name"],
        uid=metadata["uid"],
        stage=stage,
        key=key,
        created=datetime.fromisoformat(metadata["creationTimestamp"]),
        attempt=attempt,
        started=ended or "running" in state,
        ended=ended,
        waiting=_waiting(status, state),
    )


def _container_state(status: Mapping[str, Any]) -> Mapping[str, Any]:
    for container in status.get("containerStatuses") or ():
        if container["name"] == RUNNER_CONTAINER:
            state: Mapping[str, Any] = container.get("state") or {}
            return state
    return {}


def _waiting(status: Mapping[str, Any], state: Mapping[str, Any]) -> str:
    waiting = state.get("waiting")
    if waiting:
        return ": ".join(str(waiting[part]) for part in ("reason", "message") if waiting.get(part))
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            said = (str(condition[part]) for part in ("reason", "message") if condition.get(part))
            return ": ".join(said)
    return str(status.get("phase") or "Pending")
