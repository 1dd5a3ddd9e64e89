from __future__ import annotations

import pytest

from sparse_transfer_api.suggest import did_you_mean, listed, nearest

FIELDS = ["useCase", "optimLevel", "data", "model", "training", "runPolicy"]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("usecase", "useCase"),
        ("use_case", "useCase"),
        ("optim-level", "optimLevel"),
        ("trainng", "training"),
        ("run", "runPolicy"),
        ("xyz", None),
        ("", None),
    ],
)
def test_the_nearest_valid_value_is_found_or_none(written: str, meant: str | None) -> None:
    assert nearest(written, FIELDS) == meant


def test_the_first_of_several_spellings_of_one_name_wins() -> None:
    assert nearest("hostpath", ["hostPath", "host_path"]) == "hostPath"


def test_a_suggestion_reads_as_a_question() -> None:
    assert did_you_mean("modle", FIELDS) == "; did you mean model?"
    assert did_you_mean("zzz", FIELDS) == ""


@pytest.mark.parametrize(
    ("values", "text"),
    [([], ""), (["a"], "a"), (["a", "b"], "a or b"), (["a", "b", "c"], "a, b or c")],
)
def test_values_are_listed_as_text(values: list[str], text: str) -> None:
    assert listed(values) == text
