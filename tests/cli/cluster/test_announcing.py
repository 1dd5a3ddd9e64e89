"""What is told of an experiment while it is watched: each thing once, as a local run tells it."""

from __future__ import annotations

import json
from typing import Any

from tests.cli.cluster.experiments import (
    Document,
    conditions,
    failed,
    queued,
    seen,
    stage,
    succeeded,
    training,
)

from sparse_transfer_cli.cluster.announcing import Announcer
from sparse_transfer_cli.cluster.observed import Observed
from sparse_transfer_cli.display import JsonLinesDisplay


def announced(*experiments: Observed) -> list[list[dict[str, Any]]]:
    """Returns the lines that each sight of an experiment leads to."""
    lines: list[str] = []
    announcer = Announcer(JsonLinesDisplay(lines.append))
    found = []
    for experiment in experiments:
        announcer.show(experiment)
        found.append([json.loads(line) for line in lines])
        lines.clear()
    return found


def kinds(lines: list[dict[str, Any]]) -> list[str]:
    return [line["type"] for line in lines]


def with_train(**fields: Any) -> Document:
    return training(stages=[stage("prepare", "Succeeded"), stage("train", "Running", **fields)])


def test_who_comes_late_hears_what_has_been() -> None:
    (lines,) = announced(seen(training()))
    assert kinds(lines) == ["started", "result", "started", "progress"]
    assert lines[1]["stage"] == "prepare"
    assert lines[1]["seconds"] == 90.0
    assert lines[1]["manifestUri"].endswith("prepare-pppppppppp/manifest.json")
    assert lines[3]["percentage"] == 45


def test_nothing_is_told_twice() -> None:
    _, again = announced(seen(training()), seen(training()))
    assert again == []


def test_progress_goes_on() -> None:
    _, lines = announced(seen(training(45)), seen(training(50)))
    assert [line["percentage"] for line in lines] == [50]


def test_what_is_waited_for_is_told() -> None:
    (lines,) = announced(seen(queued()))
    assert [line["message"] for line in lines] == [
        "film-reviews: Queued",
        "Queued: Job film-reviews-prepare-pppppppppp waits to be admitted by its queue manager",
    ]


def test_a_stage_ends_and_the_next_begins() -> None:
    package = training(
        phase="Packaging",
        stages=[
            stage("prepare", "Succeeded"),
            stage("train", "Succeeded"),
            stage("package", "Running"),
        ],
        progress={"stage": "package", "activity": "export", "percentage": 5},
    )
    _, lines = announced(seen(training()), seen(package))
    assert [(line["type"], line["stage"]) for line in lines] == [
        ("result", "train"),
        ("started", "package"),
        ("progress", "package"),
    ]


def test_a_disruption_and_a_further_attempt_are_told() -> None:
    _, disrupted, again = announced(
        seen(with_train()),
        seen(with_train(disruptions=1)),
        seen(with_train(disruptions=1, attempt=2, message="attempt 2 of 4; the one before: X")),
    )
    assert [line["message"] for line in disrupted] == [
        "train: a pod was evicted or lost its node; another one goes on from the newest "
        "checkpoint (disruptions: 1)"
    ]
    assert [line["message"] for line in again] == ["train: attempt 2 of 4; the one before: X"]


def test_a_failed_stage_that_runs_again_begins_anew() -> None:
    _, lines, rerun = announced(
        seen(training()),
        seen({**training(), "stages": [stage("train", "Failed", reason="OutOfMemory")]}),
        seen(with_train()),
    )
    assert [line.get("message") for line in lines] == ["train: failed (OutOfMemory)"]
    assert kinds(rerun)[0] == "started"


def test_an_edit_is_told_and_the_status_of_before_is_not() -> None:
    edited = seen(succeeded(), generation=2)
    _, edit, after = announced(
        seen(training()), edited, seen({**queued(), "observedGeneration": 2}, generation=2)
    )
    assert [line["message"][:28] for line in edit] == ["edited: generation 2 of the "]
    assert after[0]["message"] == "film-reviews: Queued"


def test_a_changed_key_is_another_stage() -> None:
    _, lines = announced(seen(training()), seen(with_train(key="other")))
    assert kinds(lines) == ["started"]


def test_how_it_ended_is_left_to_the_end() -> None:
    _, lines = announced(seen(training()), seen(failed("OutOfMemory", "batch of 1")))
    assert [line["message"] for line in lines] == ["train: failed (OutOfMemory)"]


def test_a_condition_that_comes_and_goes_is_told_once() -> None:
    waiting = training(
        conditions=conditions("Unschedulable", "no GPU", done=["Prepared"], ready=True)
    )
    first, _, again = announced(seen(waiting), seen(training()), seen(waiting))
    assert "Unschedulable: no GPU" in [line.get("message") for line in first]
    assert again == []
