"""The local executor: order, reuse, stopping, resuming, and what it says when a stage fails."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sparse_transfer_api.contract import ExitCode, Stage
from sparse_transfer_cli.executor import explain_failure
from sparse_transfer_cli.stage_process import StageEnd, parse_record

Write = Callable[..., Path]
Drive = Callable[..., Any]


def stage_folder(experiment: Path, stage: str) -> Path:
    return experiment.parent / "runs" / "default" / "film-reviews" / f"{stage}-standin"


def test_the_stages_run_in_order_and_the_results_are_shown(
    write_experiment: Write, drive: Drive
) -> None:
    experiment = write_experiment()
    ended = drive(experiment).end()
    assert ended.code == 0
    assert [line["stage"] for line in ended.of_type("result")] == ["prepare", "train", "package"]
    assert not any(line["recorded"] for line in ended.of_type("result"))
    (outcome,) = ended.of_type("results")
    assert outcome["results"]["recovery"] == 0.9762
    package = stage_folder(experiment, "package")
    assert outcome["paths"] == {
        "recommended": str(package / "deployment/model.onnx"),
        "report": str(package / "report.html"),
        "deployment": str(package / "deployment"),
        "manifest": str(package / "manifest.json"),
    }
    assert str(package / "report.html") in ended.errors


def test_running_again_reuses_every_stage(write_experiment: Write, drive: Drive) -> None:
    experiment = write_experiment()
    drive(experiment).end()
    ended = drive(experiment).end()
    assert ended.code == 0
    assert all(line["recorded"] for line in ended.of_type("result"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stop_lets_the_stage_write_its_checkpoint_and_the_same_command_resumes(
    write_experiment: Write, drive: Drive, number: signal.Signals
) -> None:
    experiment = write_experiment()
    running = drive(experiment, train=["wait"])
    running.wait_for("waiting")
    running.process.send_signal(number)
    ended = running.end()
    assert ended.code == ExitCode.STOPPED
    assert (stage_folder(experiment, "train") / "checkpoint").exists()
    assert "stopped; to go on: the same command" in ended.errors
    assert "Traceback" not in ended.errors

    again = drive(experiment, train=["wait"]).end()
    assert again.code == 0
    assert [line["recorded"] for line in again.of_type("result")] == [True, False, False]


def test_a_second_ctrl_c_ends_a_stage_that_does_not_stop(
    write_experiment: Write, drive: Drive
) -> None:
    running = drive(write_experiment(), train=["deaf"])
    running.wait_for("waiting")
    running.process.send_signal(signal.SIGINT)
    running.wait_for_note("stopping: waiting")
    running.process.send_signal(signal.SIGINT)
    ended = running.end()
    assert ended.code == ExitCode.STOPPED
    assert "stopping: the stage was killed" in [line["message"] for line in ended.of_type("note")]


def test_a_vanished_output_is_made_again_once(write_experiment: Write, drive: Drive) -> None:
    experiment = write_experiment()
    assert drive(experiment, package=["10"]).end().code == ExitCode.INPUT
    shutil.rmtree(stage_folder(experiment, "train"))
    # Found by package, which starts from what prepare recorded.
    ended = drive(experiment, package=["10", "14"]).end()
    assert ended.code == 0
    stages = [line["stage"] for line in ended.of_type("started")]
    assert stages == ["prepare", "train", "package", "prepare", "train", "package"]
    assert "running the stages before it once more" in ended.of_type("note")[0]["message"]


def test_an_output_that_vanishes_again_and_again_ends_the_run(
    write_experiment: Write, drive: Drive
) -> None:
    ended = drive(write_experiment(), package=["14", "14", "14"]).end()
    assert ended.code == ExitCode.VANISHED
    assert len(ended.of_type("note")) == 1


@pytest.mark.parametrize("code", [10, 12, 13, 75])
def test_a_stage_s_own_error_ends_the_run_with_its_code_and_words(
    write_experiment: Write, drive: Drive, code: int
) -> None:
    ended = drive(write_experiment(), train=[str(code)]).end()
    assert ended.code == code
    assert "train failed: the input is wrong" in ended.errors
    assert "last words" not in ended.errors


def test_a_crash_shows_the_last_lines_and_where_the_log_is(
    write_experiment: Write, drive: Drive
) -> None:
    experiment = write_experiment()
    ended = drive(experiment, train=["crash"]).end()
    assert ended.code == 1
    assert "something broke" in ended.errors
    (log,) = (stage_folder(experiment, "train").parent / "logs").glob("*-train.log")
    assert str(log) in ended.errors
    assert "train was here" in log.read_text()


def test_an_end_without_a_result_is_no_success(write_experiment: Write, drive: Drive) -> None:
    ended = drive(write_experiment(), train=["silent"]).end()
    assert ended.code == 1
    assert "without recording a result" in ended.errors


def test_a_killed_stage_may_be_tried_again(write_experiment: Write, drive: Drive) -> None:
    ended = drive(write_experiment(), train=["kill"]).end()
    assert ended.code == ExitCode.TRANSIENT
    assert "memory ran out" in ended.errors
    assert "to try again: the same command" in ended.errors


def test_missed_acceptance_keeps_the_files_and_has_its_own_code(
    write_experiment: Write, drive: Drive
) -> None:
    experiment = write_experiment("  acceptance: {minRecovery: 0.98, minSpeedup: 1.5}\n")
    ended = drive(experiment).end()
    assert ended.code == ExitCode.ACCEPTANCE
    assert (stage_folder(experiment, "package") / "manifest.json").exists()
    assert len(ended.of_type("results")[0]["missed"]) == 1
    assert "0.9762" in ended.errors


def test_a_place_that_refuses_logs_does_not_hide_the_stage_s_words(
    write_experiment: Write, drive: Drive, tmp_path: Path
) -> None:
    (tmp_path / "runs").write_text("a file where a folder should be")
    ended = drive(write_experiment(), prepare=["10"]).end()
    assert ended.code == 1
    assert "last words" in ended.errors


@pytest.mark.parametrize(
    "line",
    [b"", b"Loading weights: 100%\n", b"[1, 2]\n", b'{"type": "progress"}\n', b'{"a": 1}\n'],
)
def test_what_is_no_record_is_left_to_the_log(line: bytes) -> None:
    assert parse_record(line) is None


def test_a_signal_is_named_in_the_explanation() -> None:
    end = StageEnd(Stage.TRAIN, 128 + signal.SIGSEGV, None, None)
    assert explain_failure(end).startswith("train failed: signal 11 ended it")
