"""Which pods there are, and which of them is meant."""

from __future__ import annotations

from typing import Any

import pytest
from tests.cli.cluster.experiments import Document, queued, seen, stage, succeeded, training

from sparse_transfer_api.contract import LABEL_KEY, LABEL_STAGE, Stage
from sparse_transfer_api.errors import AccessError
from sparse_transfer_cli.cluster.choosing_pods import (
    chosen,
    no_pods,
    of_stage,
    stage_of_interest,
)
from sparse_transfer_cli.cluster.pods import RunnerPod, runner_pods


def pod(name: str, second: int, phase: str, stage: str = "train", **status: Any) -> Document:
    return {
        "metadata": {
            "name": name,
            "uid": f"uid-{name}",
            "creationTimestamp": f"2026-11-25T11:00:{second:02}Z",
            "labels": {LABEL_STAGE: stage, LABEL_KEY: stage[0] * 10},
        },
        "status": {"phase": phase, **status},
    }


def state(**fields: Any) -> list[Document]:
    return [{"name": "sidecar", "state": {}}, {"name": "runner", "state": fields}]


DISRUPTED = [{"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}]


def test_attempts_are_counted_and_disruptions_are_not() -> None:
    found = runner_pods(
        [
            pod("d", 4, "Running", containerStatuses=state(running={})),
            pod("b", 2, "Failed", conditions=DISRUPTED),
            pod("a", 1, "Failed"),
            pod("c", 3, "Failed"),
            pod("p", 0, "Failed", stage="prepare"),
        ]
    )
    assert [(each.name, each.attempt) for each in found] == [
        ("p", 1), ("a", 1), ("b", 2), ("c", 2), ("d", 3),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("document", "started", "ended", "waiting"),
    [
        (pod("a", 1, "Pending"), False, False, "Pending"),
        (
            pod(
                "a",
                1,
                "Pending",
                conditions=[
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": "0/3 nodes are available",
                    }
                ],
            ),
            False,
            False,
            "Unschedulable: 0/3 nodes are available",
        ),
        (
            pod("a", 1, "Pending", containerStatuses=state(waiting={"reason": "ErrImagePull"})),
            False,
            False,
            "ErrImagePull",
        ),
        (pod("a", 1, "Running", containerStatuses=state(running={})), True, False, "Running"),
        (pod("a", 1, "Running", containerStatuses=state(terminated={})), True, True, "Running"),
        (pod("a", 1, "Failed"), True, True, "Failed"),
        ({**pod("a", 1, ""), "status": {}}, False, False, "Pending"),
    ],
)
def test_a_pod_says_whether_there_is_a_log(
    document: Document, started: bool, ended: bool, waiting: str
) -> None:
    (found,) = runner_pods([document])
    assert (found.started, found.ended, found.waiting) == (started, ended, waiting)


def test_pods_of_unknown_stages_are_passed_over() -> None:
    assert runner_pods([pod("a", 1, "Running", stage="distill")]) == []


PODS = runner_pods(
    [pod("a", 1, "Failed"), pod("b", 2, "Failed", conditions=DISRUPTED), pod("c", 3, "Running")]
)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({}, "c"),
        ({"previous": True}, "b"),
        ({"attempt": 1}, "a"),
        ({"attempt": 2}, "c"),
    ],
)
def test_the_newest_pod_is_meant_unless_another_is_named(
    options: dict[str, Any], name: str
) -> None:
    found = chosen(PODS, **{"previous": False, "attempt": None, **options})
    assert found is not None
    assert found.name == name


def test_without_pods_none_is_meant() -> None:
    assert chosen([], previous=True, attempt=None) is None


@pytest.mark.parametrize(
    ("pods", "options", "words"),
    [
        (PODS, {"attempt": 3}, "there is no pod of it; there is one of 1 or 2"),
        (PODS[:1], {"previous": True}, "a: is the stage's only pod"),
    ],
)
def test_a_pod_that_is_not_there_is_refused(
    pods: list[RunnerPod], options: dict[str, Any], words: str
) -> None:
    with pytest.raises(AccessError, match=words):
        chosen(pods, **{"previous": False, "attempt": None, **options})


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (None, "prepare"),
        (queued(), "prepare"),
        (training(), "train"),
        (succeeded(), "package"),
        ({"stages": [stage("prepare", "Failed"), stage("train", "Succeeded")]}, "prepare"),
        ({"stages": [stage("prepare", "Succeeded"), stage("train")]}, "prepare"),
    ],
)
def test_the_stage_that_matters_most_is_shown(status: Document | None, name: str) -> None:
    assert stage_of_interest(seen(status)) == name


def test_pods_of_an_earlier_spec_are_not_the_stages() -> None:
    old = pod("old", 0, "Succeeded")
    old["metadata"]["labels"][LABEL_KEY] = "old"
    pods = runner_pods([old, pod("new", 1, "Running")])
    assert [each.name for each in of_stage(pods, seen(training()), Stage.TRAIN)] == ["new"]
    assert [each.name for each in of_stage(pods, seen(None), Stage.TRAIN)] == ["old", "new"]


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (None, "film-reviews, train: has not begun, so there is no log; --follow waits for it"),
        (training(), "film-reviews, train: has no pod just now; --follow waits for one"),
        (
            succeeded(),
            "its pods and their logs are gone (spec.runPolicy.ttlSecondsAfterFinished says how "
            "long they are kept); it ended with Succeeded (Completed); its results are at "
            "s3://team-runs/ml/film-reviews/train-tttttttttt",
        ),
        (
            {"stages": [stage("train", "Failed", reason="OutOfMemory", message="batch of 1")]},
            "it ended with Failed (OutOfMemory): batch of 1",
        ),
    ],
)
def test_where_there_are_no_pods_it_says_why(status: Document | None, words: str) -> None:
    assert words in no_pods(seen(status), Stage.TRAIN)
