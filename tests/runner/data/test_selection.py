"""Which rows are trained on, chosen by and reported on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparse_transfer_api.errors import InputError
from sparse_transfer_api.records import ModelSource, Plan, SplitInfo, TrainingSettings
from sparse_transfer_runner.data.selection import selected_rows


def plan(
    *,
    train: int = 100,
    test: int | None = None,
    most: int | None = None,
    eval_most: int | None = None,
) -> Plan:
    settings = TrainingSettings(
        epochs=1, learning_rate=1e-4, batch_size=8, seed=0, max_train_samples=most, recipe=""
    )
    rows = {"train": train, "val": 40, **({"test": test} if test else {})}
    return Plan(
        use_case="nlp-text_classification",
        level=0.5,
        band="MediumSparseInt8",
        problem_type="single_label_classification",
        columns={"text": ["text"], "label": ["label"]},
        labels=["0", "1"],
        splits=[
            SplitInfo.model_validate(
                {"name": name, "file": f"{name}.csv", "samples": count, "digest": "0"}
            )
            for name, count in rows.items()
        ],
        evaluation_split="test" if test else "val",
        choice_split="val" if test else "train",
        data_digest="0",
        max_eval_samples=eval_most,
        model=ModelSource(
            uri="file:///m", digest="0", format="f", architecture="a", sparsity=0.8, parameters=1
        ),
        quantize=True,
        training=settings,
        total_steps=1,
        expected_memory_bytes=1,
    )


def test_without_a_test_split_choices_are_made_on_rows_that_are_not_trained_on() -> None:
    train, rows = selected_rows(plan(), "train")
    choice, held_out = selected_rows(plan(), "choice")

    assert train.name == choice.name == "train"
    assert len(held_out) == 10
    assert sorted([*rows, *held_out]) == list(range(100))


def test_with_a_test_split_choices_are_made_on_val() -> None:
    info, rows = selected_rows(plan(test=30), "choice")

    assert (info.name, len(rows)) == ("val", 40)
    assert len(selected_rows(plan(test=30), "train")[1]) == 100
    assert len(selected_rows(plan(test=30), "test")[1]) == 30


def test_limits_draw_the_same_rows_every_time_and_not_the_first_ones() -> None:
    limited = plan(most=20, eval_most=5)

    train = selected_rows(limited, "train")[1]

    assert len(train) == 20
    assert train.tolist() == selected_rows(limited, "train")[1].tolist() != list(range(20))
    assert len(selected_rows(limited, "choice")[1]) == 5
    assert len(selected_rows(limited, "val")[1]) == 5
    assert not set(train) & set(selected_rows(plan(), "choice")[1])


def test_a_split_that_is_not_there_is_an_error() -> None:
    with pytest.raises(InputError, match="has no test split"):
        selected_rows(plan(), "test")


@given(samples=st.integers(2, 5000), limit=st.none() | st.integers(1, 6000))
def test_rows_are_ascending_and_held_out_rows_are_apart(samples: int, limit: int | None) -> None:
    made = plan(train=samples, most=limit)
    rows, held_out = selected_rows(made, "train")[1], selected_rows(made, "choice")[1]

    assert 1 <= len(held_out) < samples
    assert 1 <= len(rows) <= (limit or samples)
    assert (np.diff(rows) > 0).all()
    assert not set(rows.tolist()) & set(held_out.tolist())
