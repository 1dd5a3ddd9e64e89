"""The program that compares upstream methods: its table and budgets, and how answers diverge."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from sparse_transfer_api.spec import parse_experiment

QUALITY = Path(__file__).parents[2] / "benchmarks" / "quality"


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(QUALITY))
    return importlib.import_module("upstream")


def cell(method: str, seed: int, recovery: float, divergence: float) -> dict[str, Any]:
    return {
        "family": "minilm",
        "budget": "short",
        "method": method,
        "sparsity": 0.8,
        "pattern": "block4",
        "recovery_steps": 60,
        "seed": seed,
        "recovery": recovery,
        "divergence": divergence,
        "seconds": {"upstream": 1.0, "run": 2.0},
    }


def test_methods_are_told_by_their_means_the_least_divergence_first(program: ModuleType) -> None:
    cells = [cell("admm", 0, 0.9, 0.2), cell("admm", 1, 1.0, 0.1), cell("wanda", 0, 0.99, 0.1)]
    found = program.summary(cells)
    assert [row["method"] for row in found] == ["wanda", "admm"]
    assert found[1]["recovery"] == 0.95
    assert found[1]["divergence"] == 0.15
    assert found[1]["spread"] == 0.1


def test_each_budget_of_a_family_is_an_experiment(program: ModuleType, tmp_path: Path) -> None:
    for family in program.FAMILIES.values():
        for budget in ("full", *family.budgets):
            found = family.experiment(tmp_path, budget, 3)
            found["spec"]["output"] = {"uri": tmp_path.as_uri()}
            assert parse_experiment(found, family.name).spec.training.seed == 3
            assert "{" not in " ".join(family.upstream_arguments(tmp_path, budget))


def test_equal_answers_do_not_diverge_and_others_do_whatever_is_added_to_logits(
    program: ModuleType,
) -> None:
    divergence = importlib.import_module("cells").divergence
    logits = np.random.default_rng(0).standard_normal((20, 2))
    assert divergence(logits, logits + 5) == 0
    even, sure = np.zeros((1, 2)), np.log([[0.75, 0.25]])
    assert divergence(sure, even) == round(0.75 * np.log(1.5) + 0.25 * np.log(0.5), 4)
