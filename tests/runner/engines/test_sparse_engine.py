"""The engine onnxruntime-sparse: the same answers from files that leave zeros out."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from tests.runner.exported_model import ExportedModel, numpy_batch

from sparse_transfer_api.errors import InputError
from sparse_transfer_runner.engines import engine
from sparse_transfer_runner.engines.forms import Form, InputScale
from sparse_transfer_runner.engines.kernels import KERNELS
from sparse_transfer_runner.engines.onnx_rows import shapes_of_inputs
from sparse_transfer_runner.engines.onnxruntime import OnnxRuntime
from sparse_transfer_runner.engines.protocol import LayerTime, Quantizable, TimesLayers
from sparse_transfer_runner.engines.sparse_blocks import VALUES

kernels = pytest.importorskip("sparse_transfer_kernels", reason="make kernels")

NAME = "onnxruntime-sparse"


def in_blocks(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns a Linear weight with a quarter of its blocks of four neighbouring inputs."""
    blocks = weight.reshape(len(weight), -1, 4).copy()
    strength = np.abs(blocks).sum(axis=2)
    blocks[strength < np.quantile(strength, 0.75)] = 0
    return blocks.reshape(weight.shape)


@pytest.fixture(scope="session")
def block4(exported: ExportedModel, tmp_path_factory: pytest.TempPathFactory) -> Quantizable:
    """The tiny model with zeros in blocks."""
    model = onnx.load(exported.path)
    for item in model.graph.initializer:
        if item.name.removesuffix(".weight") in exported.quantizable.scales:
            weight = in_blocks(onnx.numpy_helper.to_array(item).T).T
            item.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(weight), item.name))
    path = tmp_path_factory.mktemp("block4") / "model.onnx"
    onnx.save(model, path)
    return replace(exported.quantizable, source=path)


def all_sparse(model: Quantizable) -> Quantizable:
    return replace(model, sparse=frozenset(model.scales))


def answers(path: Path, tokens: int, rows: int) -> NDArray[np.float32]:
    return engine(NAME).load(path, threads=1).run(numpy_batch(5, rows, tokens))


def written(model: Quantizable, form: Form, target: Path) -> Path:
    engine(NAME).quantize(model, form, target)
    return target


def sparse_modules(path: Path) -> set[str]:
    names = (item.name for item in onnx.load(path).graph.initializer)
    return {name.removesuffix(VALUES) for name in names if name.endswith(VALUES)}


@pytest.mark.parametrize("pattern", ["block4", "unstructured"])
@pytest.mark.parametrize(("rows", "tokens"), [(1, 17), (8, 10), (3, 1)])
def test_answers_are_those_of_the_dense_int8_file(
    pattern: str,
    rows: int,
    tokens: int,
    exported: ExportedModel,
    block4: Quantizable,
    tmp_path: Path,
) -> None:
    model = block4 if pattern == "block4" else exported.quantizable
    sparse = written(all_sparse(model), Form.SPARSE_BLOCKS, tmp_path / "sparse.onnx")
    dense = written(model, Form.MATMUL_INTEGER_FUSED, tmp_path / "dense.onnx")
    assert sparse_modules(sparse) == set(model.scales)
    expected = answers(dense, tokens, rows)
    # Where a sum lies between two steps, its last bits decide the rounding behind it.
    step = 0.01 * np.abs(expected).max()
    np.testing.assert_allclose(answers(sparse, tokens, rows), expected, atol=step)


def test_only_layers_that_are_named_leave_their_zeros_out(
    block4: Quantizable, tmp_path: Path
) -> None:
    named = frozenset(list(block4.scales)[1:3])
    path = written(replace(block4, sparse=named), Form.SPARSE_BLOCKS, tmp_path / "m.onnx")
    assert sparse_modules(path) == named


def test_a_layer_that_is_left_in_fp32_is_not_sparse(block4: Quantizable, tmp_path: Path) -> None:
    left = next(iter(block4.scales))
    model = all_sparse(block4).keeping([left])
    path = written(model, Form.SPARSE_BLOCKS, tmp_path / "m.onnx")
    assert sparse_modules(path) == set(block4.scales) - {left}


def test_zeros_are_counted_in_a_sparse_file_as_in_a_dense_one(
    block4: Quantizable, tmp_path: Path
) -> None:
    dense = written(block4, Form.MATMUL_INTEGER_FUSED, tmp_path / "dense.onnx")
    sparse = written(all_sparse(block4), Form.SPARSE_BLOCKS, tmp_path / "sparse.onnx")
    modules = list(block4.scales)
    wanted, found = (engine(NAME).weights(path, modules) for path in (dense, sparse))
    assert (found.zeros, found.total) == (wanted.zeros, wanted.total)
    for name in modules:
        np.testing.assert_array_equal(found.linear[name], wanted.linear[name])
    assert sparse.stat().st_size < dense.stat().st_size


def test_layers_that_follow_each_other_are_one_node(block4: Quantizable, tmp_path: Path) -> None:
    path = written(all_sparse(block4), Form.SPARSE_BLOCKS, tmp_path / "m.onnx")
    kinds = Counter(node.op_type for node in onnx.load(path).graph.node)
    blocks = len([name for name in block4.scales if name.endswith("intermediate.dense")])
    assert kinds["SparseQFeedForward"] == blocks
    assert kinds["SparseQLinear"] == len(block4.scales) - 2 * blocks


def test_sparse_forms_are_tried_first_where_a_layer_gains(block4: Quantizable) -> None:
    own = OnnxRuntime().forms(block4)
    assert engine(NAME).forms(block4) == own
    forms = list(engine(NAME).forms(all_sparse(block4)))
    assert forms[0] is Form.SPARSE_BLOCKS
    assert forms[-len(own) :] == list(own)


@pytest.mark.parametrize("form", [Form.SPARSE_BLOCKS, Form.REDUCED_SPARSE_BLOCKS])
def test_dense_layers_beside_sparse_ones_have_as_many_bits(
    form: Form, block4: Quantizable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "sparse_transfer_runner.engines.onnxruntime.instruction_set", lambda: "avx2"
    )
    model = replace(block4, sparse=frozenset(list(block4.scales)[:1]))
    assert list(engine(NAME).forms(model))[:2] == [
        Form.SPARSE_BLOCKS,
        Form.REDUCED_SPARSE_BLOCKS,
    ]
    path = written(model, form, tmp_path / "m.onnx")
    largest = {
        name: int(np.abs(weight.astype(int)).max())
        for name, weight in engine(NAME).weights(path, list(block4.scales)).linear.items()
    }
    assert set(largest.values()) == {form.weight_levels}


def test_every_layer_is_timed_on_the_rows_that_it_sees(block4: Quantizable) -> None:
    runs_on = engine(NAME)
    assert isinstance(runs_on, TimesLayers)
    times = runs_on.layer_times(block4, numpy_batch(0, 2, 6), threads=1)
    assert set(times) == set(block4.scales)
    for time in times.values():
        assert time.blocks == pytest.approx(0.25, abs=0.02)
        assert time.sparse_ms is not None and time.dense_ms is not None
        assert time.gains == (time.sparse_ms < time.dense_ms)


def test_what_is_read_behind_a_pooling_is_known_too(block4: Quantizable) -> None:
    modules = [*block4.scales, "bert.pooler.dense", "classifier"]
    shapes = shapes_of_inputs(onnx.load(block4.source), modules, numpy_batch(0, 2, 6))
    rows = {name: shape[:-1] for name, shape in shapes.items()}
    pooled = {"bert.pooler.dense": (2,), "classifier": (2,)}
    assert rows == {**dict.fromkeys(block4.scales, (2, 6)), **pooled}


@pytest.fixture
def classifier(tmp_path: Path) -> Quantizable:
    """A convolution, a mean over places, and a Linear layer with zeros."""
    random = np.random.default_rng(0)
    constants = {
        "kernel": random.standard_normal((8, 3, 3, 3)).astype(np.float32),
        "weight": in_blocks(random.standard_normal((16, 8)).astype(np.float32)).T.copy(),
    }
    nodes = [
        helper.make_node("Conv", ["pixels", "kernel"], ["seen"], name="conv"),
        helper.make_node("ReduceMean", ["seen"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["mean", "weight"], ["logits"], name="head"),
    ]
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 16])],
        [onnx.numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, tmp_path / "classifier.onnx")
    scales = {"conv": InputScale(0.03, 128), "head": InputScale(0.02, 128)}
    rows = [{"pixels": random.standard_normal((4, 3, 8, 8)).astype(np.float32)}]
    return Quantizable(tmp_path / "classifier.onnx", scales, rows, convolutional=True)


def test_wider_convolutions_are_not_timed_and_stay_onnxruntimes(
    classifier: Quantizable, tmp_path: Path
) -> None:
    runs_on, batch = engine(NAME), classifier.calibration[0]
    assert isinstance(runs_on, TimesLayers)
    times = runs_on.layer_times(classifier, batch, threads=1)
    assert times["conv"] == LayerTime()
    assert times["head"].blocks == 0.25
    sparse = replace(classifier, sparse=frozenset({"head"}))
    path = written(sparse, Form.SPARSE_BLOCKS, tmp_path / "sparse.onnx")
    assert sparse_modules(path) == {"head"}
    dense = written(classifier, Form.QDQ_OUTPUTS, tmp_path / "dense.onnx")
    found, expected = (runs_on.load(each, threads=1).run(batch) for each in (path, dense))
    np.testing.assert_allclose(found, expected, atol=0.02 * np.abs(expected).max())


def test_a_model_without_such_layers_reads_nothing(classifier: Quantizable) -> None:
    assert shapes_of_inputs(onnx.load(classifier.source), ["other"], {}) == {}


def test_a_layer_that_was_not_timed_does_not_gain() -> None:
    assert not LayerTime().gains
    assert not LayerTime(blocks=0.1, sparse_ms=None, dense_ms=1.0).gains
    assert not LayerTime(blocks=0.1, sparse_ms=1.0, dense_ms=1.0).gains
    assert LayerTime(blocks=0.1, sparse_ms=0.9, dense_ms=1.0).gains


def test_the_version_names_kernels_and_onnxruntime() -> None:
    assert engine(NAME).version() == f"{OnnxRuntime().version()}+kernels.{version(KERNELS)}"


def test_a_library_that_is_missing_is_refused_with_what_to_do(
    exported: ExportedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "library", lambda: tmp_path / "none.so")
    with pytest.raises(InputError, match=r"cannot be loaded here: .*none\.so.*make kernels"):
        engine(NAME).load(exported.path, threads=1)


def test_a_library_that_is_none_is_refused(
    exported: ExportedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = tmp_path / "damaged.so"
    library.write_bytes(b"\x7fELF" + bytes(100))
    monkeypatch.setattr(kernels, "library", lambda: library)
    with pytest.raises(InputError, match="cannot be loaded here"):
        engine(NAME).load(exported.path, threads=1)
