"""Searches: which level's Job is made next, what a level's end means, and which level is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from sparse_transfer_api.contract import Stage
from sparse_transfer_api.search import headline_latency
from sparse_transfer_api.status import Phase
from sparse_transfer_operator.actions import CreateJob
from sparse_transfer_operator.cluster.failures import Refused
from sparse_transfer_operator.refusal import with_refusal

from .builders import Experiment, Job, experiment, job, pod
from .simulated_cluster import Cluster
from .stage_results import at, digests, level_results
from .words import at_level, condition, message, planned, record, words

SEARCH = experiment().searching(0.3, 0.6, 0.9)


def prepared(*levels: float) -> tuple[Job, ...]:
    return tuple(job("prepare").at(level).succeeded() for level in levels)


def done(*levels: float) -> tuple[Job, ...]:
    return tuple(job(stage).at(level).succeeded() for level in levels for stage in Stage)


def failed(stage: str, level: float, reason: str = "InvalidInput") -> Job:
    return job(stage).at(level).with_pod(pod().failed(10).saying(reason, "it is wrong")).failed()


def after(owner: Experiment, *jobs: Job) -> Experiment:
    """Returns the experiment with what the operator recorded of these Jobs, however many looks."""
    for _ in range(20):
        status = planned(owner, *jobs).status
        if status == owner.status:
            return owner
        owner = owner.with_status(status)
    raise AssertionError("planning does not converge")


@dataclass(frozen=True)
class Case:
    """A search with the Jobs that there are, and what follows."""

    given: Experiment
    jobs: tuple[Job, ...]
    actions: list[str]


ALL_PREPARED = prepared(0.3, 0.6, 0.9)
CASES: Mapping[str, Case] = {
    "it begins with its first level": Case(SEARCH, (), ["create prepare at 0.3"]),
    "all levels are prepared before one is trained": Case(
        SEARCH, prepared(0.3), ["create prepare at 0.6"]
    ),
    "one after the other": Case(SEARCH, (*prepared(0.3), job("prepare").at(0.6).running()), []),
    "the first level is trained first": Case(SEARCH, ALL_PREPARED, ["create train at 0.3"]),
    "and packaged before the next is trained": Case(
        SEARCH,
        (*ALL_PREPARED, job("train").at(0.3).succeeded()),
        ["create package at 0.3"],
    ),
    "then the next level is trained": Case(
        SEARCH, (*ALL_PREPARED, *done(0.3)[1:]), ["create train at 0.6"]
    ),
    "a level that cannot be prepared does not keep the next from being prepared": Case(
        SEARCH, (failed("prepare", 0.3),), ["create prepare at 0.6"]
    ),
    "a level that cannot be trained does not keep the next from being trained": Case(
        SEARCH, (*ALL_PREPARED, failed("train", 0.3)), ["create train at 0.6"]
    ),
    "when all levels have ended nothing is left to be done": Case(SEARCH, done(0.3, 0.6, 0.9), []),
    "a level of the same model and recipe as another is not trained": Case(
        experiment().searching(0.6, 0.7),
        (*prepared(0.6, 0.7), *done(0.6)[1:]),
        [],
    ),
    "a suspended search makes no Job": Case(SEARCH.suspended(), prepared(0.3), []),
    "the Job of whichever level runs is suspended": Case(
        SEARCH.suspended(),
        (*ALL_PREPARED, *done(0.3)[1:], job("train").at(0.6).running()),
        ["suspend train at 0.6"],
    ),
    "and resumed": Case(
        SEARCH,
        (*ALL_PREPARED, *done(0.3)[1:], job("train").at(0.6).suspended()),
        ["resume train at 0.6"],
    ),
    "Jobs of a queued search are made suspended": Case(
        SEARCH.in_queue(), prepared(0.3), ["create suspended prepare at 0.6"]
    ),
    "a level added in front waits for the one that runs": Case(
        experiment().searching(0, 0.3),
        (*prepared(0.3), job("train").at(0.3).running()),
        [],
    ),
    "a level taken away loses its Jobs before another is begun": Case(
        experiment().searching(0.3),
        (*prepared(0.3), job("train").of_key("oldkeyoldk").running()),
        ["delete old train"],
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_that(case: Case) -> None:
    assert words(case.given, planned(case.given, *case.jobs)) == case.actions


def test_a_search_that_is_done_shows_the_level_that_is_kept() -> None:
    found = planned(SEARCH, *done(0.3, 0.6, 0.9))
    status = found.status
    assert status.phase is Phase.SUCCEEDED
    assert status.search is not None
    assert (status.search.selected, status.search.summary) == (0.9, "3 of 3")
    assert status.results == level_results(0.9)
    assert status.resolved is not None
    assert (status.resolved.level, status.resolved.model) == (0.9, "catalog:small")
    assert [each.key for each in status.stages] == [SEARCH.key(stage, 0.9) for stage in Stage]
    assert status.artifacts
    assert condition(found, "Complete") == "True Completed"
    assert message(found) == "level 0.9 is the fastest of 3 that pass"


def test_a_search_keeps_the_best_that_recovers_enough() -> None:
    owner = experiment().searching(0.3, 0.6, 0.9, minRecovery=0.94, objective="Smallest")
    found = planned(owner, *done(0.3, 0.6, 0.9))
    assert found.status.results == level_results(0.6)
    assert message(found) == "level 0.6 is the smallest of 2 that pass"


def test_where_no_level_passes_the_one_that_comes_nearest_is_shown() -> None:
    owner = experiment().searching(0.6, 0.9, minRecovery=0.97)
    found = planned(owner, *done(0.6, 0.9))
    assert found.status.phase is Phase.FAILED
    assert condition(found, "Failed") == condition(found, "Stalled") == "True AcceptanceMissed"
    assert message(found, "Failed") == (
        "no level passes; level 0.6 comes nearest: recovery is 0.94; at least 0.97 is required"
    )
    assert found.status.results == level_results(0.6)
    assert condition(found, "Packaged") == "True Completed"


def test_a_search_of_which_one_level_fails_succeeds_with_the_others_and_says_so() -> None:
    jobs = (*done(0.3), *prepared(0.6), failed("train", 0.6), *done(0.9))
    found = planned(SEARCH, *jobs)
    assert found.status.phase is Phase.SUCCEEDED
    assert message(found) == (
        "level 0.9 is the fastest of 2 that pass; level 0.6 failed: InvalidInput: it is wrong"
    )
    level = at_level(found, 0.6)
    assert (level.outcome, level.reason, level.results) == ("Failed", "InvalidInput", None)


def test_a_search_of_which_all_levels_fail_fails_with_all_their_reasons() -> None:
    found = planned(SEARCH, *(failed("prepare", level) for level in (0.3, 0.6, 0.9)))
    assert condition(found, "Failed") == "True InvalidInput"
    assert message(found, "Failed").startswith("no level came to a result; level 0.3 failed: ")
    assert found.status.search is not None
    assert (found.status.search.selected, found.status.results) == (None, None)


def test_while_levels_are_tried_the_status_shows_the_one_that_runs_and_no_results() -> None:
    found = planned(SEARCH, *ALL_PREPARED, *done(0.3)[1:], job("train").at(0.6).running())
    status = found.status
    assert status.phase is Phase.TRAINING
    assert record(found, "train").key == SEARCH.key("train", 0.6)
    assert (status.results, status.artifacts) == (None, ())
    assert status.resolved is not None
    assert status.resolved.level == 0.6
    assert status.search is not None
    assert (status.search.selected, status.search.summary) == (None, "1 of 3")
    assert message(found) == "level 0.6 (2 of 3)"
    assert [each.outcome for each in status.search.levels] == ["Succeeded", "Running", None]
    assert at_level(found, 0.3).results == level_results(0.3)
    assert at_level(found, 0.9).reason == "WaitingForTurn"


def test_gitops_does_not_wait_for_a_level_after_another_has_begun() -> None:
    assert condition(planned(SEARCH), "Ready") == "True WaitingForPod"
    found = planned(SEARCH, *prepared(0.3))
    assert condition(found, "Ready") == "True WaitingForPod"


def test_the_front_is_told_level_by_level() -> None:
    owner = experiment().searching(0.3, 0.9, objective="Smallest")
    dull = job("package").at(0.3).succeeded(results=level_results(0.95))
    found = planned(owner, *done(0.3)[:2], dull, *done(0.9))
    assert [at_level(found, level).pareto for level in (0.3, 0.9)] == [True, True]
    worse = level_results(0.9).model_copy(update={"recovery": 0.5, "size_bytes": 999})
    found = planned(
        owner, *done(0.3), *done(0.9)[:2], job("package").at(0.9).succeeded(results=worse)
    )
    assert [at_level(found, level).pareto for level in (0.3, 0.9)] == [True, False]


def test_a_level_that_equals_another_is_skipped_by_name() -> None:
    owner = experiment().searching(0.6, 0.7)
    found = planned(owner, *done(0.6), *prepared(0.7))
    level = at_level(found, 0.7)
    assert (level.outcome, level.same_as) == ("Skipped", 0.6)
    assert level.message == "comes to the same model and recipe as level 0.6"
    assert [each.name for each in level.stages] == ["prepare"]
    assert found.status.phase is Phase.SUCCEEDED


def test_a_level_that_equals_one_that_is_done_already_is_skipped_wherever_it_stands() -> None:
    single = experiment().searching(0.7)
    owner = after(single, *done(0.7)).edited(search={"levels": [0.6, 0.7]})
    found = planned(owner, *done(0.7), *prepared(0.6))
    assert (found.actions, at_level(found, 0.6).same_as) == ((), 0.7)
    assert found.status.results == level_results(0.7)


def test_an_edited_order_of_equal_levels_does_not_stop_the_one_that_trains() -> None:
    jobs = (*prepared(0.6, 0.7), job("train").at(0.7).running())
    owner = after(experiment().searching(0.7, 0.6), *jobs).edited(search={"levels": [0.6, 0.7]})
    found = planned(owner, *jobs)
    assert (found.actions, at_level(found, 0.6).same_as) == ((), 0.7)
    assert not [each for each in found.events if each.reason == "Superseded"]


def test_edited_targets_package_the_level_that_was_trained_and_not_its_equal() -> None:
    owner = after(experiment().searching(0.7), *done(0.7)).edited(search={"levels": [0.6, 0.7]})
    owner = after(owner, *done(0.7), *prepared(0.6)).edited(export={"targets": ["openvino"]})
    assert words(owner, planned(owner)) == ["create package at 0.7"]


def test_what_ran_of_another_machine_is_said_not_to_compare() -> None:
    other = level_results(0.9)
    point = other.engines[0].model_copy(update={"isa": "AVX2"})
    other = other.model_copy(update={"engines": [point]})
    jobs = (*done(0.3), *done(0.9)[:2], job("package").at(0.9).succeeded(results=other))
    found = planned(experiment().searching(0.3, 0.9), *jobs).status
    assert found.search is not None
    assert "different instruction sets" in (found.search.message or "")


def test_a_status_stays_small_however_much_levels_hand_over() -> None:
    levels = tuple(number / 10 for number in range(3, 11))
    owner = experiment().searching(*levels)
    jobs: list[Job] = []
    for level in levels:
        found = level_results(level)
        talking = found.engines[0].model_copy(update={"notes": ["slow" * 200] * 60, "batch": 2})
        results = found.model_copy(update={"engines": [*found.engines, *[talking] * 8]})
        # Of one band each, but for their digests.
        prepare = job("prepare").at(level).succeeded(digests=digests("prepare", level))
        jobs += [prepare, job("train").at(level).succeeded()]
        jobs += [job("package").at(level).succeeded(results=results)]
    found_status = planned(owner, *jobs).status
    assert len(found_status.model_dump_json()) < 256 * 1024
    assert found_status.search is not None
    assert found_status.search.selected == 1
    assert found_status.results is not None
    assert found_status.results.recovery == level_results(1).recovery
    assert headline_latency(found_status.results) is not None


def test_a_job_that_is_refused_is_said_of_its_level_too() -> None:
    found = planned(SEARCH, *prepared(0.3))
    error = Refused("Forbidden", "exceeded quota", 403)
    said = with_refusal(SEARCH.status, found.status, Stage.PREPARE, error, at(62))
    assert said.search is not None
    first, second, _ = said.search.levels
    assert first.stages == at_level(found, 0.3).stages
    assert second.stages == said.stages
    assert (second.stages[0].job, second.stages[0].reason) == (None, "JobRefused")
    assert (second.reason, second.message) == ("JobRefused", second.stages[0].message)
    again = planned(SEARCH.with_status(said), *prepared(0.3))
    assert words(SEARCH, again) == ["create prepare at 0.6"]


# ---- time ----------------------------------------------------------------------------------------


def test_the_running_time_of_all_levels_counts_together() -> None:
    jobs = (*ALL_PREPARED, *done(0.3)[1:])
    (order,) = planned(SEARCH.policy(activeDeadlineSeconds=1000), *jobs).actions
    assert isinstance(order, CreateJob)
    # Five stages ran before.
    assert (order.level, order.active_deadline_seconds) == (0.6, 1000 - 5 * 61)


def test_levels_that_the_running_time_does_not_reach_fail_without_a_job() -> None:
    owner = SEARCH.policy(activeDeadlineSeconds=60)
    owner = after(owner, *ALL_PREPARED, *done(0.3)[1:])
    assert planned(owner, *ALL_PREPARED, *done(0.3)[1:]).actions == ()
    assert owner.status.phase is Phase.SUCCEEDED
    search = owner.status.search
    assert search is not None
    assert [each.reason for each in search.levels] == [
        "Completed",
        "DeadlineExceeded",
        "DeadlineExceeded",
    ]


def test_jobs_of_all_levels_expire_together_after_the_last_end() -> None:
    jobs = done(0.3, 0.6, 0.9)
    owner = after(SEARCH, *jobs)
    assert planned(owner, *jobs).next_check == at(60 + 86_400)
    assert len(planned(owner, *jobs, now=at(90_000)).actions) == 9


# ---- edits ---------------------------------------------------------------------------------------


FINISHED = after(SEARCH, *done(0.3, 0.6, 0.9))


def test_a_level_that_is_added_is_the_only_one_to_run() -> None:
    owner = FINISHED.edited(search={"levels": [0.3, 0.6, 0.9, 0]})
    found = planned(owner)
    assert words(owner, found) == ["create prepare at 0"]
    (past,) = found.status.history
    assert (past.level, past.recovery, past.outcome) == (0.9, 0.91, "Succeeded")


def test_a_level_that_is_taken_away_runs_nothing() -> None:
    found = planned(FINISHED.edited(search={"levels": [0.3, 0.6]}))
    assert (found.actions, found.status.phase) == ((), Phase.SUCCEEDED)
    assert found.status.results == level_results(0.6)
    (past,) = found.status.history
    assert past.level == 0.9


def test_an_edited_objective_or_recovery_judges_again_without_a_job() -> None:
    found = planned(FINISHED.edited(search={"levels": [0.3, 0.6, 0.9], "minRecovery": 0.96}))
    assert (found.actions, found.status.results) == ((), level_results(0.3))
    assert [each.level for each in found.status.history] == [0.9]
    kept = planned(FINISHED.edited(search={"levels": [0.3, 0.6, 0.9], "minRecovery": 0.9}))
    assert (kept.actions, kept.status.results) == ((), level_results(0.9))
    assert kept.status.history == ()


def test_an_edited_order_of_levels_changes_nothing() -> None:
    found = planned(FINISHED.edited(search={"levels": [0.9, 0.3, 0.6]}))
    assert (found.actions, found.status.results) == ((), level_results(0.9))


def test_edited_targets_package_all_levels_again_and_train_none() -> None:
    owner = FINISHED.edited(export={"targets": ["openvino"]})
    found = planned(owner)
    assert words(owner, found) == ["create package at 0.3"]
    owner = owner.with_status(found.status)
    assert words(owner, planned(owner, job("package").at(0.3).succeeded())) == [
        "create package at 0.6"
    ]


def test_an_experiment_that_becomes_a_search_keeps_its_level() -> None:
    single = experiment().level(0.6).done("prepare", "train", "package")
    owner = single.with_status(planned(single).status).edited(search={"levels": [0.3, 0.6]})
    found = planned(owner)
    assert words(owner, found) == ["create prepare at 0.3"]
    assert at_level(found, 0.6).outcome == "Succeeded"
    assert [each.level for each in found.status.history] == [0.6]


def test_a_search_that_becomes_an_experiment_keeps_its_level() -> None:
    owner = FINISHED.edited(search=None, optimLevel=0.3)
    found = planned(owner)
    assert (found.actions, found.status.phase) == ((), Phase.SUCCEEDED)
    assert (found.status.search, found.status.results) == (None, level_results(0.3))
    assert [each.level for each in found.status.history] == [0.9]


def test_other_data_runs_everything_again_and_keeps_what_came_out_in_the_history() -> None:
    owner = FINISHED.edited(data={"uri": "s3://bucket/others/"})
    found = planned(owner)
    assert words(owner, found) == ["create prepare at 0.3"]
    assert found.status.results is None
    assert found.status.search is not None
    assert all(each.results is None for each in found.status.search.levels)
    assert [each.level for each in found.status.history] == [0.9]
    assert {"Superseded", "JobCreated"} <= {each.reason for each in found.events}


def test_a_retry_runs_what_failed_of_any_level_and_no_more() -> None:
    jobs = (*done(0.3), *prepared(0.6), failed("train", 0.6), failed("prepare", 0.9))
    owner = after(SEARCH, *jobs).retried("1")
    found = planned(owner, *jobs)
    assert words(owner, found) == ["delete train at 0.6", "delete prepare at 0.9"]
    owner = owner.with_status(found.status)
    again = planned(owner, *done(0.3), *prepared(0.6))
    assert words(owner, again) == ["create prepare at 0.9"]


def test_events_name_the_level() -> None:
    found = planned(SEARCH, *prepared(0.3))
    assert [each.message for each in found.events if each.reason == "StageSucceeded"] == [
        "level 0.3: prepare: prepare is done"
    ]
    assert "level 0.6: prepare: made Job" in " ".join(each.message for each in found.events)


def test_a_level_that_fails_is_told_though_others_go_on() -> None:
    found = planned(SEARCH, failed("prepare", 0.3))
    told = [each for each in found.events if each.warning]
    assert [(each.reason, each.message) for each in told] == [
        ("LevelFailed", "level 0.3: prepare: InvalidInput: it is wrong")
    ]
    owner = SEARCH.with_status(found.status)
    again = planned(owner, failed("prepare", 0.3), job("prepare").at(0.6).running())
    assert "LevelFailed" not in {each.reason for each in again.events}


# ---- all of it -----------------------------------------------------------------------------------


@pytest.mark.parametrize("queued", [False, True])
def test_a_search_runs_to_its_end_in_fair_weather(queued: bool) -> None:
    owner = SEARCH.in_queue() if queued else SEARCH
    cluster = Cluster(owner)
    assert cluster.run_to_the_end() is Phase.SUCCEEDED
    # Nine Jobs, each with a pod.
    assert cluster.made == 18
    assert cluster.owner.status.results == level_results(0.9)
    reasons = [each.reason for each in cluster.events]
    assert (reasons.count("StageSucceeded"), reasons.count("Completed")) == (9, 1)
