"""``submit`` against a real API server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cli.cluster.command import Command
from tests.cli.cluster.conftest import Served
from tests.cli.cluster.experiments import failed, missed, succeeded, training

from sparse_transfer_cli.__main__ import invoke

EXPERIMENT = """
apiVersion: sparsetransfer.dev/v1alpha1
kind: SparseTransferExperiment
metadata:
  name: film-reviews
spec:
  useCase: sentiment-analysis
  data: {uri: s3://team-data/reviews/}
"""

Start = Callable[..., Command]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "experiment.yaml"
    path.write_text(EXPERIMENT)
    return path


def test_an_experiment_is_made_and_what_comes_next_is_said(
    served: Served, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["submit", "-f", str(file)]) == 0
    shown = capsys.readouterr().out
    option = f"film-reviews --namespace {served.namespace}"
    assert shown.splitlines() == [
        f"film-reviews in {served.namespace}: created",
        "prepare checks data and model first, then train and package run",
        f"next: sparse-transfer status {option} --watch",
        f"      sparse-transfer logs {option} --follow",
    ]
    metadata = served.get()["metadata"]
    managers = served.cluster.get(
        "ste", "film-reviews", f"--namespace={served.namespace}", "--show-managed-fields"
    )["metadata"]["managedFields"]
    assert [(each["manager"], each["operation"]) for each in managers] == [
        ("sparse-transfer-cli", "Apply")
    ]
    assert metadata["generation"] == 1
    assert served.get()["spec"] == {
        "useCase": "sentiment-analysis",
        "data": {"uri": "s3://team-data/reviews/"},
    }


def test_a_dry_run_asks_the_cluster_and_changes_nothing(
    served: Served, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["submit", "-f", str(file), "--dry-run"]) == 0
    assert "created (dry run: nothing was changed)" in capsys.readouterr().out
    assert served.get() is None


def test_submitting_again_says_what_changed(
    served: Served, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = []
    for more in ("", "", "  optimLevel: 0.8\n", "  optimLevel: 0.8\n"):
        file.write_text(EXPERIMENT + more)
        assert invoke(["submit", "-f", str(file)]) == 0
        told.append(capsys.readouterr().out.splitlines()[0].rpartition(": ")[2])
    file.write_text(EXPERIMENT.replace("spec:", "  labels: {team: a}\nspec:"))
    assert invoke(["submit", "-f", str(file)]) == 0
    told.append(capsys.readouterr().out.splitlines()[0].rpartition(": ")[2])
    assert told == ["created", "unchanged", "changed", "unchanged", "changed"]
    # A field that is not in the YAML any more is not in the cluster either.
    assert "optimLevel" not in served.get()["spec"]


def test_what_ended_and_did_not_change_is_said_to_have_ended(
    served: Served, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    invoke(["submit", "-f", str(file)])
    served.say(succeeded())
    capsys.readouterr()
    assert invoke(["submit", "-f", str(file)]) == 0
    shown = capsys.readouterr().out
    assert "nothing changed since it ended: Succeeded" in shown
    assert "next: sparse-transfer results film-reviews" in shown


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("  runPolicy: {suspend: true}\n", "nothing runs until spec.runPolicy.suspend is false"),
        ("  runPolicy: {managedBy: a.b/c}\n", "it is left to a.b/c"),
    ],
)
def test_what_keeps_it_from_running_is_said(
    more: str, words: str, served: Served, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(EXPERIMENT + more)
    assert invoke(["submit", "-f", str(file)]) == 0
    assert words in capsys.readouterr().out


def test_local_mistakes_are_all_found_before_the_cluster_is_asked(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", "/nowhere")
    file.write_text(EXPERIMENT.replace("s3://team-data", "file://.") + "  optimLevel: 7\n")
    assert invoke(["submit", "-f", str(file)]) == 10
    shown = capsys.readouterr().err
    assert "spec.optimLevel" in shown
    assert "spec.data.uri: found 'file://./reviews/'" in shown


def test_fields_of_others_are_not_taken_over_unasked(
    served: Served, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    invoke(["submit", "-f", str(file)])
    served.kubectl("patch", "ste", "film-reviews", "--type=merge", '-p={"spec":{"optimLevel":0.6}}')
    file.write_text(EXPERIMENT + "  optimLevel: 0.8\n")
    capsys.readouterr()
    assert invoke(["submit", "-f", str(file)]) == 10
    shown = capsys.readouterr().err
    assert 'spec.optimLevel: is managed by "kubectl-patch"' in shown
    assert "--force-conflicts" in shown
    assert served.get()["spec"]["optimLevel"] == 0.6
    assert invoke(["submit", "-f", str(file), "--force-conflicts"]) == 0
    assert served.get()["spec"]["optimLevel"] == 0.8


def test_a_namespace_that_does_not_exist_is_said_so(
    served: Served, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["submit", "-f", str(file), "--namespace", "nowhere"]) == 13
    assert "kubectl create namespace nowhere" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--timeout", "5"], "--wait"),
        (["--dry-run", "--wait"], "nothing to --wait for"),
    ],
)
def test_options_that_make_no_sense_together_are_refused(
    arguments: list[str], words: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["submit", "-f", str(file), *arguments]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (succeeded(), 0, "recommended  s3://team-runs/ml/film-reviews/package-pppppppppp/"),
        (missed(), 11, "the acceptance criteria are missed:"),
        (failed("InvalidInput", "row 3: no label"), 10, "failed (InvalidInput): row 3: no label"),
        (failed("OutOfMemory"), 12, "failed (OutOfMemory)"),
        (failed("AccessDenied"), 13, "failed (AccessDenied)"),
        (failed("DeadlineExceeded"), 1, "failed (DeadlineExceeded)"),
    ],
)
def test_waiting_ends_with_the_outcome(
    status: dict[str, object],
    code: int,
    words: str,
    served: Served,
    file: Path,
    start: Start,
) -> None:
    file.write_text(EXPERIMENT + "  acceptance: {minSpeedup: 2.5}\n")
    with start("submit", "-f", str(file), "--wait") as command:
        submitted = command.wait_for_record("submitted")
        assert (submitted["change"], submitted["generation"]) == ("created", 1)
        served.say(training())
        command.wait_for_record("progress", percentage=45)
        served.say(status)
        ended, errors = command.end()
    assert (ended, command.records[-1]["exitCode"]) == (code, code)
    assert words in errors
    assert ("results" in [record["type"] for record in command.records]) is (code in (0, 11))


def test_what_ended_before_an_edit_is_not_waited_for(
    served: Served, file: Path, start: Start
) -> None:
    served.create(status=succeeded())
    file.write_text(EXPERIMENT.replace("sentiment-analysis", "sentiment") + "  optimLevel: 0.9\n")
    with start("submit", "-f", str(file), "--wait") as command:
        assert command.wait_for_record("submitted")["change"] == "changed"
        served.say({**training(), "observedGeneration": 2})
        command.wait_for_record("progress")
        served.say({**failed("OutOfMemory"), "observedGeneration": 2})
        assert command.end()[0] == 12


def test_waiting_has_an_end_of_its_own(
    served: Served, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["submit", "-f", str(file), "--wait", "--timeout", "1"]
    assert invoke(arguments) == 75
    shown = capsys.readouterr()
    assert "has not ended within 1 s; it goes on in the cluster" in shown.err
    assert f"sparse-transfer status film-reviews --namespace {served.namespace} --watch" in (
        shown.err
    )


def test_ctrl_c_leaves_the_experiment_alone(served: Served, file: Path, start: Start) -> None:
    with start("submit", "-f", str(file), "--wait") as command:
        command.wait_for_record("submitted")
        served.say(training())
        command.wait_for_record("progress")
        command.interrupt()
        code, errors = command.end()
    assert code == 143
    assert "no longer waiting; film-reviews goes on in the cluster" in errors
    assert "Traceback" not in errors
    assert served.get() is not None
