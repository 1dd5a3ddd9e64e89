from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from sparse_transfer_api.errors import AccessError, InputError
from sparse_transfer_api.records import ModelSource, Plan, SplitInfo, TrainingSettings
from sparse_transfer_runner.data.recorded import recorded_data

ROWS = b"text,label\nfine,1\n"


def checked(data: Path) -> Plan:
    """Writes a train, a val and a test file, and returns a plan that knows them."""
    data.mkdir()
    splits = []
    for name in ("train", "val", "test"):
        content = ROWS + name.encode()
        (data / f"{name}.csv").write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        splits.append(
            SplitInfo.model_validate(
                {"name": name, "file": f"{name}.csv", "samples": 2, "digest": digest}
            )
        )
    source = ModelSource(
        uri="file:///m", digest="0", format="f", architecture="a", sparsity=0.8, parameters=1
    )
    settings = TrainingSettings(epochs=1, learning_rate=1e-4, batch_size=8, seed=0, recipe="")
    return Plan(
        use_case="nlp-text_classification",
        level=0.5,
        band="MediumSparseInt8",
        problem_type="single_label_classification",
        columns={"text": ["text"], "label": ["label"]},
        labels=["0", "1"],
        splits=splits,
        evaluation_split="test",
        choice_split="val",
        data_digest="0",
        model=source,
        quantize=True,
        training=settings,
        total_steps=1,
        expected_memory_bytes=1,
    )


def test_data_is_read_where_it_is_what_prepare_checked(tmp_path: Path) -> None:
    data = tmp_path / "data"
    plan = checked(data)
    (data / "notes.txt").write_text("belongs to no split")
    assert recorded_data(data.as_uri(), plan) == data


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda file: file.write_bytes(ROWS), "other content"),
        (lambda file: file.write_bytes(file.read_bytes() + b"\n"), "other content"),
        (lambda file: file.write_bytes(b""), "other content"),
        (lambda file: file.unlink(), "missing"),
        (lambda file: file.rename(file.with_suffix(".json")), "missing"),
    ],
    ids=["edited", "a line more", "emptied", "deleted", "renamed"],
)
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_data_that_changed_since_is_refused_by_name_and_says_what_to_do(
    tmp_path: Path, change: Callable[[Path], object], said: str, split: str
) -> None:
    data = tmp_path / "data"
    plan = checked(data)
    change(data / f"{split}.csv")
    with pytest.raises(InputError, match=r"set spec\.data\.revision to another value") as refused:
        recorded_data(data.as_uri(), plan)
    (problem,) = refused.value.problems
    assert problem.where == str(data / f"{split}.csv")
    assert said in problem.message


def test_every_file_that_changed_is_named(tmp_path: Path) -> None:
    data = tmp_path / "data"
    plan = checked(data)
    for split in ("train", "val"):
        (data / f"{split}.csv").write_bytes(b"")
    with pytest.raises(InputError) as refused:
        recorded_data(data.as_uri(), plan)
    assert len(refused.value.problems) == 2


def test_data_that_is_gone_altogether_is_an_access_error(tmp_path: Path) -> None:
    plan = checked(tmp_path / "data")
    with pytest.raises(AccessError, match="no such"):
        recorded_data((tmp_path / "elsewhere").as_uri(), plan)
