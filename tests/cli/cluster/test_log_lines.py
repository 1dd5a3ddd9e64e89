"""Lines of stages' logs, as people read them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparse_transfer_cli.cluster.log_lines import readable


@pytest.mark.parametrize(
    ("record", "line"),
    [
        (
            {"type": "progress", "stage": "train", "activity": "transfer", "step": 5,
             "totalSteps": 20, "percentage": 12.5, "metrics": {"loss": 0.123456},
             "estimatedRemainingSeconds": 75},
            "train     12.5 %  transfer · 5/20 · loss 0.1235 · 1:15 left",
        ),
        ({"type": "progress", "stage": "prepare", "activity": "data"}, "prepare           data"),
        (
            {"type": "progress", "stage": "package", "activity": "export", "percentage": 100},
            "package  100.0 %  export",
        ),
        (
            {"type": "result", "stage": "train", "key": "k", "outcome": "Succeeded",
             "reason": "Completed", "message": "accuracy 0.82", "manifestUri": "s3://r/t/m.json"},
            "train    Succeeded: accuracy 0.82; s3://r/t/m.json",
        ),
        (
            {"type": "result", "stage": "train", "key": "k", "outcome": "Succeeded",
             "reason": "Completed", "recorded": True},
            "train    Reused",
        ),
        (
            {"type": "result", "stage": "prepare", "key": "k", "outcome": "Failed",
             "reason": "InvalidInput", "message": "row 3", "exitCode": 10},
            "prepare  Failed (InvalidInput, exit 10): row 3",
        ),
    ],
)  # fmt: skip
def test_records_become_sentences(record: dict[str, object], line: str) -> None:
    assert readable(json.dumps(record)) == line


@pytest.mark.parametrize(
    "line",
    ["", "INFO loading", "{", "[1]", "3", '{"type": "progress"}', '{"type": "song", "stage": 1}'],
)
def test_all_else_stays_as_it_is(line: str) -> None:
    assert readable(line) == line


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_no_line_is_too_strange(line: str) -> None:
    assert isinstance(readable(line), str)
