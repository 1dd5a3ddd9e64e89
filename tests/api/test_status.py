from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from sparse_transfer_api.contract import Stage
from sparse_transfer_api.fitting import fitted_status
from sparse_transfer_api.records import Progress
from sparse_transfer_api.results import Artifact
from sparse_transfer_api.status import (
    MAX_HISTORY,
    Condition,
    ConditionStatus,
    ConditionType,
    PastResult,
    Phase,
    ProgressStatus,
    Resolved,
    SparseTransferStatus,
    StageStatus,
    with_condition,
    with_past_result,
)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def condition(
    kind: ConditionType, status: ConditionStatus, *, minutes: int = 0, message: str = ""
) -> Condition:
    """Returns a condition of some minutes after noon."""
    return Condition(
        type=kind,
        status=status,
        last_transition_time=NOON + timedelta(minutes=minutes),
        reason="Because",
        message=message,
    )


def test_a_new_condition_is_appended() -> None:
    first = condition(ConditionType.PREPARED, ConditionStatus.TRUE)
    second = condition(ConditionType.TRAINED, ConditionStatus.FALSE)
    assert with_condition((first,), second) == (first, second)


def test_a_condition_that_stays_as_it_is_keeps_its_time() -> None:
    old = condition(ConditionType.READY, ConditionStatus.TRUE)
    new = condition(ConditionType.READY, ConditionStatus.TRUE, minutes=5, message="again")
    (found,) = with_condition((old,), new)
    assert found.last_transition_time == NOON
    assert found.message == "again"


def test_a_condition_that_changes_takes_the_new_time_in_its_old_place() -> None:
    others = condition(ConditionType.PREPARED, ConditionStatus.TRUE)
    old = condition(ConditionType.READY, ConditionStatus.TRUE)
    new = condition(ConditionType.READY, ConditionStatus.FALSE, minutes=5)
    assert with_condition((old, others), new) == (new, others)


def test_conditions_are_found_by_their_type() -> None:
    ready = condition(ConditionType.READY, ConditionStatus.TRUE)
    status = SparseTransferStatus(conditions=[ready])
    assert status.condition(ConditionType.READY) == ready
    assert status.condition(ConditionType.STALLED) is None


def test_two_conditions_of_one_type_are_no_status() -> None:
    ready = condition(ConditionType.READY, ConditionStatus.TRUE)
    with pytest.raises(ValidationError, match="Ready is there twice"):
        SparseTransferStatus(conditions=[ready, ready])


@pytest.mark.parametrize("reason", ["", "no camel", "lowerFirst", "With-Hyphen"])
def test_reasons_are_camel_case(reason: str) -> None:
    with pytest.raises(ValidationError):
        condition(ConditionType.READY, ConditionStatus.TRUE).model_validate(
            {"type": "Ready", "status": "True", "lastTransitionTime": NOON, "reason": reason}
        )


def test_the_history_keeps_the_last_five_results_newest_first() -> None:
    history: tuple[PastResult, ...] = ()
    for generation in range(1, 8):
        history = with_past_result(history, PastResult(generation=generation, outcome="Succeeded"))
    assert [past.generation for past in history] == [7, 6, 5, 4, 3]
    assert len(history) == MAX_HISTORY


def test_a_runners_report_becomes_the_statuss_progress() -> None:
    report = Progress(
        stage=Stage.TRAIN,
        activity="transfer",
        step=10,
        total_steps=100,
        epoch=0.1,
        percentage=42.5,
        estimated_remaining_seconds=60,
        last_updated_time=NOON,
        metrics={"loss": 0.5},
    )
    progress = ProgressStatus.of(report)
    assert progress.to_json_dict() == {
        "stage": "train",
        "activity": "transfer",
        "epoch": 0.1,
        "step": 10,
        "totalSteps": 100,
        "percentage": 42.5,
        "estimatedRemainingSeconds": 60,
        "lastUpdatedTime": "2026-03-01T12:00:00Z",
        "metrics": {"loss": 0.5},
    }


def test_an_older_reader_copes_with_a_newer_writer() -> None:
    status = SparseTransferStatus.model_validate(
        {"phase": "Training", "new": 1, "stages": [{"name": "train", "new": {}}]}
    )
    assert status.phase is Phase.TRAINING
    assert status.stages == (StageStatus(name=Stage.TRAIN),)


def full_status(text: str, items: int) -> SparseTransferStatus:
    """Returns a status with one text everywhere, and so many items."""
    return SparseTransferStatus(
        observed_generation=1,
        phase=Phase.FAILED,
        conditions=[condition(ConditionType.FAILED, ConditionStatus.TRUE)],
        stages=[StageStatus(name=Stage.TRAIN, key=text, job=text, reason=text)],
        resolved=Resolved(
            model=text,
            digests={f"file-{number}": text for number in range(items)},
            settings={"recipe": text},
        ),
        artifacts=[Artifact(name=f"{number}", uri=text) for number in range(min(items, 64))],
        observed_retry=text,
    )


@pytest.mark.parametrize(("length", "items"), [(10, 1), (1024, 64), (1025, 65), (100_000, 500)])
def test_whatever_a_status_says_the_api_server_takes_it(
    length: int, items: int, document: Any, api_server: Any
) -> None:
    made = document({"status": fitted_status(full_status("x" * length, items))})
    assert api_server.refusals(made) == []


def test_a_status_that_fits_is_left_as_it_is() -> None:
    status = full_status("text", 3)
    assert fitted_status(status) == status.to_json_dict()


def test_a_long_text_ends_with_an_ellipsis() -> None:
    cut = fitted_status(full_status("x" * 5000, 1))["observedRetry"]
    assert cut == "x" * 1023 + "…"
