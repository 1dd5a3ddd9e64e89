from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from tests.runner.exported_model import ExportedModel, exact_logits, numpy_batch, write_exported
from torch import Tensor, nn
from transformers.modeling_outputs import SequenceClassifierOutput

from sparse_transfer_runner.engines import engine
from sparse_transfer_runner.packaging.export import export_onnx, name_weights


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> ExportedModel:
    return write_exported(tmp_path_factory.mktemp("exported"))


@pytest.mark.parametrize(("rows", "tokens"), [(1, 4), (2, 10), (7, 32)])
def test_the_file_takes_any_batch_and_length(
    rows: int, tokens: int, exported: ExportedModel
) -> None:
    batch = numpy_batch(1, rows, tokens)
    answered = engine("onnxruntime").load(exported.path, threads=1).run(batch)
    np.testing.assert_allclose(answered, exact_logits(exported, batch), atol=1e-5)


def test_a_full_example_does_not_freeze_the_mask(tmp_path: Path, exported: ExportedModel) -> None:
    example = numpy_batch(0, rows=2)
    example["attention_mask"][:] = 1
    path = tmp_path / "full.onnx"
    export_onnx(exported.module, example, path, dynamic_sequence=True)
    batch = numpy_batch(6)
    answered = engine("onnxruntime").load(path, threads=1).run(batch)
    np.testing.assert_allclose(answered, exact_logits(exported, batch), atol=1e-5)


class _LabelledTokens(nn.Module):
    """An encoder whose tokens have two labels each."""

    def __init__(self) -> None:
        super().__init__()
        self.embeddings = nn.Embedding(20, 8)
        self.classifier = nn.Linear(8, 2)

    def forward(self, input_ids: Tensor) -> SequenceClassifierOutput:
        return SequenceClassifierOutput(logits=self.classifier(self.embeddings(input_ids)))


def test_labels_of_tokens_come_out_at_any_length(tmp_path: Path) -> None:
    model, path = _LabelledTokens(), tmp_path / "tokens.onnx"
    ids = np.arange(12, dtype=np.int64).reshape(2, 6)
    export_onnx(model, {"input_ids": ids}, path, dynamic_sequence=True)
    answered = engine("onnxruntime").load(path, threads=1).run({"input_ids": ids[:1, :4]})
    with torch.inference_mode():
        wanted = model(torch.as_tensor(ids[:1, :4])).logits.numpy()
    np.testing.assert_allclose(answered, wanted, atol=1e-6)
    shape = onnx.load(path).graph.output[0].type.tensor_type.shape
    assert [each.dim_param for each in shape.dim][:2] == ["batch", "sequence"]


def test_a_fixed_sequence_length_is_kept(tmp_path: Path, exported: ExportedModel) -> None:
    path = tmp_path / "fixed.onnx"
    names = export_onnx(
        exported.module, numpy_batch(0, rows=2, tokens=12), path, dynamic_sequence=False
    )
    assert names == ("input_ids", "attention_mask")
    shape = onnx.load(path).graph.input[0].type.tensor_type.shape
    assert [d.dim_param or d.dim_value for d in shape.dim] == ["batch", 12]


def test_every_linear_layer_is_found_under_its_own_name(exported: ExportedModel) -> None:
    graph = onnx.load(exported.path).graph
    weights = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    operators = {node.name: node for node in graph.node}
    linear = {n: m for n, m in exported.module.named_modules() if isinstance(m, nn.Linear)}
    assert "classifier" in linear
    for name, module in linear.items():
        assert operators[name].op_type == "MatMul"
        assert operators[name].input[1] == f"{name}.weight"
        np.testing.assert_array_equal(weights[f"{name}.weight"].T, module.weight.detach().numpy())
    assert not any(node.op_type in ("Gemm", "Dropout") for node in graph.node)


def test_exporting_leaves_the_module_in_evaluation_mode(exported: ExportedModel) -> None:
    assert not any(module.training for module in exported.module.modules())


class _Tied(nn.Module):
    """One Linear called twice, and two that start equal."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Linear(4, 4)
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4)
        self.second.load_state_dict(self.first.state_dict())

    def forward(self, values: Tensor) -> SequenceClassifierOutput:
        hidden = torch.relu(self.first(self.shared(self.shared(values))))
        return SequenceClassifierOutput(logits=self.second(hidden))  # type: ignore[arg-type]


def test_shared_and_equal_layers_keep_apart(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = _Tied().eval()
    path = tmp_path / "tied.onnx"
    values = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
    export_onnx(model, {"values": values}, path, dynamic_sequence=False)
    names = [node.name for node in onnx.load(path).graph.node if node.op_type == "MatMul"]
    assert names[:2] == ["shared", "shared#2"]
    assert set(names[2:]) <= {"first", "first#2", "second"}
    answered = engine("onnxruntime").load(path, threads=1).run({"values": values})
    expected = model(torch.as_tensor(values)).logits.detach().numpy()
    np.testing.assert_allclose(answered, expected, atol=1e-6)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("transposed", [0, 1])
def test_a_gemm_becomes_a_named_product(bias: bool, transposed: int, tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    weight = random.normal(size=(3, 4)).astype(np.float32)  # [out, in]
    offset = random.normal(size=3).astype(np.float32)
    stored = np.ascontiguousarray(weight if transposed else weight.T)
    inputs = ["x", "w", *(["b"] if bias else [])]
    constants = [numpy_helper.from_array(stored, "w"), numpy_helper.from_array(offset, "b")]
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node("Gemm", inputs, ["y"], name="g", transB=transposed)],
            "gemm",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
            constants[: 2 if bias else 1],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    name_weights(model, {"head": weight})
    onnx.checker.check_model(model)
    assert model.graph.node[0].name == "head"
    path = tmp_path / "gemm.onnx"
    onnx.save(model, path)
    values = random.normal(size=(5, 4)).astype(np.float32)
    answered = engine("onnxruntime").load(path, threads=1).run({"x": values})
    expected = values @ weight.T + (offset if bias else 0)
    np.testing.assert_allclose(answered, expected, atol=1e-6)
