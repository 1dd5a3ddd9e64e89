"""Searches over levels, as the command line tells of them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tests.cli.cluster.conftest import Served
from tests.cli.cluster.experiments import (
    NOW,
    Document,
    at,
    failed,
    missed,
    searched,
    searching,
    seen,
    succeeded,
    training,
)
from tests.cli.cluster.test_pods import pod

from sparse_transfer_api.contract import LABEL_KEY, LABEL_STAGE, Stage
from sparse_transfer_api.errors import InputError
from sparse_transfer_api.status import SearchStatus
from sparse_transfer_cli.__main__ import invoke
from sparse_transfer_cli.cluster.announcing import Announcer
from sparse_transfer_cli.cluster.choosing_pods import no_pods, of_stage, stage_of_interest
from sparse_transfer_cli.cluster.ending import missed_criteria, results_document
from sparse_transfer_cli.cluster.listing import columns
from sparse_transfer_cli.cluster.observed import Observed
from sparse_transfer_cli.cluster.pods import runner_pods
from sparse_transfer_cli.cluster.story import print_story
from sparse_transfer_cli.display import JsonLinesDisplay, terminal_display
from sparse_transfer_cli.search_summary import level_row

SPEC = {"search": {"levels": [0.3, 0.6, 0.7, 0.9], "minRecovery": 0.96}}


def printed(show: Callable[[Console], None]) -> str:
    file = io.StringIO()
    show(Console(file=file, width=160))
    return file.getvalue()


def told(experiment: Observed) -> str:
    return printed(lambda console: print_story(console, experiment, NOW))


def test_the_story_of_a_search_shows_its_levels_and_which_is_tried() -> None:
    story = told(seen(searching(), spec=SPEC))
    assert "level        0.6 (MediumSparseInt8), tried now; 1 of 3 levels have ended" in story
    for words in ("0.9900", "7.60 ms", "Running", "Waiting", "23.0 MB"):
        assert words in story


def test_the_story_of_a_search_that_has_ended_shows_which_level_is_kept() -> None:
    story = told(seen(searched(), spec=SPEC))
    assert "0.6 (MediumSparseInt8), kept; 4 of 4 levels have ended" in story
    assert "same as 0.6" in story
    assert "OutOfMemory" in story


def test_the_story_of_a_search_that_no_level_passes_does_not_say_that_one_is_kept() -> None:
    ended = {**searched(0.3), "conditions": missed()["conditions"], "phase": "Failed"}
    story = told(seen(ended, spec=SPEC))
    assert "comes nearest, none passes; 4 of 4 levels have ended" in story


def test_the_story_of_a_search_without_a_result_says_that_none_is_kept() -> None:
    search = {"summary": "1 of 1", "levels": [{"level": 0.3, "outcome": "Failed"}]}
    assert "none is kept" in told(seen(failed("InvalidInput", search=search), spec=SPEC))


def test_a_row_counts_the_levels() -> None:
    row = columns(seen(searching(), spec=SPEC), NOW)
    assert row[2] == "0.6 (1 of 3)"


def test_marks_tell_the_front_and_the_level_that_is_kept() -> None:
    search = SearchStatus.model_validate(searched()["search"])
    rows = [level_row(each, kept=each.level == search.selected) for each in search.levels]
    assert [row[0] for row in rows] == [" *", ">*", "  ", "  "]
    assert rows[2][1:] == ("0.7", "MediumSparseInt8", *["-"] * 7, "same as 0.6")


def lines_of(*experiments: Observed) -> list[dict[str, Any]]:
    lines: list[str] = []
    announcer = Announcer(JsonLinesDisplay(lines.append))
    for experiment in experiments:
        announcer.show(experiment)
    return [json.loads(line) for line in lines]


def test_who_watches_a_search_hears_of_which_level_everything_is() -> None:
    lines = lines_of(seen(searching(), spec=SPEC))
    kinds = [(line["type"], line.get("level"), line.get("stage")) for line in lines]
    assert kinds == [
        ("level", 0.3, None),
        *(
            (kind, None, stage)
            for stage in ("prepare", "train", "package")
            for kind in ("started", "result")
        ),
        ("level", 0.6, None),
        ("started", None, "prepare"),
        ("result", None, "prepare"),
        ("started", None, "train"),
        ("progress", None, "train"),
    ]
    assert lines[0] == {"type": "level", "level": 0.3, "number": 1, "of": 3}


def test_a_search_is_told_once() -> None:
    once, twice = (lines_of(*[seen(searching(), spec=SPEC)] * times) for times in (1, 2))
    assert once == twice


def test_what_a_search_asked_for_is_judged_too() -> None:
    strict = {"search": {"levels": [0.3, 0.6], "minRecovery": 0.98}}
    assert missed_criteria(seen(searched(), spec=strict)) == [
        "recovery is 0.97; at least 0.98 is required"
    ]
    assert missed_criteria(seen(searched(), spec=SPEC)) == []


def test_a_level_can_be_looked_at_alone() -> None:
    experiment = seen(searching(), spec=SPEC)
    assert stage_of_interest(experiment) is Stage.TRAIN
    done = experiment.at_level(0.3)
    assert stage_of_interest(done) is Stage.PACKAGE
    package, train = done.stage(Stage.PACKAGE), experiment.stage(Stage.TRAIN)
    assert package is not None and train is not None
    assert (package.key, train.key) == ("pppppppppp", "tttttttttb")
    with pytest.raises(InputError, match=r"level 0.4; it searches over 0.3, 0.6 or 0.9"):
        experiment.at_level(0.4)
    with pytest.raises(InputError, match="no levels"):
        seen(succeeded()).at_level(0.3)


def test_pods_of_other_levels_are_not_a_levels() -> None:
    labels = {LABEL_STAGE: "train", LABEL_KEY: "tttttttttb"}
    metadata = {"name": "of-0.6", "uid": "u", "creationTimestamp": at(5), "labels": labels}
    pods = runner_pods([{"metadata": metadata, "status": {"phase": "Running"}}])
    experiment = seen(searching(), spec=SPEC)
    assert of_stage(pods, experiment.at_level(0.6), Stage.TRAIN) == pods
    assert of_stage(pods, experiment.at_level(0.9), Stage.TRAIN) == []


def test_an_experiment_that_becomes_a_search_keeps_its_bar() -> None:
    shown = io.StringIO()
    with terminal_display(Console(file=shown, force_terminal=True, width=100)) as display:
        announcer = Announcer(display)
        announcer.show(seen(training(40, stages=searching()["stages"])))
        announcer.show(seen(searching(), spec=SPEC))
    assert "0.6 train" in shown.getvalue()


def test_pods_of_another_level_are_not_those_of_a_level_that_has_none() -> None:
    pods = runner_pods([pod("a", 1, "Succeeded"), pod("b", 2, "Running")])
    experiment = seen(searching(), spec=SPEC)
    assert of_stage(pods, experiment.at_level(0.9), Stage.TRAIN) == []
    assert len(of_stage(pods, experiment.at_level(0.3), Stage.TRAIN)) == 2


@pytest.mark.parametrize(
    ("status", "level", "words"),
    [
        (searching(), 0.9, "film-reviews, train at level 0.9: has no pod yet, so there is no log"),
        (searched(), 0.7, "is not run, as it equals level 0.6; --level 0.6 has it"),
        (searched(), 0.9, "is not run, as the level failed (OutOfMemory)"),
        (searched(), 0.3, "film-reviews, train: its pods and their logs are gone"),
    ],
)
def test_where_a_level_has_no_pods_it_says_why(status: Document, level: float, words: str) -> None:
    assert words in no_pods(seen(status, spec=SPEC).at_level(level), Stage.TRAIN)


def test_programs_get_the_levels_too() -> None:
    document = results_document(seen(searched(), spec=SPEC))
    assert document["search"]["selected"] == 0.6
    assert "search" not in results_document(seen(succeeded()))


def test_results_show_every_level_and_write_a_page_of_them(
    served: Served, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    page = tmp_path / "search.html"
    served.create(status=searched(), spec=SPEC)
    assert invoke(["results", "film-reviews", "--report", str(page)]) == 0
    shown = capsys.readouterr().out
    assert "search       level 0.6 is kept" in shown
    assert "OutOfMemory" in shown
    html = page.read_text()
    assert "a search over 4 levels" in html
    assert html.count('class="chart"') == 2


def test_a_page_of_levels_is_refused_where_nothing_is_searched(
    served: Served, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    served.create(status=succeeded())
    assert invoke(["results", "film-reviews", "--report", str(tmp_path / "a.html")]) == 10
    assert "does not search over levels" in capsys.readouterr().err
