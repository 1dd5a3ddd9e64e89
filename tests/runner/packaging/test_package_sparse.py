"""The package stage with the engine onnxruntime-sparse, beside onnxruntime."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import onnx
import pytest
from tests.runner.tiny_models import write_tiny_encoder
from tests.runner.trained_experiment import TrainedExperiment, labelled

from sparse_transfer_api.results import Results
from sparse_transfer_runner.engines.cpu import instruction_set
from sparse_transfer_runner.engines.sparse_blocks import VALUES
from sparse_transfer_runner.packaging.evaluation import Evaluation, FileEvaluation
from sparse_transfer_runner.packaging.remeasure import EVALUATION
from sparse_transfer_runner.stages import package
from sparse_transfer_runner.stages.context import StageOutcome

pytest.importorskip("sparse_transfer_kernels", reason="make kernels")

NAME = "onnxruntime-sparse"


@dataclass(frozen=True)
class Packaged:
    """What the stage left."""

    root: Path
    outcome: StageOutcome

    @property
    def results(self) -> Results:
        assert self.outcome.results is not None
        return self.outcome.results

    @property
    def evaluation(self) -> Evaluation:
        return Evaluation.model_validate_json((self.root / EVALUATION).read_bytes())

    @property
    def shipped(self) -> FileEvaluation:
        return next(f for f in self.evaluation.files if f.engine == NAME and f.shipped)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_encoder(tmp_path_factory.mktemp("encoder") / "model")


def packaged_by(encoder: Path, folder: Path, targets: list[str], level: float = 0.5) -> Packaged:
    texts = ["this film was good", "this film was bad", "great and fine", "dull and weak"]
    rows = {split: labelled(texts * 8, [1, 0, 1, 0] * 8) for split in ("train", "val")}
    experiment = TrainedExperiment(
        encoder,
        rows,
        sharpness=30.0,
        quantize=level > 0.2,
        spec={"export": {"targets": targets}, "benchmark": {"batchSizes": [1], "threads": 1}},
    )
    context = experiment.write(folder)
    outcome = package.run(context)
    return Packaged(context.work.path, outcome)


@pytest.fixture(scope="module")
def packaged(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Packaged:
    folder = tmp_path_factory.mktemp("packaged") / "film-reviews"
    return packaged_by(encoder, folder, [NAME, "onnxruntime"])


def test_it_has_files_of_its_own_beside_onnxruntimes(packaged: Packaged) -> None:
    paths = {(f.engine, f.role): f.path for f in packaged.evaluation.files}
    assert paths[NAME, "sparse-int8"] == "deployment/model-sparse.onnx"
    assert paths[NAME, "dense-int8"] == f"reference/{NAME}/dense-int8.onnx"
    assert paths["onnxruntime", "sparse-int8"] == "deployment/model.onnx"


def test_what_is_recorded_of_each_layer_is_what_the_file_holds(packaged: Packaged) -> None:
    file = packaged.shipped
    names = [item.name for item in onnx.load(packaged.root / file.path).graph.initializer]
    held = {name.removesuffix(VALUES) for name in names if name.endswith(VALUES)}
    assert {kernel.name for kernel in file.kernels if kernel.sparse} == held
    assert len(file.kernels) == 12
    assert all(kernel.reason for kernel in file.kernels)
    assert all(kernel.sparse_ms and kernel.dense_ms for kernel in file.kernels)
    for other in packaged.evaluation.files:
        if other is not file and other.path != file.path:
            assert other.kernels == []


def test_results_and_manifest_name_what_was_decided_and_on_what(packaged: Packaged) -> None:
    sparse = [kernel.name for kernel in packaged.shipped.kernels if kernel.sparse]
    by_name = {each.name: each for each in packaged.results.engines}
    assert by_name[NAME].sparse_layers == len(sparse)
    assert by_name[NAME].isa == instruction_set()
    assert by_name["onnxruntime"].sparse_layers is None
    provenance = packaged.outcome.provenance
    assert provenance["sparseLayers"] == {"deployment/model-sparse.onnx": sparse}
    assert provenance["isa"] == instruction_set()
    assert "+kernels." in provenance["engines"][NAME]


def test_it_is_compared_with_dense_fp32_and_dense_int8_of_the_same_run(packaged: Packaged) -> None:
    measured = {point.path for point in packaged.evaluation.latencies if point.engine == NAME}
    assert measured == {f.path for f in packaged.evaluation.files if f.engine == NAME}
    result = next(each for each in packaged.results.engines if each.name == NAME)
    assert result.dense_int8_latency_ms is not None
    assert result.speedup_vs_dense_int8 == pytest.approx(
        result.dense_int8_latency_ms / result.latency_ms, abs=1e-3
    )


def test_the_report_says_which_layers_leave_zeros_out(packaged: Packaged) -> None:
    page = (packaged.root / "report.html").read_text(encoding="utf-8")
    sparse = sum(kernel.sparse for kernel in packaged.shipped.kernels)
    assert f"{sparse} of 12 quantized layers of deployment/model-sparse.onnx" in page


def test_the_deployment_names_the_wheel_and_its_program_registers_it(packaged: Packaged) -> None:
    folder = packaged.root / "deployment"
    lines = (folder / "requirements.txt").read_text().splitlines()
    assert any(line.startswith("sparse-transfer-kernels==") for line in lines)
    assert any(line.startswith("onnxruntime==") for line in lines)
    assert "make kernels" in (folder / "README.md").read_text()
    for program in ("predict.py", "predict_onnxruntime.py"):
        answer = subprocess.run(
            [sys.executable, program, "this film was good", "bad"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        assert len([json.loads(line) for line in answer.stdout.splitlines()]) == 2


def test_zeros_of_a_file_in_fp32_are_said_to_be_computed(encoder: Path, tmp_path: Path) -> None:
    packaged = packaged_by(encoder, tmp_path / "fp32", [NAME], level=0.1)
    file = packaged.shipped
    assert (file.role, file.kernels) == ("sparse-fp32", [])
    assert file.notes == ["zeros are left out of INT8 layers alone, and this level is fp32"]
    assert packaged.results.engines[0].sparse_layers is None
