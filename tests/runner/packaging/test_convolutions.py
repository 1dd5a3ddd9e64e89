"""Convolutions in files: named, folded, quantized on both engines, and their zeros kept."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from sparse_transfer_runner.catalog.image_architectures import ClassifierOutput, architecture_named
from sparse_transfer_runner.engines import engine
from sparse_transfer_runner.engines.forms import Form
from sparse_transfer_runner.engines.protocol import Quantizable
from sparse_transfer_runner.engines.sparse_blocks import POINTWISE
from sparse_transfer_runner.packaging.calibration import calibrate, most_sensitive
from sparse_transfer_runner.packaging.export import export_onnx
from sparse_transfer_runner.packaging.mask_check import count_masked
from sparse_transfer_runner.quantization.fake_quantize import (
    FakeQuantizer,
    fake_quantize_weight,
    quantizable_layers,
    weight_of,
)
from sparse_transfer_runner.sparsity.masks import Masks
from sparse_transfer_runner.sparsity.prunable import foundation_weights, prunable_weights
from sparse_transfer_runner.sparsity.solve import magnitude_mask
from sparse_transfer_runner.use_cases.protocol import Batch

NETWORKS = ("timm/test_efficientnet", "timm/test_resnet", "timm/tf_mobilenetv3_small_minimal_100")
"""Depthwise convolutions and SiLU; residuals and pooling; padding as TensorFlow's and ReLU."""
_SIDE = 64


def batch(seed: int, rows: int = 8) -> Batch:
    random = np.random.default_rng(seed)
    return {"pixel_values": random.standard_normal((rows, 3, _SIDE, _SIDE), dtype=np.float32)}


@dataclass(frozen=True)
class Exported:
    net: nn.Module
    layers: dict[str, nn.Module]
    masks: dict[str, NDArray[np.uint8]]
    model: Quantizable

    def exact(self, inputs: Batch) -> NDArray[np.float32]:
        with torch.inference_mode():
            logits: NDArray[np.float32] = self.net(
                pixel_values=torch.as_tensor(inputs["pixel_values"])
            ).logits.numpy()
        return logits

    def rounded(self, inputs: Batch) -> NDArray[np.float32]:
        """Returns the logits with inputs and weights rounded in torch, as training does it."""
        net = copy.deepcopy(self.net)
        for name, scale in self.model.scales.items():
            layer = net.get_submodule(name)
            weight_of(layer).data = fake_quantize_weight(weight_of(layer).data)
            layer.register_forward_pre_hook(
                lambda _, values, scale=scale: torch.fake_quantize_per_tensor_affine(
                    values[0], scale.scale, scale.zero_point, 0, 255
                )
            )
        return replace(self, net=net).exact(inputs)


@pytest.fixture(scope="module", params=NETWORKS)
def exported(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Exported]:
    architecture = architecture_named(request.param)
    torch.manual_seed(0)
    net = architecture.build(4)
    net.head_modules = architecture.heads()  # type: ignore[assignment]
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                # Some begin at 0, which folding would turn whole layers into.
                module.weight.uniform_(0.5, 1.5)
        net.train()
        for seed in range(3):
            net(**{name: torch.as_tensor(v) for name, v in batch(seed).items()})
        for weight in prunable_weights(net).values():
            weight.mul_(magnitude_mask(weight, 0.5))
    net.eval()
    weights = prunable_weights(net)
    masks = {name: (weight != 0).numpy().astype(np.uint8) for name, weight in weights.items()}
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    export_onnx(net, batch(0, rows=2), path, dynamic_sequence=False)
    layers = quantizable_layers(net, foundation_weights(net))
    calibration = [batch(seed) for seed in range(2)]
    scales = calibrate(net, layers, calibration)
    yield Exported(net, layers, masks, Quantizable(path, scales, calibration, convolutional=True))


def test_the_exported_file_computes_the_same(exported: Exported) -> None:
    for rows in (1, 5):
        inputs = batch(9, rows)
        logits = engine("onnxruntime").load(exported.model.source, threads=1).run(inputs)
        assert np.allclose(logits, exported.exact(inputs), atol=1e-4)


def test_batch_norms_and_padding_are_folded_into_named_convolutions(exported: Exported) -> None:
    nodes = onnx.load(exported.model.source).graph.node
    assert not {"BatchNormalization", "Pad", "Shape", "Slice"} & {node.op_type for node in nodes}
    assert set(exported.layers) <= {node.name for node in nodes}


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_an_int8_file_is_near_the_model_and_keeps_every_zero(
    exported: Exported, name: str, tmp_path: Path
) -> None:
    check_int8_forms(exported, exported.model, name, tmp_path)


def test_so_is_one_that_leaves_zeros_out(exported: Exported, tmp_path: Path) -> None:
    pytest.importorskip("sparse_transfer_kernels", reason="make kernels")
    sparse = replace(exported.model, sparse=frozenset(exported.model.scales))
    check_int8_forms(exported, sparse, "onnxruntime-sparse", tmp_path)
    written = onnx.load(tmp_path / f"{Form.SPARSE_BLOCKS}-model-sparse.onnx")
    assert POINTWISE in {node.op_type for node in written.graph.node}


def check_int8_forms(exported: Exported, model: Quantizable, name: str, tmp_path: Path) -> None:
    runs_on = engine(name)
    inputs = batch(9)
    exact = exported.exact(inputs)
    for form in runs_on.forms(model):
        path = tmp_path / f"{form}-{runs_on.model_file}"
        runs_on.quantize(model, form, path)
        logits = runs_on.load(path, threads=1).run(inputs)
        simulated = np.abs(exported.rounded(inputs) - exact).mean()
        assert np.abs(logits - exact).mean() < 1.6 * simulated + 0.01
        weights = runs_on.weights(path, list(exported.layers))
        count = count_masked(weights, exported.masks)
        assert count.intact
        assert count.sparsity == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_an_fp32_file_keeps_every_zero(exported: Exported, name: str, tmp_path: Path) -> None:
    runs_on = engine(name)
    path = tmp_path / runs_on.model_file
    runs_on.convert(exported.model.source, path)
    assert count_masked(runs_on.weights(path, list(exported.layers)), exported.masks).intact


def test_onnxruntime_computes_convolutions_in_integers(exported: Exported, tmp_path: Path) -> None:
    import onnxruntime

    path = tmp_path / "int8.onnx"
    engine("onnxruntime").quantize(exported.model, Form.QDQ_OUTPUTS, path)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    assert kinds.count("QLinearConv") == len(exported.layers)


def test_layers_left_in_fp32_stay_there(exported: Exported, tmp_path: Path) -> None:
    order = most_sensitive(
        exported.net, exported.layers, exported.model.scales, exported.model.calibration
    )
    assert set(order) == set(exported.layers)
    kept = exported.model.keeping(order[:2])
    for name in ("onnxruntime", "openvino"):
        runs_on = engine(name)
        path = tmp_path / f"{name}-{runs_on.model_file}"
        runs_on.quantize(kept, runs_on.forms(kept)[0], path)
        weights = runs_on.weights(path, list(exported.layers))
        assert count_masked(weights, exported.masks).intact
        whole = tmp_path / f"{name}-fp32-{runs_on.model_file}"
        runs_on.convert(exported.model.source, whole)
        exact = runs_on.weights(whole, list(exported.layers)).linear
        same = [name for name in order if np.array_equal(exact[name], weights.linear[name])]
        assert same == list(order[:2])


def test_training_rounds_convolutions_and_leaves_them_as_they_were(exported: Exported) -> None:
    inputs = {name: torch.as_tensor(values) for name, values in batch(4).items()}
    before = exported.exact(batch(4))
    masks = Masks.take(prunable_weights(exported.net))
    quantizer = FakeQuantizer(exported.layers)
    quantizer.attach()
    exported.net.train()
    state = {name: value.clone() for name, value in exported.net.state_dict().items()}
    with torch.no_grad():
        exported.net(**inputs)
    exported.net.load_state_dict(state)
    exported.net.eval()
    rounded = exported.exact(batch(4))
    quantizer.detach()
    assert np.abs(rounded - before).max() > 0
    assert set(quantizer.record().modules) == set(exported.layers)
    assert np.array_equal(exported.exact(batch(4)), before)
    masks.check()


class Sequences(nn.Module):
    """Convolves along one dimension, as SqueezeBERT does in place of Linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(8, 8, 3, padding=1, groups=2, bias=False)
        self.norm, self.last = nn.BatchNorm1d(8), nn.Linear(8, 2)

    def forward(self, pixel_values: torch.Tensor) -> ClassifierOutput:
        return ClassifierOutput(self.last(self.norm(self.first(pixel_values)).mean(-1)))


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_a_convolution_along_one_dimension_keeps_its_name_and_zeros(
    name: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    net = Sequences().eval()
    with torch.no_grad():
        net.first.weight.mul_(magnitude_mask(net.first.weight, 0.5))
    masks = {"first.weight": (net.first.weight != 0).numpy().astype(np.uint8)}
    inputs = {"pixel_values": batch(0)["pixel_values"][:2, 0, :8, :16]}
    export_onnx(net, inputs, tmp_path / "model.onnx", dynamic_sequence=False)
    runs_on = engine(name)
    target = tmp_path / f"converted-{runs_on.model_file}"
    runs_on.convert(tmp_path / "model.onnx", target)
    assert count_masked(runs_on.weights(target, ["first"]), masks).intact
