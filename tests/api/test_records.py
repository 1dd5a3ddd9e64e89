"""The documents that stages write and others read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparse_transfer_api import errors
from sparse_transfer_api.base import round_ratio
from sparse_transfer_api.contract import MAX_STAGE_RESULT_BYTES, ExitCode, Stage
from sparse_transfer_api.errors import InputError, Problem, SparseTransferError
from sparse_transfer_api.records import Manifest, Progress, StageResult


def stage_result(**changes: Any) -> StageResult:
    """Returns the result of a failed stage, with changes."""
    fields: dict[str, Any] = {
        "stage": Stage.PREPARE,
        "key": "a" * 10,
        "outcome": "Failed",
        "reason": "InvalidInput",
        "exit_code": 10,
        "headline": {"recovery": 0.98, "speedup": None},
        "digests": {"data": "d" * 64},
        "manifest_uri": "s3://bucket/runs/manifest.json",
    }
    return StageResult(**{**fields, **changes})


@given(st.text(st.characters(), max_size=6000))
def test_a_termination_message_is_never_cut_by_the_kubelet(message: str) -> None:
    result = stage_result(message=message)
    body = result.to_termination_message()
    assert len(body) <= MAX_STAGE_RESULT_BYTES
    read = StageResult.model_validate_json(body)
    assert (read.digests, read.headline) == (result.digests, result.headline)
    assert read.message == result.message or read.message.endswith("…")


def test_a_short_message_is_kept_whole() -> None:
    result = stage_result(message="data/train.csv:7: expected 2 columns, found 3")
    read = StageResult.model_validate_json(result.to_termination_message())
    assert read.message == result.message


def test_what_else_is_too_long_is_left_to_the_manifest() -> None:
    digests = {f"file-{number}": "d" * 64 for number in range(100)}
    result = stage_result(message="a message", digests=digests)
    read = StageResult.model_validate_json(result.to_termination_message())
    assert read.reason == "InvalidInput"
    assert read.digests == {}


def test_a_result_that_cannot_be_shortened_is_an_error_and_no_endless_loop() -> None:
    with pytest.raises(ValueError, match="too long"):
        stage_result(manifest_uri="s3://" + "x" * 5000).to_termination_message()


def test_a_file_name_that_is_no_text_does_not_prevent_the_result() -> None:
    assert stage_result(message="data/tr\udc80in.csv").message == "data/tr?in.csv"


@pytest.mark.parametrize("record", [stage_result(), Progress(stage=Stage.TRAIN, activity="x")])
def test_every_record_says_its_schema_version(record: Any) -> None:
    assert json.loads(record.to_json())["schemaVersion"] == 1


def test_readers_ignore_what_they_do_not_know() -> None:
    body = json.loads(stage_result().to_json())
    assert StageResult.model_validate({**body, "new": {"a": 1}}) == stage_result()


def test_records_are_written_in_camel_case_without_nulls() -> None:
    body = json.loads(stage_result(manifest_uri=None).to_json())
    assert "exitCode" in body
    assert "manifestUri" not in body


def test_a_manifest_reads_what_it_wrote() -> None:
    manifest = Manifest.model_validate(
        {
            "stage": "prepare",
            "key": "k",
            "created": "2026-03-01T12:00:00Z",
            "files": [{"path": "plan.json", "sha256": "a" * 64, "sizeBytes": 3}],
            "provenance": {"versions": {"torch": "2"}},
        }
    )
    assert Manifest.model_validate_json(manifest.to_json()) == manifest


@pytest.mark.parametrize(("value", "rounded"), [(0.98765, 0.9877), (1.0, 1.0), (0.00004, 0.0)])
def test_ratios_have_four_digits(value: float, rounded: float) -> None:
    assert round_ratio(value) == rounded


def _errors() -> list[type[SparseTransferError]]:
    return [
        each
        for each in vars(errors).values()
        if isinstance(each, type)
        and issubclass(each, SparseTransferError)
        and each is not SparseTransferError
    ]


def test_every_error_has_an_exit_code_and_a_reason_of_its_own() -> None:
    kinds = _errors()
    assert {kind.exit_code for kind in kinds} == set(ExitCode) - {ExitCode.DONE}
    assert len({kind.reason for kind in kinds}) == len(kinds)
    assert all(kind.reason.isalpha() and kind.reason[0].isupper() for kind in kinds)


def test_exit_codes_are_those_of_the_design() -> None:
    assert {code.name: code.value for code in ExitCode} == {
        "DONE": 0,
        "USAGE": 2,
        "INPUT": 10,
        "ACCEPTANCE": 11,
        "MEMORY": 12,
        "ACCESS": 13,
        "VANISHED": 14,
        "TRANSIENT": 75,
        "STOPPED": 143,
    }


def test_an_input_error_lists_every_problem_with_its_place() -> None:
    error = InputError(
        "the data is wrong",
        [Problem("train.csv", "expected 2 columns, found 3", line=7), Problem("val.csv", "empty")],
    )
    assert str(error) == (
        "the data is wrong\n  - train.csv:7: expected 2 columns, found 3\n  - val.csv: empty"
    )
