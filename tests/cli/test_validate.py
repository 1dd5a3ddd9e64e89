"""``validate``: the YAML alone, its data, its model, each without the others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sparse_transfer_cli.__main__ import invoke

pytest.importorskip("torch", reason="pip install 'sparse-transfer[runner]'")

Write = Callable[..., Path]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    for split in ("train", "val"):
        rows = [f"a {word} film {split},{word}" for word in ("good", "bad") for _ in range(4)]
        (folder / f"{split}.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    return folder


@pytest.fixture
def dense(tmp_path: Path) -> Path:
    from tests.runner.tiny_models import write_tiny_encoder

    return write_tiny_encoder(tmp_path / "dense")


def test_the_yaml_alone_needs_neither_data_nor_model(
    write_experiment: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_experiment("  model: {uri: 'hf://somebody/else'}\n")
    assert invoke(["validate", "-f", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "film-reviews, nlp-sentiment_analysis, MediumSparseInt8" in shown
    assert f"results go to {(path.parent / 'runs').as_uri()}" in shown


def test_data_is_checked_without_the_model(
    write_experiment: Write, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_experiment("  model: {uri: 'hf://somebody/else'}\n")
    assert invoke(["validate", "-f", str(path), "--data"]) == 0
    shown = capsys.readouterr().out
    assert "2 labels: bad, good" in shown
    assert "train: 8 rows (train.csv)" in shown


def test_every_mistake_in_the_data_has_its_line(
    write_experiment: Write, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (data / "train.csv").open("a") as file:
        file.write("only text\nwith label, too, many\n")
    assert invoke(["validate", "-f", str(write_experiment()), "--data"]) == 10
    shown = capsys.readouterr().err
    assert "train.csv:10" in shown
    assert "train.csv:11" in shown


def test_a_dense_model_is_refused_with_its_sparsity_and_without_the_data(
    write_experiment: Write, dense: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_experiment("  model: {uri: 'file://./dense'}\n")
    assert invoke(["validate", "-f", str(path), "--model"]) == 10
    shown = capsys.readouterr().err
    assert "is not sparse: 0.0" in shown
    assert "sparse-transfer upstream" in shown


def test_a_dense_model_is_what_a_low_level_starts_from(
    write_experiment: Write, dense: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_experiment("  model: {uri: 'file://./dense'}\n  optimLevel: 0.1\n")
    assert invoke(["validate", "-f", str(path), "--model"]) == 0
    assert "BertModel" in capsys.readouterr().out


def test_wrong_data_and_a_wrong_model_are_both_explained(
    write_experiment: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_experiment("  model: {uri: 'hf://somebody/else'}\n")
    assert invoke(["validate", "-f", str(path), "--data", "--model"]) == 13
    shown = capsys.readouterr().err
    assert "/data" in shown
    assert "hf://somebody/else" in shown


def test_an_own_catalogue_decides_the_model(
    write_experiment: Write, dense: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    catalog = tmp_path / "catalog.yaml"
    catalog.write_text(
        "models: [{name: mine, family: text, size: Largest, dense: {uri: 'file://./dense'}}]\n"
    )
    path = write_experiment("  optimLevel: 0.1\n")
    arguments = ["validate", "-f", str(path), "--model", "--catalog", str(catalog)]
    assert invoke(arguments) == 0
    assert dense.as_uri() in capsys.readouterr().out
