from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparse_transfer_api.contract import Stage
from sparse_transfer_api.keys import KEY_LENGTH
from sparse_transfer_api.spec.types import MAX_NAME
from sparse_transfer_operator.names import job_name, labels

LABEL_VALUE = re.compile("([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
NAMES = st.from_regex(rf"[a-z0-9]([-a-z0-9]{{0,{MAX_NAME - 2}}}[a-z0-9])?", fullmatch=True)
KEYS = st.text("abcdefghijklmnopqrstuvwxyz234567", min_size=KEY_LENGTH, max_size=KEY_LENGTH)
JOBS = st.tuples(NAMES, st.sampled_from(Stage), KEYS, st.booleans())


def test_a_job_is_named_after_experiment_stage_and_key() -> None:
    assert job_name("film-reviews", Stage.TRAIN, "abcdefghij") == "film-reviews-train-abcdefghij"


def test_a_job_that_only_returns_a_record_has_a_name_of_its_own() -> None:
    plain = job_name("film-reviews", Stage.TRAIN, "abcdefghij")
    assert job_name("film-reviews", Stage.TRAIN, "abcdefghij", recorded_only=True) != plain


@pytest.mark.parametrize("stage", Stage)
def test_the_longest_names_fit_into_a_label(stage: Stage) -> None:
    name = job_name("a" * MAX_NAME, stage, "b" * KEY_LENGTH, recorded_only=True)
    assert len(name) <= 63, "a pod's label batch.kubernetes.io/job-name holds it whole"


@given(JOBS, JOBS)
def test_two_jobs_share_a_name_only_when_they_are_the_same(
    one: tuple[str, Stage, str, bool], other: tuple[str, Stage, str, bool]
) -> None:
    names = [
        job_name(name, stage, key, recorded_only=recorded)
        for name, stage, key, recorded in (one, other)
    ]
    assert (names[0] == names[1]) == (one == other)


def test_an_experiment_whose_name_ends_as_jobs_do_meets_no_other_experiments_jobs() -> None:
    key = "abcdefghij"
    inner = job_name("film", Stage.TRAIN, key, recorded_only=True)
    assert inner not in {
        job_name(name, stage, key) for name in ("film", "film-train") for stage in Stage
    }


@given(JOBS)
def test_every_label_is_one_that_kubernetes_takes(job: tuple[str, Stage, str, bool]) -> None:
    name, stage, key, recorded_only = job
    for value in labels(name, stage, key, recorded_only=recorded_only).values():
        assert LABEL_VALUE.fullmatch(value)
