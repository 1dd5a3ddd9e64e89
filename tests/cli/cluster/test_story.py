"""The whole story of one experiment."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from tests.cli.cluster.experiments import (
    NOW,
    Document,
    at,
    conditions,
    failed,
    missed,
    queued,
    seen,
    stage,
    succeeded,
    training,
)

from sparse_transfer_api.contract import Stage
from sparse_transfer_cli.cluster.observed import Observed
from sparse_transfer_cli.cluster.story import headline, print_story, stage_row


def told(experiment: Observed) -> str:
    console = Console(file=io.StringIO(), width=120)
    print_story(console, experiment, NOW)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("experiment", "words"),
    [
        (seen(training()), "film-reviews in ml: Training, 10m old"),
        (seen(None, creationTimestamp=at(0.2)), "the operator has not looked at it yet"),
        (seen(None), "no operator has looked at it; check that one runs"),
        (seen(None, spec={"runPolicy": {"managedBy": "a.b/c"}}), "left to a.b/c"),
        (seen(training(), generation=3), "the status is about generation 1, the spec is gen"),
    ],
)
def test_the_first_line_says_where_it_stands(experiment: Observed, words: str) -> None:
    assert words in headline(experiment, NOW)


@pytest.mark.parametrize(
    ("status", "name", "row"),
    [
        (training(), "prepare", ("prepare", "Succeeded", "1", "0", "1:30", "")),
        (
            training(),
            "train",
            ("train", "Running", "1", "0", "8:00",
             "45 % · transfer · 450/1000 · loss 0.25 · 3:10 left"),
        ),
        (training(), "package", ("package", "-", "-", "-", "-", "")),
        (queued(), "prepare", ("prepare", "Waiting", "1", "0", "-", "")),
        (
            {"stages": [stage("train", "Failed", attempt=4, disruptions=2, reason="Evil")]},
            "train",
            ("train", "Failed", "4", "2", "1:30", "Evil"),
        ),
    ],
)  # fmt: skip
def test_a_stage_says_how_it_went(status: Document, name: str, row: tuple[str, ...]) -> None:
    assert stage_row(seen(status), Stage(name), NOW) == row


def test_progress_of_an_attempt_that_is_over_is_not_shown() -> None:
    status = training()
    status["progress"]["lastUpdatedTime"] = at(60)
    assert "45 %" not in told(seen(status))


def test_what_was_resolved_is_named() -> None:
    text = told(seen(training()))
    for words in (
        "level        0.5 (MediumSparseInt8)",
        "model        hf://neuralmagic/minilm",
        "recipe       builtin",
        f"data {'d' * 64}",
    ):
        assert words in text


def test_conditions_that_only_repeat_the_phase_are_left_out() -> None:
    text = told(seen(training()))
    assert "ready" not in text
    assert "prepared" not in text


def test_what_is_waited_for_is_said() -> None:
    why = "Job film-reviews-prepare-pppppppppp waits to be admitted by its queue manager"
    assert f"prepared     Queued: {why}\n" in told(seen(queued()))


def test_why_it_is_tried_again_is_said() -> None:
    why = "attempt 2 of 4; the one before: OutOfMemory: batch of 32"
    status = training(conditions=conditions("Running", why, done=["Prepared"], ready=True))
    assert f"trained      Running: {why}" in told(seen(status))


def test_what_kstatus_wants_said_twice_is_said_once() -> None:
    text = told(seen(failed("InvalidInput", "row 3: [no label]")))
    assert text.count("row 3: [no label]") == 1
    assert "failed       InvalidInput: row 3: [no label]" in text


def test_results_are_told_in_one_line_with_all_three_speed_ups() -> None:
    assert (
        "results      accuracy 0.8200 (dense 0.8400) · recovery 0.9762 · sparsity 80.0 % · "
        "speed-up 2.00x on onnxruntime (2.10x vs fp32, 1.01x vs dense INT8)"
    ) in told(seen(succeeded()))


@pytest.mark.parametrize(
    ("status", "commands"),
    [
        (queued(), []),
        (training(), ["sparse-transfer logs film-reviews --namespace ml --follow"]),
        (succeeded(), ["sparse-transfer results film-reviews --namespace ml"]),
        (
            failed("OutOfMemory"),
            [
                "sparse-transfer logs film-reviews --namespace ml",
                "correct what is wrong and submit again; or, unchanged: kubectl annotate ste "
                "film-reviews --namespace ml --overwrite sparsetransfer.dev/retry=$(date +%s)",
            ],
        ),
        ({"phase": "Suspended"}, ["set spec.runPolicy.suspend to false and submit again"]),
    ],
)
def test_it_ends_with_what_leads_on(status: Document, commands: list[str]) -> None:
    text = told(seen(status))
    assert [line[13:] for line in text.splitlines() if line.startswith("next ")] == commands


def test_a_miss_leads_to_its_results() -> None:
    assert "next         sparse-transfer results film-reviews" in told(seen(missed()))
