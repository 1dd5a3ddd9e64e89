"""Progress as bars and as lines."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from sparse_transfer_api.contract import Stage
from sparse_transfer_api.records import Progress, StageResult
from sparse_transfer_cli.display import (
    JsonLinesDisplay,
    activity_display,
    describe,
    duration,
    shows_bars,
    terminal_display,
)


def progress(**fields: object) -> Progress:
    return Progress.model_validate({"stage": "train", "activity": "transfer", **fields})


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({}, "transfer"),
        ({"step": 5, "total_steps": 20}, "transfer · 5/20"),
        ({"metrics": {"loss": 0.123456}}, "transfer · loss 0.1235"),
        ({"estimated_remaining_seconds": 75}, "transfer · 1:15 left"),
        ({"metrics": {name: 1.0 for name in "abcd"}}, "transfer · a 1 · b 1 · c 1"),
    ],
)
def test_a_running_stage_is_described_in_one_line(fields: dict[str, object], line: str) -> None:
    assert describe(progress(**fields)) == line


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00"), (42, "0:42"), (725, "12:05"), (3900, "1:05:00")]
)
def test_durations_are_read_as_people_write_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_lines_carry_the_stages_own_records() -> None:
    written: list[str] = []
    display = JsonLinesDisplay(written.append)
    display.stage_started(Stage.TRAIN)
    display.progress(progress(percentage=12.5))
    display.stage_done(
        StageResult(stage=Stage.TRAIN, key="k", outcome="Succeeded", reason="Completed"), 1.23
    )
    display.note("a\nb")
    lines = [json.loads(line) for line in written]
    assert [line["type"] for line in lines] == ["started", "progress", "result", "note"]
    assert lines[1]["percentage"] == 12.5
    assert lines[2]["seconds"] == 1.2
    assert all(line.endswith("\n") for line in written)


def terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=120)


def shown(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(("recorded", "words"), [(True, "reused"), (False, "done in 0:05: kept")])
def test_the_terminal_says_whether_a_stage_was_reused(recorded: bool, words: str) -> None:
    console = terminal()
    with terminal_display(console) as display:
        display.stage_started(Stage.TRAIN)
        display.progress(progress(percentage=50, metrics={"[bold]": 1.0}))
        display.stage_started(Stage.TRAIN)
        display.stage_done(
            StageResult(
                stage=Stage.TRAIN,
                key="k",
                outcome="Succeeded",
                reason="Completed",
                message="kept",
                recorded=recorded,
            ),
            5.0,
        )
        display.note("a note [with brackets]")
    assert words in shown(console)
    assert "100%" in shown(console)
    assert "a note [with brackets]" in shown(console)


def test_a_long_activity_does_not_squeeze_the_bar() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    with terminal_display(console) as display:
        display.stage_started(Stage.PREPARE)
        display.progress(progress(stage="prepare", activity="x" * 200, percentage=50))
    line = next(line for line in shown(console).splitlines() if "50%" in line)
    assert "Prepare" in line
    assert "\N{HORIZONTAL ELLIPSIS}" in line


def test_work_that_is_no_stage_is_shown_without_one(capsys: pytest.CaptureFixture[str]) -> None:
    with activity_display("Upstream", terminal(), bar=False) as sink:
        sink(progress(percentage=10))
    line = json.loads(capsys.readouterr().out)
    assert line["activity"] == "transfer"
    assert "stage" not in line
    console = terminal()
    with activity_display("Upstream", console, bar=True) as sink:
        sink(progress(percentage=10))
    assert "Upstream" in shown(console)


def test_bars_are_for_terminals_unless_asked_for() -> None:
    pipe = Console(file=io.StringIO())
    assert shows_bars("auto", terminal())
    assert not shows_bars("auto", pipe)
    assert shows_bars("bar", pipe)
    assert not shows_bars("json", terminal())
