"""``results NAME`` against a real API server, and beside it ``results verify``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.cluster.conftest import Served
from tests.cli.cluster.experiments import (
    PACKAGE,
    Document,
    at,
    failed,
    missed,
    queued,
    succeeded,
    training,
)

from sparse_transfer_cli.__main__ import invoke

HISTORY = [
    {
        "generation": 2,
        "completionTime": at(5),
        "outcome": "Succeeded",
        "reason": "Completed",
        "level": 0.5,
        "sparsity": 0.8,
        "recovery": 0.98,
        "speedup": 1.9,
        "manifestUri": "s3://team-runs/ml/film-reviews/package-ooooo/manifest.json",
    },
    {"generation": 1, "outcome": "Failed", "reason": "OutOfMemory"},
]


@pytest.mark.parametrize("typed", [["film-reviews"], ["show", "film-reviews"]])
def test_figures_and_files_are_shown_as_a_local_run_shows_them(
    typed: list[str], served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    served.create(status=succeeded())
    assert invoke(["results", *typed]) == 0
    shown = capsys.readouterr().out
    for words in (
        "accuracy", "0.8400", "0.8200", "3000 rows of test",
        "0.9762", "95 % interval 0.9650 to 0.9900",
        "2.00x", "2.10x", "1.01x",
        "note         onnxruntime: sparsity brings no time here",
        f"recommended  {PACKAGE}/deployment/dense-int8.onnx",
        "             on onnxruntime: sparse is not faster here",
        f"manifest     {PACKAGE}/manifest.json",
        f"artifact     deployment: {PACKAGE}/deployment (24.0 MB)",
        f"artifact     report: {PACKAGE}/report.html",
        f"SHA-256 {'a' * 64}",
    ):  # fmt: skip
        assert words in shown


def test_earlier_results_are_shown(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    served.create(status=succeeded(history=HISTORY))
    assert invoke(["results", "film-reviews"]) == 0
    shown = capsys.readouterr().out
    assert "generation 2" in shown
    assert "Failed (OutOfMemory)" in shown
    assert "1.90x" in shown


def test_figures_that_had_no_room_in_the_status_are_pointed_to(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = succeeded()
    del bare["results"]
    served.create(status=bare)
    assert invoke(["results", "film-reviews"]) == 0
    assert f"the figures are in {PACKAGE}/manifest.json" in capsys.readouterr().out
    served.say(succeeded(results={**succeeded()["results"], "engines": []}))
    assert invoke(["results", "film-reviews"]) == 0
    shown = capsys.readouterr().out
    assert f"every measured point is in {PACKAGE}/manifest.json" in shown
    assert "median latencies" not in shown


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (None, 75, "film-reviews has not ended (-), so there are no results of it yet"),
        (queued(), 75, "has not ended (Queued)"),
        (training(), 75, "has not ended (Training, 45 %)"),
        ({**succeeded(), "observedGeneration": 0}, 75, "edited, not looked at since"),
        (failed("OutOfMemory", "batch of 1"), 12, "failed (OutOfMemory): batch of 1"),
        (missed(), 11, "the acceptance criteria are missed:"),
    ],
)
def test_what_has_no_results_says_why(
    status: Document | None, code: int, words: str, served: Served,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    served.create(status=status)
    criteria = '-p={"spec":{"acceptance":{"minSpeedup":2.5}}}'
    if status is not None and code == 11:
        served.kubectl("patch", "ste", "film-reviews", "--type=merge", criteria)
        served.say({**status, "observedGeneration": 2})
    assert invoke(["results", "film-reviews"]) == code
    shown = capsys.readouterr()
    assert words in shown.err
    assert ("accuracy" in shown.out) is (code == 11)


def test_what_is_to_be_tried_again_has_no_results_yet(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    served.create(status=failed("OutOfMemory"))
    served.kubectl("annotate", "ste", "film-reviews", "sparsetransfer.dev/retry=1")
    assert invoke(["results", "film-reviews"]) == 75
    assert "has not ended (Failed, to be tried again)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("status", "code", "keys"),
    [
        (
            succeeded(history=HISTORY),
            0,
            {"reason", "message", "results", "paths", "missed", "artifacts"},
        ),
        (training(), 75, set()),
        (failed("OutOfMemory"), 12, {"reason", "message"}),
    ],
)
def test_programs_get_one_document(
    status: Document,
    code: int,
    keys: set[str],
    served: Served,
    capsys: pytest.CaptureFixture[str],
) -> None:
    served.create(status=status)
    assert invoke(["results", "film-reviews", "--json"]) == code
    found = json.loads(capsys.readouterr().out)
    always = {"name", "namespace", "generation", "phase", "exitCode", "history"}
    assert set(found) == always | keys
    assert (found["exitCode"], found["phase"]) == (code, status["phase"])
    if code == 0:
        assert found["results"] == status["results"]
        assert [past["generation"] for past in found["history"]] == [2, 1]
        assert found["paths"]["manifest"] == f"{PACKAGE}/manifest.json"


def test_options_may_stand_before_the_name(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    served.create(status=succeeded())
    assert invoke(["results", "--namespace", served.namespace, "film-reviews", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "film-reviews"


def test_an_experiment_may_be_called_like_a_verb(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    served.create("verify", succeeded())
    assert invoke(["results", "show", "verify"]) == 0
    assert "accuracy" in capsys.readouterr().out


def test_verifying_is_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("boto3", reason="pip install 'sparse-transfer[runner]'")
    monkeypatch.chdir(tmp_path)
    assert invoke(["results", "verify", "nowhere"]) == 13
    assert "no such file or folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--help"], "NAME | VERB"),
        (["-h"], "verify"),
        (["show", "--help"], "The experiment's name."),
        (["film-reviews", "--help"], "The experiment's name."),
    ],
)
def test_help_is_where_it_is_looked_for(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["results", *arguments]) == 0
    assert words in capsys.readouterr().out
