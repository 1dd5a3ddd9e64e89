"""DeepSparse as an engine of package: it loads, scores and measures what is exported for it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

pytest.importorskip("deepsparse", reason="make test-neuralmagic")

from tests.runner.exported_model import (
    ExportedModel,
    exact_logits,
    numpy_batch,
    rounded_logits,
    write_exported,
)
from tests.runner.tiny_models import write_tiny_encoder
from tests.runner.trained_experiment import TrainedExperiment, labelled

from sparse_transfer_api.results import Results
from sparse_transfer_runner.engines import engine
from sparse_transfer_runner.engines.forms import Form
from sparse_transfer_runner.engines.protocol import EngineFailed
from sparse_transfer_runner.packaging.evaluation import Evaluation
from sparse_transfer_runner.packaging.export import export_onnx
from sparse_transfer_runner.stages import package
from sparse_transfer_runner.stages.context import StageContext, StageOutcome
from sparse_transfer_runner.use_cases.text_model import build_classifier

DEEPSPARSE = "deepsparse"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> ExportedModel:
    return write_exported(tmp_path_factory.mktemp("exported"))


@pytest.mark.parametrize("tokens", [8, 10, 17], ids="{} tokens".format)
def test_an_fp32_file_gives_the_models_logits_at_any_length(
    tokens: int, exported: ExportedModel
) -> None:
    batch = numpy_batch(1, rows=3, tokens=tokens)
    session = engine(DEEPSPARSE).load(exported.path, threads=1)
    np.testing.assert_allclose(session.run(batch), exact_logits(exported, batch), atol=1e-4)


def test_the_int8_form_gives_the_rounded_models_logits(
    exported: ExportedModel, tmp_path: Path
) -> None:
    runs_on = engine(DEEPSPARSE)
    (form,) = runs_on.forms(exported.quantizable)
    assert form is Form.MATMUL_INTEGER_CENTRED
    target = tmp_path / runs_on.model_file
    runs_on.quantize(exported.quantizable, form, target)
    batch = numpy_batch(2)
    expected = rounded_logits(exported, batch, exported.quantizable.scales)
    spread = np.ptp(exact_logits(exported, batch))
    got = runs_on.load(target, threads=1).run(batch)
    assert np.abs(got - expected).max() < 0.1 * spread


def test_its_file_holds_the_masks_zeros(exported: ExportedModel, tmp_path: Path) -> None:
    runs_on = engine(DEEPSPARSE)
    target = tmp_path / runs_on.model_file
    runs_on.quantize(exported.quantizable, Form.MATMUL_INTEGER_CENTRED, target)
    weights = runs_on.weights(target, list(exported.linear))
    for name, mask in exported.masks.items():
        assert not np.any(weights.linear[name.removesuffix(".weight")][mask == 0])


def test_a_file_is_not_changed_by_compiling_it(exported: ExportedModel) -> None:
    before = exported.path.read_bytes()
    engine(DEEPSPARSE).load(exported.path, threads=1).run(numpy_batch(0))
    assert exported.path.read_bytes() == before


def test_nothing_is_said_on_standard_output(exported: ExportedModel) -> None:
    """It belongs to the stage's records."""
    code = (
        "import sys, pathlib; from tests.runner.exported_model import numpy_batch;"
        "from sparse_transfer_runner.engines import engine;"
        "engine('deepsparse').load(pathlib.Path(sys.argv[1]), threads=1).run(numpy_batch(0))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(exported.path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert not done.stdout


TEXTS = [f"this film was {word} ." for word in ("good", "bad", "great", "dull", "fine", "weak")]


def experiment(root: Path, rows: int, targets: list[str]) -> StageContext:
    """Returns package's context: a tiny model, trained, and so many rows in each split."""
    data = (labelled(TEXTS, ["good", "bad"] * 3) * 11)[:rows]
    trained = TrainedExperiment(
        write_tiny_encoder(root / "encoder"),
        {"train": data, "val": data, "test": data},
        sharpness=30.0,
        spec={
            "export": {"targets": targets},
            "benchmark": {"threads": 1, "batchSizes": [1]},
        },
    )
    return trained.write(root / "film-reviews")


FATAL = 16
"""Rows of 8 tokens on which a dense model of this size ends DeepSparse's process, each time."""


@pytest.fixture(scope="module")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StageOutcome]:
    context = experiment(tmp_path_factory.mktemp("packaged"), 64, ["onnxruntime", DEEPSPARSE])
    return context.work.path, package.run(context)


def test_what_ends_its_process_is_an_error_here(tmp_path: Path) -> None:
    encoder = write_tiny_encoder(tmp_path / "encoder")
    dense = build_classifier(encoder, ["bad", "good"], "single_label_classification", seed=0)
    export_onnx(dense, numpy_batch(0, rows=2), tmp_path / "dense.onnx", dynamic_sequence=True)
    session = engine(DEEPSPARSE).load(tmp_path / "dense.onnx", threads=1)
    with pytest.raises(EngineFailed) as failed:
        session.run(numpy_batch(0, rows=FATAL, tokens=8))
    for words in (
        "deepsparse 1.8.0 cannot run dense.onnx with inputs of 16x8: its process ended with",
        "leave deepsparse out of spec.export.targets",
    ):
        assert words in str(failed.value)
    assert session.run(numpy_batch(0, rows=8, tokens=8)).shape == (8, 2)


def test_what_it_cannot_run_is_left_out_of_the_result(tmp_path: Path) -> None:
    context = experiment(tmp_path, FATAL, ["onnxruntime", DEEPSPARSE])
    outcome = package.run(context)
    assert [found.name for found in results(outcome).engines] == ["onnxruntime"]
    evaluation = Evaluation.model_validate_json(
        (context.work.path / "evaluation.json").read_bytes()
    )
    (why,) = (note for note in evaluation.notes if note.startswith(DEEPSPARSE))
    assert "with inputs of 16x8: its process ended with" in why
    assert not list(context.work.path.rglob("model-deepsparse.onnx"))


def test_a_package_that_is_about_it_fails_with_its_reason(tmp_path: Path) -> None:
    context = experiment(tmp_path, FATAL, [DEEPSPARSE, "onnxruntime"])
    with pytest.raises(EngineFailed, match="with inputs of 16x8: its process ended with"):
        package.run(context)


def results(outcome: StageOutcome) -> Results:
    assert outcome.results is not None
    return outcome.results


def test_it_is_scored_and_measured_beside_the_other_engines(
    packaged: tuple[Path, StageOutcome],
) -> None:
    root, outcome = packaged
    evaluation = Evaluation.model_validate_json((root / "evaluation.json").read_bytes())
    mine = {file.role: file for file in evaluation.files if file.engine == DEEPSPARSE}
    assert set(mine) == {"dense-fp32", "dense-int8", "sparse-int8"}
    assert mine["sparse-int8"].path == "deployment/model-deepsparse.onnx"
    assert mine["sparse-int8"].sparsity == pytest.approx(0.8, abs=0.01)
    assert all(file.label_agreement > 0.9 for file in mine.values())
    engines = {found.name: found for found in results(outcome).engines}
    assert engines[DEEPSPARSE].version == "1.8.0"
    assert engines[DEEPSPARSE].latency_ms > 0
    assert engines[DEEPSPARSE].dense_latency_ms > 0


def test_its_licence_is_in_everything_that_names_licences(
    packaged: tuple[Path, StageOutcome],
) -> None:
    root, outcome = packaged
    assert "for evaluation only" in outcome.licences[DEEPSPARSE]
    assert "not to be passed on" in (root / "deployment" / "README.md").read_text()


def test_the_program_of_the_deployment_runs(packaged: tuple[Path, StageOutcome]) -> None:
    root, _ = packaged
    done = subprocess.run(
        [sys.executable, "predict_deepsparse.py", "this film was good .", "it was bad"],
        cwd=root / "deployment",
        capture_output=True,
        text=True,
        check=True,
    )
    scores = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [set(found) for found in scores] == [{"good", "bad"}] * 2
    reference = subprocess.run(
        [sys.executable, "predict.py", "this film was good .", "it was bad"],
        cwd=root / "deployment",
        capture_output=True,
        text=True,
        check=True,
    )
    for found, line in zip(scores, reference.stdout.splitlines(), strict=True):
        assert found == pytest.approx(json.loads(line), abs=0.05)


def test_a_file_of_the_deployment_is_plain_onnx(packaged: tuple[Path, StageOutcome]) -> None:
    root, _ = packaged
    graph = onnx.load(root / "deployment" / "model-deepsparse.onnx").graph
    assert {node.domain for node in graph.node} == {""}
