from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from tests.runner.exported_model import (
    ExportedModel,
    exact_logits,
    numpy_batch,
    rounded_logits,
    write_exported,
)

from sparse_transfer_api.errors import InputError
from sparse_transfer_runner.engines import engine
from sparse_transfer_runner.engines.forms import Form, InputScale
from sparse_transfer_runner.engines.onnx_int8 import quantized
from sparse_transfer_runner.engines.protocol import Quantizable

_LEARNED = [Form.MATMUL_INTEGER_FUSED, Form.MATMUL_INTEGER, Form.QDQ]
_CASES = [
    *(("onnxruntime", form) for form in (*_LEARNED, Form.DYNAMIC, Form.REDUCED_FUSED)),
    ("openvino", Form.QDQ),
    ("openvino", Form.REDUCED_QDQ),
]


def _target(folder: Path, name: str, form: Form) -> Path:
    return folder / f"{name}-{form}" / engine(name).model_file


def _written(exported: ExportedModel, folder: Path, name: str, form: Form) -> Path:
    target = _target(folder, name, form)
    target.parent.mkdir()
    engine(name).quantize(exported.quantizable, form, target)
    return target


@pytest.mark.parametrize(("name", "form"), _CASES)
def test_every_form_answers_nearly_as_the_exact_model(
    name: str, form: Form, exported: ExportedModel, tmp_path: Path
) -> None:
    session = engine(name).load(_written(exported, tmp_path, name, form), threads=1)
    for rows, tokens in ((8, 10), (1, 17), (3, 4)):
        batch = numpy_batch(9, rows, tokens)
        exact = exact_logits(exported, batch)
        assert np.abs(session.run(batch) - exact).max() < 0.1 * np.abs(exact).max()


@pytest.mark.parametrize("form", _LEARNED)
def test_learned_scales_give_what_training_simulated(
    form: Form, exported: ExportedModel, tmp_path: Path
) -> None:
    path = _written(exported, tmp_path, "onnxruntime", form)
    batch = numpy_batch(3)
    simulated = rounded_logits(exported, batch, exported.quantizable.scales)
    answered = engine("onnxruntime").load(path, threads=1).run(batch)
    rounding = np.abs(simulated - exact_logits(exported, batch)).max()
    assert np.abs(answered - simulated).max() < 0.3 * rounding


@pytest.mark.parametrize(("name", "form"), [*_CASES, ("openvino", Form.NNCF)])
def test_masked_positions_decode_to_exactly_zero_in_every_form(
    name: str, form: Form, exported: ExportedModel, tmp_path: Path
) -> None:
    modules = list(exported.quantizable.scales)
    weights = engine(name).weights(_written(exported, tmp_path, name, form), modules)
    assert set(weights.linear) == set(modules)
    for parameter, mask in exported.masks.items():
        weight = weights.linear[parameter.removesuffix(".weight")]
        assert not weight[mask == 0].any()
        assert weight[mask == 1].any()
    assert 0 < weights.zeros < weights.total


def test_query_key_and_value_share_one_quantizer(exported: ExportedModel) -> None:
    model = quantized(onnx.load(exported.path), exported.quantizable.scales, Form.MATMUL_INTEGER)
    operators = Counter(node.op_type for node in model.graph.node)
    layers = 2
    assert operators["MatMulInteger"] == 6 * layers
    assert operators["QuantizeLinear"] == 4 * layers
    onnx.checker.check_model(model)


def test_a_shared_quantizer_covers_scales_that_differ(exported: ExportedModel) -> None:
    scales = dict(exported.quantizable.scales)
    query = "bert.encoder.layer.0.attention.self.query"
    scales[query] = InputScale(scales[query].scale * 2, 128)
    model = quantized(onnx.load(exported.path), scales, Form.QDQ)
    operators = Counter(node.op_type for node in model.graph.node)
    assert operators["QuantizeLinear"] == 8


def test_modules_without_a_scale_stay_in_fp32(exported: ExportedModel) -> None:
    kept = ("bert.encoder.layer.0.output.dense", "bert.encoder.layer.1.output.dense")
    scales = exported.quantizable.keeping(kept).scales
    model = quantized(onnx.load(exported.path), scales, Form.MATMUL_INTEGER_FUSED)
    operators = {node.name: node.op_type for node in model.graph.node}
    assert all(operators[name] == "MatMul" for name in kept)
    assert sum(kind == "MatMulIntegerToFloat" for kind in operators.values()) == 10


def test_large_embeddings_are_rounded_and_stay_near(tmp_path: Path) -> None:
    exported = write_exported(tmp_path, vocabulary=2000)
    path = _written(exported, tmp_path, "onnxruntime", Form.QDQ)
    tables = [i for i in onnx.load(path).graph.initializer if "word_embeddings" in i.name]
    assert {item.data_type for item in tables} == {onnx.TensorProto.INT8, onnx.TensorProto.FLOAT}
    table = exported.module.get_parameter("bert.embeddings.word_embeddings.weight")
    assert sum(len(item.raw_data) for item in tables) < 0.35 * 4 * table.numel()
    batch = numpy_batch(5)
    exact = exact_logits(exported, batch)
    answered = engine("onnxruntime").load(path, threads=1).run(batch)
    assert np.abs(answered - exact).max() < 0.1 * np.abs(exact).max()


def test_a_scale_without_its_layer_is_refused_by_name(exported: ExportedModel) -> None:
    scales = {"bert.encoder.layer.7.output.dense": InputScale(0.1, 0)}
    with pytest.raises(InputError, match=r"layer\.7\.output\.dense"):
        quantized(onnx.load(exported.path), scales, Form.QDQ)


def test_openvino_calibrates_by_itself_where_it_is_asked_to(
    exported: ExportedModel, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    kept = "bert.encoder.layer.0.output.dense"
    source = exported.quantizable.keeping([kept])
    target = tmp_path / "model.xml"
    engine("openvino").quantize(source, Form.NNCF, target)
    assert capfd.readouterr().out == "", "standard output belongs to the stage's records"
    batch = numpy_batch(4)
    exact = exact_logits(exported, batch)
    answered = engine("openvino").load(target, threads=1).run(batch)
    assert np.abs(answered - exact).max() < 0.1 * np.abs(exact).max()
    assert kept in engine("openvino").weights(target, [kept]).linear


def test_inputs_that_a_file_lacks_are_ignored(exported: ExportedModel) -> None:
    batch = numpy_batch(1)
    extended = {**batch, "token_type_ids": np.zeros_like(batch["input_ids"])}
    for name in ("onnxruntime", "openvino"):
        session = engine(name).load(exported.path, threads=1)
        np.testing.assert_array_equal(session.run(extended), session.run(batch))


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_forced_fp32_computes_in_fp32(name: str, exported: ExportedModel) -> None:
    batch = numpy_batch(2)
    session = engine(name).load(exported.path, threads=1, arithmetic="fp32")
    np.testing.assert_allclose(session.run(batch), exact_logits(exported, batch), atol=1e-5)


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_converting_rounds_nothing(name: str, exported: ExportedModel, tmp_path: Path) -> None:
    target = tmp_path / engine(name).model_file
    engine(name).convert(exported.path, target)
    modules = list(exported.linear)
    weights = engine(name).weights(target, modules)
    for module in modules:
        expected = exported.linear[module].weight.detach().numpy()
        np.testing.assert_array_equal(weights.linear[module], expected)
    assert all(file.is_file() for file in engine(name).files(target))


def test_a_full_device_is_passing_trouble(exported: ExportedModel, tmp_path: Path) -> None:
    code = (
        "import pathlib, resource, signal, sys;"
        "from sparse_transfer_api.errors import Transient;"
        "from sparse_transfer_runner.engines import engine;"
        "source, target = map(pathlib.Path, sys.argv[1:]);"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))\n"
        "try:\n"
        "    engine('openvino').convert(source, target)\n"
        "except Transient as error:\n"
        "    said = str(error)\n"
        "    sys.exit('model.xml: could not be written' in said and 'free some' in said)"
    )
    arguments = [sys.executable, "-c", code, str(exported.path), str(tmp_path / "model.xml")]
    finished = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert finished.returncode == 1, finished.stderr
    assert not finished.stderr


def test_an_engine_that_is_not_here_is_refused_with_those_that_are() -> None:
    here = "onnxruntime, (onnxruntime-sparse, )?openvino"
    with pytest.raises(InputError, match=f"tensorrt is not in.* has {here}"):
        engine("tensorrt")


def test_reduced_forms_are_tried_where_eight_bits_may_saturate(
    exported: ExportedModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in ("onnxruntime", "openvino"):
        monkeypatch.setattr(
            f"sparse_transfer_runner.engines.{module}.instruction_set", lambda: "avx2"
        )
    assert Form.REDUCED_FUSED in engine("onnxruntime").forms(exported.quantizable)
    assert Form.REDUCED_QDQ in engine("openvino").forms(exported.quantizable)


def test_keeping_modules_leaves_the_rest_of_the_scales() -> None:
    model = Quantizable(Path("m.onnx"), {"a": InputScale(1, 0), "b": InputScale(2, 1)})
    assert set(model.keeping(["a"]).scales) == {"b"}
