"""``run`` of a search: the order of its levels, what one's failure means, what is kept."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sparse_transfer_api.contract import ExitCode, Stage
from sparse_transfer_api.keys import stage_key
from sparse_transfer_api.search import at_level
from sparse_transfer_api.status import SearchRecord
from sparse_transfer_cli.experiment_file import read_experiment
from sparse_transfer_cli.finished import find_finished

Write = Callable[..., Path]
Drive = Callable[..., Any]

SEARCH = """
  search:
    levels: [0.3, 0.6]
"""


def runs(experiment: Path) -> Path:
    return experiment.parent / "runs" / "default" / "film-reviews"


def stages(lines: list[dict[str, Any]]) -> list[str]:
    """Returns the stages that were begun, each with its level."""
    found, level = [], None
    for line in lines:
        if line["type"] == "level":
            level = line["level"]
        elif line["type"] == "started":
            found.append(f"{line['stage']} at {level:g}")
    return found


def levels(ended: Any) -> dict[float, dict[str, Any]]:
    (search,) = ended.of_type("search")
    return {each["level"]: each for each in search["levels"]}


def test_all_levels_are_prepared_before_one_is_trained_and_the_best_is_shown(
    write_experiment: Write, drive: Drive
) -> None:
    experiment = write_experiment(SEARCH)
    ended = drive(experiment).end()
    assert ended.code == 0
    assert stages(ended.lines) == [
        *("prepare at 0.3", "prepare at 0.6"),
        *("train at 0.3", "package at 0.3"),
        *("train at 0.6", "package at 0.6"),
    ]
    (search,) = ended.of_type("search")
    assert (search["selected"], search["summary"]) == (0.6, "2 of 2")
    assert search["message"] == "level 0.6 is the fastest of 2 that pass"
    (outcome,) = ended.of_type("results")
    assert outcome["results"]["recovery"] == 0.94
    assert outcome["missed"] == []
    assert outcome["paths"]["report"] == str(runs(experiment) / "package-standin0.6/report.html")
    assert [each["pareto"] for each in levels(ended).values()] == [True, True]
    assert "LargestSparseInt8" in ended.errors

    folder = runs(experiment) / "search"
    record = SearchRecord.model_validate_json((folder / "search.json").read_bytes())
    assert record.search.selected == 0.6
    page = folder / "report.html"
    assert search["report"] == str(page)
    assert 'href="../package-standin0.3/report.html"' in page.read_text()
    assert str(page) in ended.errors


def test_only_a_level_that_is_added_is_run(write_experiment: Write, drive: Drive) -> None:
    experiment = write_experiment(SEARCH)
    first = drive(experiment).end()
    again = drive(experiment).end()
    assert all(line["recorded"] for line in again.of_type("result"))
    assert again.of_type("results") == first.of_type("results")
    ended = drive(write_experiment(SEARCH.replace("0.6", "0.6, 0"))).end()
    fresh = [line for line in ended.of_type("result") if not line["recorded"]]
    assert [line["key"] for line in fresh] == ["standin0"] * 3
    assert list(levels(ended)) == [0.3, 0.6, 0.0]


def test_a_stop_ends_the_search_and_the_same_command_goes_on_with_its_level(
    write_experiment: Write, drive: Drive
) -> None:
    experiment = write_experiment(SEARCH)
    running = drive(experiment, **{"train@0.6": ["wait"]})
    running.wait_for("waiting")
    running.process.send_signal(signal.SIGINT)
    ended = running.end()
    assert ended.code == ExitCode.STOPPED
    assert "to go on: the same command" in ended.errors
    assert not ended.of_type("search")
    again = drive(experiment).end()
    assert again.code == 0
    fresh = [line for line in again.of_type("result") if not line["recorded"]]
    assert [(line["stage"], line["key"]) for line in fresh] == [
        ("train", "standin0.6"),
        ("package", "standin0.6"),
    ]


def test_a_killed_search_keeps_the_levels_that_were_done(
    write_experiment: Write, drive: Drive
) -> None:
    experiment = write_experiment(SEARCH)
    running = drive(experiment, **{"train@0.6": ["wait"]})
    running.wait_for("waiting")
    running.process.kill()
    running.end()
    again = drive(experiment).end()
    assert again.code == 0
    recorded = {
        (line["stage"], line["key"]) for line in again.of_type("result") if line["recorded"]
    }
    assert recorded == {
        *(("prepare", "standin0.3"), ("prepare", "standin0.6")),
        *(("train", "standin0.3"), ("package", "standin0.3")),
    }


def test_a_level_that_fails_ends_alone(write_experiment: Write, drive: Drive) -> None:
    ended = drive(write_experiment(SEARCH), **{"train@0.6": ["10"]}).end()
    assert ended.code == 0
    (search,) = ended.of_type("search")
    assert search["selected"] == 0.3
    assert search["message"] == (
        "level 0.3 is the only one that passes; level 0.6 failed: Test: the input is wrong"
    )
    assert levels(ended)[0.6]["outcome"] == "Failed"
    assert "level 0.6: train failed: the input is wrong" in ended.errors
    assert "to try again what failed: the same command" in ended.errors


def test_a_level_that_cannot_be_prepared_is_not_trained(
    write_experiment: Write, drive: Drive
) -> None:
    ended = drive(write_experiment(SEARCH), **{"prepare@0.3": ["10"]}).end()
    assert stages(ended.lines) == [
        "prepare at 0.3", "prepare at 0.6", "train at 0.6", "package at 0.6"
    ]  # fmt: skip
    assert ended.code == 0


def test_where_all_levels_fail_it_fails_as_the_first_of_them_and_says_it_once(
    write_experiment: Write, drive: Drive
) -> None:
    behaviour = {f"prepare@{level}": ["talk"] for level in ("0.3", "0.6")}
    ended = drive(write_experiment(SEARCH), **behaviour).end()
    assert ended.code == ExitCode.INPUT
    assert not ended.of_type("results")
    (search,) = ended.of_type("search")
    assert "selected" not in search
    assert search["message"].startswith("no level came to a result; level 0.3 failed")
    assert len(levels(ended)[0.6]["message"]) == 1024
    assert ended.errors.count("level 0.3, 0.6: prepare failed: the input is wrong; ") == 1


def test_where_no_level_passes_the_nearest_is_shown_with_what_it_misses(
    write_experiment: Write, drive: Drive
) -> None:
    more = "    minRecovery: 0.98\n"
    ended = drive(write_experiment(f"{SEARCH.rstrip()}\n{more}")).end()
    assert ended.code == ExitCode.ACCEPTANCE
    (outcome,) = ended.of_type("results")
    assert outcome["results"]["recovery"] == 0.97
    assert outcome["missed"] == ["recovery is 0.97; at least 0.98 is required"]
    assert "no level passes; level 0.3 comes nearest" in ended.errors


def test_levels_of_the_same_model_are_run_once(write_experiment: Write, drive: Drive) -> None:
    ended = drive(write_experiment(SEARCH.replace("0.3, 0.6", "0.8, 0.9"))).end()
    assert ended.code == 0
    assert stages(ended.lines) == [
        "prepare at 0.8", "prepare at 0.9", "train at 0.8", "package at 0.8"
    ]  # fmt: skip
    level = levels(ended)[0.9]
    assert (level["outcome"], level["sameAs"]) == ("Skipped", 0.8)
    assert "level 0.9 comes to the same model and recipe as level 0.8" in json.dumps(ended.lines)


def test_of_equal_levels_the_one_that_an_earlier_run_trained_is_kept(
    write_experiment: Write, drive: Drive
) -> None:
    experiment = write_experiment(SEARCH.replace("0.3, 0.6", "0.8, 0.9"))
    spec = at_level(read_experiment(experiment), 0.9).spec
    key = stage_key(spec, Stage.TRAIN, "standin0.9", {"model": "0.75"})
    trained = runs(experiment) / f"train-{key}"
    trained.mkdir(parents=True)
    (trained / "manifest.json").touch()
    ended = drive(experiment).end()
    assert ended.code == 0
    assert stages(ended.lines)[2:] == ["train at 0.9", "package at 0.9"]
    assert levels(ended)[0.8]["sameAs"] == 0.9


def test_an_output_that_vanished_is_made_again_for_its_level(
    write_experiment: Write, drive: Drive
) -> None:
    ended = drive(write_experiment(SEARCH), **{"train@0.6": [str(int(ExitCode.VANISHED))]}).end()
    assert ended.code == 0
    assert stages(ended.lines)[2:] == [
        *("train at 0.3", "package at 0.3"),
        *("train at 0.6", "prepare at 0.6", "train at 0.6", "package at 0.6"),
    ]
    assert [each["outcome"] for each in levels(ended).values()] == ["Succeeded", "Succeeded"]


def test_of_a_search_the_level_that_was_kept_is_what_is_found(
    write_experiment: Write, drive: Drive
) -> None:
    more = "    objective: Smallest\n    minRecovery: 0.96\n"
    experiment = write_experiment(f"{SEARCH.rstrip()}\n{more}")
    assert drive(experiment).end().code == 0
    assert find_finished(runs(experiment)).package.name == "package-standin0.3"
    newest = runs(experiment) / "package-standin0.6"
    assert find_finished(newest).package == newest
    # A level that is taken away is not found again, though nothing newer was made.
    assert drive(write_experiment(SEARCH.replace(", 0.6", ""))).end().code == 0
    assert find_finished(runs(experiment)).package.name == "package-standin0.3"
