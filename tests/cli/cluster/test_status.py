"""``status`` against a real API server."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from tests.cli.cluster.command import Command
from tests.cli.cluster.conftest import Served
from tests.cli.cluster.experiments import failed, succeeded, training

from sparse_transfer_cli.__main__ import invoke

Start = Callable[..., Command]


def rows(text: str) -> list[list[str]]:
    """Returns the cells of a table's rows, without its head."""
    lines = [line for line in text.splitlines() if line.strip()]
    return [[cell for cell in line.split("  ") if cell.strip()] for line in lines[2:]]


def test_experiments_are_listed(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    served.create("a", training())
    served.create("b", succeeded())
    served.create("c")
    assert invoke(["status"]) == 0
    found = [[cell.strip() for cell in row[:-1]] for row in rows(capsys.readouterr().out)]
    assert found == [
        ["a", "nlp-sentiment_analysis", "0.5", "Training", "45 %", "-", "-", "-"],
        ["b", "nlp-sentiment_analysis", "0.5", "Succeeded", "-", "80.0 %", "0.9762", "2.00x"],
        ["c", "sentiment", "0.5", "-", "-", "-", "-", "-"],
    ]


def test_a_long_name_is_not_cut_in_a_pipe(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "a-name-of-the-greatest-length-that-can-be"[:40]
    served.create(name, succeeded())
    assert invoke(["status", "--all-namespaces"]) == 0
    shown = capsys.readouterr().out
    assert f" {served.namespace} " in shown
    assert f" {name} " in shown


def test_all_namespaces_are_looked_at_when_asked(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    served.create("a")
    assert invoke(["status", "-A"]) == 0
    assert [served.namespace, "a"] in [
        [cell.strip() for cell in row[:2]] for row in rows(capsys.readouterr().out)
    ]


def test_a_namespace_without_experiments_is_said_so(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["status"]) == 0
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", f"no experiments in namespace {served.namespace}\n")


def test_one_experiment_is_told_in_full(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    served.create(status=failed("OutOfMemory", "batch of 1 [sic] does not fit"))
    assert invoke(["status", "film-reviews"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"film-reviews in {served.namespace}: Failed, ")
    assert "failed       OutOfMemory: batch of 1 [sic] does not fit" in shown
    assert f"sparse-transfer logs film-reviews --namespace {served.namespace}" in shown


def test_programs_get_the_objects_themselves(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    served.create(status=succeeded())
    assert invoke(["status", "film-reviews", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == served.get()
    assert invoke(["status", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed == {"apiVersion": "v1", "kind": "List", "items": [found]}


@pytest.mark.parametrize("arguments", [["film-reviews", "-A"], ["-A", "-n", "ml"]])
def test_all_namespaces_and_one_are_a_contradiction(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["status", *arguments]) == 2
    assert "--all-namespaces" in capsys.readouterr().err


def test_a_name_that_is_nearly_right_is_helped(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    served.create()
    assert invoke(["status", "film-review"]) == 13
    assert capsys.readouterr().err == (
        f"error: film-review: there is no such experiment in namespace {served.namespace}; "
        "did you mean film-reviews?\n"
    )


def test_a_name_of_another_namespace_is_helped(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    served.create("only-once")
    assert invoke(["status", "only-once", "-n", "default"]) == 13
    assert f"there is one in namespace {served.namespace}" in capsys.readouterr().err


def test_one_is_watched_to_its_end(served: Served, start: Start) -> None:
    served.create(status=training(10))
    with start("status", "film-reviews", "--watch") as command:
        command.wait_for_record("progress", percentage=10)
        served.say(training(20))
        command.wait_for_record("progress", percentage=20)
        served.say(failed("OutOfMemory", "batch of 1"))
        end = command.wait_for_record("end", phase="Failed", reason="OutOfMemory")
        code, errors = command.end()
    assert code == end["exitCode"] == 12
    assert "film-reviews failed (OutOfMemory): batch of 1" in errors


def test_one_that_is_deleted_is_no_longer_watched(served: Served, start: Start) -> None:
    served.create(status=training())
    with start("status", "film-reviews", "--watch") as command:
        command.wait_for_record("progress")
        served.kubectl("delete", "ste", "film-reviews")
        code, errors = command.end()
    assert code == 13
    assert f"film-reviews in namespace {served.namespace} was deleted meanwhile" in errors
    assert "Traceback" not in errors


def test_all_are_watched_until_ctrl_c(served: Served, start: Start) -> None:
    served.create("a", training(10))
    with start("status", "--watch") as command:
        command.wait_for_record("experiment", name="a", percentage=10)
        served.create("b")
        command.wait_for_record("experiment", name="b", phase=None)
        served.say(succeeded(), "b")
        command.wait_for_record("experiment", name="b", phase="Succeeded", speedup=2.0)
        served.kubectl("delete", "ste", "a")
        served.create("c")
        command.wait_for_record("experiment", name="c")
        command.interrupt()
        code, errors = command.end()
    assert (code, errors.strip()) == (0, "no longer watching; the experiments go on in the cluster")
