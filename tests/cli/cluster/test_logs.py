"""``logs`` where there is nothing to read: before pods begin, and after they are gone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.cli.cluster.command import Command
from tests.cli.cluster.conftest import Served
from tests.cli.cluster.experiments import Document, failed, succeeded, training
from tests.cluster.objects import pod
from tests.servers.processes import wait_until

from sparse_transfer_api.contract import LABEL_EXPERIMENT, LABEL_KEY, LABEL_STAGE
from sparse_transfer_cli.__main__ import invoke

Start = Callable[..., Command]


def runner_pod(
    name: str, stage: str = "train", *, key: str | None = None, **options: object
) -> Document:
    """Returns a pod of a stage of film-reviews."""
    template = pod(name, **options)  # type: ignore[arg-type]
    labels = {
        LABEL_EXPERIMENT: "film-reviews",
        LABEL_STAGE: stage,
        LABEL_KEY: key or stage[0] * 10,
    }
    return {**template, "metadata": {"name": name, "labels": labels}}


@pytest.mark.parametrize(
    ("status", "arguments", "words"),
    [
        (None, [], "film-reviews, prepare: has not begun, so there is no log; --follow waits"),
        (training(), [], "film-reviews, train: has no pod just now; --follow waits for one"),
        (
            training(),
            ["--stage", "prepare"],
            "film-reviews, prepare: its pods and their logs are gone",
        ),
        (
            succeeded(),
            [],
            "its results are at s3://team-runs/ml/film-reviews/package-pppppppppp",
        ),
        (succeeded(), ["--follow"], "film-reviews, package: its pods and their logs are gone"),
        (training(), ["--stage", "prepare", "--follow"], "prepare: its pods and their logs are"),
        (
            failed("OutOfMemory", "batch of 1"),
            ["--previous"],
            "it ended with Failed (OutOfMemory): batch of 1",
        ),
    ],
)
def test_without_pods_it_says_why_and_where_results_are(
    status: Document | None,
    arguments: list[str],
    words: str,
    served: Served,
    capsys: pytest.CaptureFixture[str],
) -> None:
    served.create(status=status)
    assert invoke(["logs", "film-reviews", *arguments]) == 13
    shown = capsys.readouterr()
    assert words in shown.err
    assert shown.out == ""


def test_a_pod_that_has_not_begun_says_what_it_waits_for(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    served.create(status=training())
    node = {"nodeSelector": {"no": "such"}}
    served.cluster.apply(runner_pod("waiting", **node), namespace=served.namespace)
    reason = ("get", "pod", "waiting", "--output=jsonpath={.status.conditions[0].reason}")
    wait_until(lambda: served.kubectl(*reason) == "Unschedulable", "the scheduler's word")
    assert invoke(["logs", "film-reviews"]) == 75
    shown = capsys.readouterr().err
    assert "pod waiting: has not begun (Unschedulable: " in shown
    assert "--follow waits for it" in shown


def test_following_ends_with_the_experiment_though_no_pod_ever_came(
    served: Served, start: Start
) -> None:
    served.create()
    with start("logs", "film-reviews", "--follow") as command:
        assert command.wait_for_error("waiting for a pod (Pending)")
        served.say(failed("InvalidSpec", "no"))
        code, _ = command.end()
    assert code == 0


def test_ctrl_c_ends_following(served: Served, start: Start) -> None:
    served.create(status=training())
    with start("logs", "film-reviews", "--follow") as command:
        assert command.wait_for_error("waiting for a pod (Training)")
        command.interrupt()
        code, errors = command.end()
    assert code == 0
    assert "no longer following; film-reviews goes on in the cluster" in errors
    assert "Traceback" not in errors


def test_two_ways_to_choose_a_pod_are_one_too_many(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["logs", "film-reviews", "--previous", "--attempt", "2"]) == 2
    assert "--previous and --attempt both choose a pod" in capsys.readouterr().err
