"""Convolutions on onnxruntime-sparse: the same answers, by bytes between convolutions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from sparse_transfer_runner.engines import engine
from sparse_transfer_runner.engines.forms import Form, InputScale
from sparse_transfer_runner.engines.onnx_graph import Graph
from sparse_transfer_runner.engines.onnx_rows import shapes_of_inputs
from sparse_transfer_runner.engines.protocol import Quantizable, TimesLayers
from sparse_transfer_runner.engines.sparse_blocks import CONVOLUTION, POINTWISE
from sparse_transfer_runner.engines.sparse_convolutions import (
    Geometry,
    kernel_of_rows,
    limits,
    rows_of_kernel,
    sparse_convolutions,
)
from sparse_transfer_runner.use_cases.protocol import Batch

kernels = pytest.importorskip("sparse_transfer_kernels", reason="make kernels")

NAME = "onnxruntime-sparse"
_SIDE = 10
_WIDE, _NARROW = 24, 8


class Network:
    """A residual block between a stem and a head: what mobile networks repeat."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(3)
        self._constants: dict[str, NDArray[Any]] = {"zero": np.array(0, np.float32)}
        # As the exporter writes limits: in a node.
        six = numpy_helper.from_array(np.array(6, np.float32))
        self._nodes = [helper.make_node("Constant", [], ["six"], value=six)]
        stem = self._rectified(self._convolution("stem", "pixel_values", (_NARROW, 3, 3, 3)))
        wide = self._rectified(self._convolution("expand", stem, (_WIDE, _NARROW, 1, 1)))
        deep = self._relu(self._convolution("deep", wide, (_WIDE, 1, 3, 3), group=_WIDE))
        narrow = self._convolution("project", deep, (_NARROW, _WIDE, 1, 1))
        joined = self._add("Add", [narrow, stem], "joined")
        smaller = self._convolution("strided", joined, (_NARROW, _NARROW, 1, 1), stride=2)
        around = self._relu(self._convolution("around", smaller, (_NARROW, _NARROW, 3, 3)))
        uneven = self._convolution("uneven", around, (_NARROW, _NARROW, 3, 2), stride=2)
        head = self._relu(self._convolution("head", uneven, (_WIDE, _NARROW, 1, 1)))
        pooled = self._add("GlobalAveragePool", [head], "pooled")
        self._convolution("classifier", pooled, (4, _WIDE, 1, 1))
        self._add("Flatten", ["classifier_out"], "logits")

    def model(self) -> onnx.ModelProto:
        graph = helper.make_graph(
            self._nodes,
            "network",
            [
                helper.make_tensor_value_info(
                    "pixel_values", TensorProto.FLOAT, ["batch", 3, _SIDE, _SIDE]
                )
            ],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 4])],
            [numpy_helper.from_array(values, name) for name, values in self._constants.items()],
        )
        opsets = [helper.make_opsetid("", 17)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=9)

    def _convolution(
        self, name: str, source: str, shape: tuple[int, ...], stride: int = 1, group: int = 1
    ) -> str:
        weight = self._random.standard_normal(shape).astype(np.float32)
        if shape[1] % 4 == 0:
            kept = self._random.random((shape[0], shape[1] // 4, *shape[2:])) < 0.5
            weight *= np.repeat(kept, 4, axis=1)
        fan_in = int(np.prod(shape[1:]))
        self._constants[f"{name}.weight"] = weight / np.float32(np.sqrt(fan_in))
        self._constants[f"{name}.bias"] = self._random.standard_normal(shape[0]).astype(np.float32)
        return self._add(
            "Conv",
            [source, f"{name}.weight", f"{name}.bias"],
            f"{name}_out",
            name,
            pads=[shape[2] // 2, shape[3] // 2] * 2,
            strides=[stride] * 2,
            group=group,
        )

    def _rectified(self, source: str) -> str:
        return self._add("Clip", [source, "zero", "six"], f"{source}_clipped")

    def _relu(self, source: str) -> str:
        return self._add("Relu", [source], f"{source}_rectified")

    def _add(
        self, operator: str, inputs: list[str], output: str, name: str = "", **attributes: Any
    ) -> str:
        named = name or f"{output}/node"
        self._nodes.append(helper.make_node(operator, inputs, [output], name=named, **attributes))
        return output


def pictures(rows: int, seed: int = 0) -> Batch:
    shape = (rows, 3, _SIDE, _SIDE)
    return {"pixel_values": np.random.default_rng(seed).standard_normal(shape).astype(np.float32)}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Quantizable:
    source = tmp_path_factory.mktemp("network") / "model.onnx"
    onnx.save(Network().model(), source)
    rectified = dict.fromkeys(("expand", "deep", "project", "uneven"), InputScale(6 / 255, 0))
    others = dict.fromkeys(("stem", "strided", "around", "head"), InputScale(0.05, 128))
    scales = {**rectified, **others}
    return Quantizable(source, scales, [pictures(2, seed) for seed in range(3)], convolutional=True)


TAKEN = {
    POINTWISE: {"expand", "project", "head"},
    CONVOLUTION: {"strided", "around", "uneven"},
}


def written(model: Quantizable, form: Form, target: Path) -> Path:
    engine(NAME).quantize(model, form, target)
    return target


def answers(path: Path, rows: int) -> NDArray[np.float32]:
    return engine(NAME).load(path, threads=1).run(pictures(rows, seed=9))


def answers_as_written(path: Path, rows: int) -> NDArray[np.float32]:
    """Returns those of a file that onnxruntime computes node by node."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    logits: NDArray[np.float32] = session.run(None, dict(pictures(rows, seed=9)))[0]
    return logits


@pytest.mark.parametrize("rows", [1, 3])
def test_answers_are_those_of_the_dense_int8_file(
    rows: int, model: Quantizable, tmp_path: Path
) -> None:
    dense = written(model, Form.QDQ_OUTPUTS, tmp_path / "dense.onnx")
    every = replace(model, sparse=frozenset(model.scales))
    sparse = written(every, Form.SPARSE_BLOCKS, tmp_path / "sparse.onnx")
    nodes = onnx.load(sparse).graph.node
    for operator, names in TAKEN.items():
        assert {node.name for node in nodes if node.op_type == operator} == names
    expected, found = answers_as_written(dense, rows), answers(sparse, rows)
    step = float(np.abs(expected).max()) / 50
    np.testing.assert_allclose(found, expected, atol=step)


def test_nothing_is_widened_that_nobody_reads(model: Quantizable, tmp_path: Path) -> None:
    every = replace(model, sparse=frozenset(model.scales))
    graph = onnx.load(written(every, Form.SPARSE_BLOCKS, tmp_path / "sparse.onnx")).graph
    read = {name for node in graph.node for name in node.input} | {graph.output[0].name}
    assert all(node.output[0] in read for node in graph.node)


def test_weights_and_zeros_are_those_of_the_dense_file(model: Quantizable, tmp_path: Path) -> None:
    dense = written(model, Form.QDQ_OUTPUTS, tmp_path / "dense.onnx")
    chosen = replace(model, sparse=frozenset({"expand", "project", "around", "uneven"}))
    sparse = written(chosen, Form.SPARSE_BLOCKS, tmp_path / "sparse.onnx")
    modules = sorted(model.scales)
    wanted, found = (engine(NAME).weights(path, modules) for path in (dense, sparse))
    assert found.linear.keys() == wanted.linear.keys()
    for name in modules:
        assert found.linear[name].shape == wanted.linear[name].shape
        assert ((found.linear[name] == 0) == (wanted.linear[name] == 0)).all()
    assert (found.zeros, found.total) == (wanted.zeros, wanted.total)


def test_convolutions_that_the_kernels_take_are_timed(model: Quantizable) -> None:
    timing = engine(NAME)
    assert isinstance(timing, TimesLayers)
    times = timing.layer_times(model, pictures(1), threads=1)
    assert times.keys() == model.scales.keys()
    taken = set().union(*TAKEN.values())
    assert {name for name, time in times.items() if time.sparse_ms is not None} == taken
    assert all(times[name].dense_ms for name in taken)


def test_convolutions_are_timed_on_pictures_of_the_size_that_they_read(model: Quantizable) -> None:
    found = shapes_of_inputs(onnx.load(model.source), {"expand", "around"}, pictures(2))
    half = _SIDE // 2
    assert found == {"expand": (2, _NARROW, _SIDE, _SIDE), "around": (2, _NARROW, half, half)}


def test_kernels_and_their_rows_are_the_same_weights() -> None:
    weight = np.random.default_rng(0).integers(-9, 9, (4, 8, 3, 2))
    rows = rows_of_kernel(weight)
    assert rows.shape == (4, 48)
    # Four neighbours are four channels of one pixel.
    assert (rows[1, 8:12] == weight[1, :4, 0, 1]).all()
    assert (kernel_of_rows(rows, (3, 2)) == weight).all()


@pytest.mark.parametrize(
    "attributes",
    [
        {"group": 2},
        {"dilations": [2, 2]},
        {"auto_pad": "SAME_UPPER"},
        {"pads": [3, 1, 1, 1]},
    ],
)
def test_what_the_kernels_do_not_know_stays_dense(
    attributes: dict[str, Any], model: Quantizable
) -> None:
    graph = Graph.load(model.source)
    (node,) = (each for each in graph.convolutions() if each.name == "around")
    kept = [item for item in node.attribute if item.name not in attributes]
    del node.attribute[:]
    node.attribute.extend(kept)
    node.attribute.extend(helper.make_attribute(name, v) for name, v in attributes.items())
    assert not list(sparse_convolutions(graph, {"around"}))


def test_a_plain_convolution_needs_no_attributes() -> None:
    assert Geometry().operator == POINTWISE
    assert not Geometry().attributes
    assert Geometry(pads=(0, 0, 0, 1)).operator == CONVOLUTION


@pytest.mark.parametrize(
    ("module", "scale", "expected"),
    [
        ("expand", InputScale(6 / 255, 0), (0, 255)),
        ("expand", InputScale(0.1, 30), (30, 90)),
        ("head", InputScale(0.1, 30), (30, 255)),
        ("project", InputScale(0.1, 30), (0, 255)),
    ],
)
def test_limits_are_those_of_the_rectifier(
    module: str, scale: InputScale, expected: tuple[int, int], model: Quantizable
) -> None:
    graph = Graph.load(model.source)
    (node,) = sparse_convolutions(graph, {module})
    assert limits(graph, node, scale) == expected
