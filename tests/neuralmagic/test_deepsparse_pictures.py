"""DeepSparse on a classifier of pictures: its convolutions in INT8, and their zeros kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

pytest.importorskip("deepsparse", reason="make test-neuralmagic")

from sparse_transfer_runner.catalog.image_architectures import architecture_named
from sparse_transfer_runner.engines import engine
from sparse_transfer_runner.engines.forms import Form
from sparse_transfer_runner.engines.protocol import Quantizable
from sparse_transfer_runner.packaging.calibration import calibrate
from sparse_transfer_runner.packaging.export import export_onnx
from sparse_transfer_runner.packaging.mask_check import count_masked
from sparse_transfer_runner.quantization.fake_quantize import quantizable_layers
from sparse_transfer_runner.sparsity.prunable import prunable_weights
from sparse_transfer_runner.sparsity.solve import magnitude_mask
from sparse_transfer_runner.use_cases.protocol import Batch


def batch(seed: int, rows: int = 4) -> Batch:
    random = np.random.default_rng(seed)
    return {"pixel_values": random.standard_normal((rows, 3, 64, 64), dtype=np.float32)}


@dataclass(frozen=True)
class Classifier:
    model: Quantizable
    masks: dict[str, NDArray[np.uint8]]


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    architecture = architecture_named("timm/test_resnet")
    torch.manual_seed(0)
    net = architecture.build(4).eval()
    net.head_modules = architecture.heads()  # type: ignore[assignment]
    weights = prunable_weights(net)
    with torch.no_grad():
        for weight in weights.values():
            weight.mul_(magnitude_mask(weight, 0.8))
    path = tmp_path_factory.mktemp("classifier") / "model.onnx"
    export_onnx(net, batch(0, rows=2), path, dynamic_sequence=False)
    rows = [batch(seed) for seed in range(3)]
    scales = calibrate(net, quantizable_layers(net, weights), rows)
    masks = {name: (weight != 0).numpy().astype(np.uint8) for name, weight in weights.items()}
    return Classifier(Quantizable(path, scales, rows, convolutional=True), masks)


def test_its_files_answer_as_onnxruntimes_do(classifier: Classifier, tmp_path: Path) -> None:
    model, inputs = classifier.model, batch(9)
    exact = engine("onnxruntime").load(model.source, threads=1).run(inputs)
    runs_on = engine("deepsparse")
    assert runs_on.load(model.source, threads=1).run(inputs) == pytest.approx(exact, abs=1e-4)
    (form,) = runs_on.forms(model)
    assert form is Form.QDQ_OUTPUTS
    path = tmp_path / runs_on.model_file
    runs_on.quantize(model, form, path)
    rounded = engine("onnxruntime").load(path, threads=1).run(inputs)
    spread = np.ptp(exact)
    assert runs_on.load(path, threads=1).run(inputs) == pytest.approx(rounded, abs=0.05 * spread)
    count = count_masked(runs_on.weights(path, list(model.scales)), classifier.masks)
    assert count.intact
    assert count.sparsity == pytest.approx(0.8, abs=0.01)
