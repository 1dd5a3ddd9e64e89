"""The program that says what each means of a higher recovery buys."""

from __future__ import annotations

import csv
import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sparse_transfer_api.spec import parse_experiment
from sparse_transfer_runner.recipes import parse_recipe

QUALITY = Path(__file__).parents[2] / "benchmarks" / "quality"


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(QUALITY))
    return importlib.import_module("recovery")


def cell(row: str, seed: int, dense: float, sparse: float, divergence: float) -> dict[str, Any]:
    return {
        "row": row,
        "part": "choice",
        "sparsity": 0.8,
        "seed": seed,
        "samples": 800,
        "dense": dense,
        "sparseInt8": sparse,
        "recovery": round(sparse / dense, 4),
        "interval": {"low": 0.9 + seed / 10, "high": 1.0 + seed / 10},
        "divergence": divergence,
        "seconds": {"upstream": 1.0, "run": 2.0},
    }


def test_rows_are_told_by_the_ratio_of_their_means_the_least_divergence_first(
    program: ModuleType,
) -> None:
    worse = [cell("quickstart", 0, 0.8, 0.6, 0.06), cell("quickstart", 1, 0.6, 0.6, 0.08)]
    found = program.summary([*worse, cell("4 epochs", 0, 0.8, 0.8, 0.03)])
    assert [row["row"] for row in found] == ["4 epochs", "quickstart"]
    assert found[1]["ratioOfMeans"] == round(0.6 / 0.7, 4)
    assert found[1]["divergence"] == 0.07
    assert found[1]["intervalOfOneRun"] == {"low": 0.95, "high": 1.05}


def test_every_row_differs_from_another_one_and_has_a_recipe_that_works(
    program: ModuleType, tmp_path: Path
) -> None:
    for name, row in program.ROWS.items():
        assert row.beside is None or row != program.ROWS[row.beside]
        found = program.experiment_of(program.Cell(name, "test", 0.8, 0), tmp_path)
        found["spec"]["model"] = {"uri": tmp_path.as_uri()}
        found["spec"]["output"] = {"uri": tmp_path.as_uri()}
        spec = parse_experiment(found, name).spec
        assert spec.recipe.inline is not None
        recipe = parse_recipe(spec.recipe.inline, dict(spec.recipe.args), {}, name)
        assert spec.training.epochs == row.epochs
        assert recipe.epochs == row.recipe.get("num_epochs", 2)
        assert (recipe.hidden_distillation is not None) == bool(row.followed)


def test_what_is_chosen_by_and_what_checkpoints_are_chosen_by_are_other_rows(
    program: ModuleType, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    for name, count in (("train", 3), ("val", 1000)):
        with (tmp_path / "data" / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows(
                [["text", "label"], *([f"{name} {i}", 1] for i in range(count))]
            )
    program.write_choice(tmp_path)
    rows = {
        name: (tmp_path / "data-choice" / f"{name}.csv").read_text().splitlines()
        for name in ("train", "val", "test")
    }
    assert [len(each) for each in rows.values()] == [4, 201, 801]
    assert set(rows["val"]) & set(rows["test"]) == {"text,label"}
