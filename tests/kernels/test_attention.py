"""Attention in one node: the results of the exported nodes, with masks of all kinds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from sparse_transfer_kernels.fusion import join_attention
from tests.kernels.layers import attention, session
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    MPNetConfig,
    MPNetForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from sparse_transfer_runner.packaging.export import export_onnx

SHAPE = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
}
ENCODERS: dict[str, Callable[[], Any]] = {
    "bert": lambda: BertForSequenceClassification(BertConfig(**SHAPE)),
    "roberta": lambda: RobertaForSequenceClassification(
        RobertaConfig(**SHAPE, max_position_embeddings=40)
    ),
    "distilbert": lambda: DistilBertForSequenceClassification(
        DistilBertConfig(vocab_size=60, dim=32, n_layers=2, n_heads=2, hidden_dim=48)
    ),
    "mpnet": lambda: MPNetForSequenceClassification(
        MPNetConfig(**SHAPE, max_position_embeddings=40)
    ),
}


def exported(name: str, folder: Path) -> onnx.ModelProto:
    torch.manual_seed(0)
    path = folder / "model.onnx"
    model = ENCODERS[name]().eval()
    export_onnx(model, tokens((16, 9)), path, dynamic_sequence=True)
    return onnx.load(path)


def tokens(lengths: tuple[int, ...]) -> dict[str, NDArray[np.int64]]:
    """Returns arbitrary tokens of some lengths, padded to the longest."""
    longest = max(lengths)
    random = np.random.default_rng(0)
    mask = np.arange(longest) < np.array(lengths)[:, None]
    ids = np.where(mask, random.integers(5, 60, mask.shape), 1)
    return {"input_ids": ids.astype(np.int64), "attention_mask": mask.astype(np.int64)}


def apart(query: str, key: str, value: str, mask: str, *, size: int, scale: float) -> bytes:
    """Returns a model that computes attention by onnxruntime's own nodes."""
    text = f"""
    <ir_version: 9, opset_import: ["" : 17]>
    attention (float[b, q, w] query, float[b, k, w] key, float[b, k, w] value,
               float[m, o, r, k] mask)
        => (float[b, q, w] y)
        <int64[4] heads = {{0, 0, -1, {size}}}, int64[3] merged = {{0, 0, -1}},
         float scale = {{{scale}}}>
    {{
        q4 = Reshape({query}, heads)
        qt = Transpose<perm = [0, 2, 1, 3]>(q4)
        k4 = Reshape({key}, heads)
        kt = Transpose<perm = [0, 2, 3, 1]>(k4)
        v4 = Reshape({value}, heads)
        vt = Transpose<perm = [0, 2, 1, 3]>(v4)
        scores = MatMul(qt, kt)
        scaled = Mul(scores, scale)
        masked = Add(scaled, {mask})
        weights = Softmax<axis = -1>(masked)
        made = MatMul(weights, vt)
        back = Transpose<perm = [0, 2, 1, 3]>(made)
        y = Reshape(back, merged)
    }}
    """
    return bytes(onnx.parser.parse_model(text).SerializeToString())


@pytest.mark.parametrize("name", ["bert", "roberta", "distilbert"])
def test_an_exported_encoder_gives_the_same_with_attention_in_one_node(
    name: str, tmp_path: Path
) -> None:
    model = exported(name, tmp_path)
    before = session(model.SerializeToString())
    assert join_attention(model) == 2
    onnx.checker.check_model(model)
    assert not any(node.op_type == "Softmax" for node in model.graph.node)
    after = session(model.SerializeToString())
    for lengths in [(1,), (7, 20, 33), (17, 17)]:
        wanted, found = before.run(None, tokens(lengths))[0], after.run(None, tokens(lengths))[0]
        np.testing.assert_allclose(found, wanted, atol=1e-2 * float(np.abs(wanted).max()))


def test_attention_of_another_form_stays(tmp_path: Path) -> None:
    model = exported("mpnet", tmp_path)
    before = model.SerializeToString()
    assert join_attention(model) == 0
    assert model.SerializeToString() == before


def _softmax_over_heads(model: onnx.ModelProto) -> None:
    node = next(node for node in model.graph.node if node.op_type == "Softmax")
    node.attribute[0].i = 1


def _scores_put_out(model: onnx.ModelProto) -> None:
    node = next(node for node in model.graph.node if node.op_type == "Softmax")
    scores = onnx.helper.make_tensor_value_info(node.output[0], onnx.TensorProto.FLOAT, None)
    model.graph.output.append(scores)


def _other_permutation(model: onnx.ModelProto) -> None:
    node = next(node for node in model.graph.node if node.op_type == "Transpose")
    node.attribute[0].ints[:] = [0, 3, 1, 2]


@pytest.mark.parametrize("change", [_softmax_over_heads, _scores_put_out, _other_permutation])
def test_attention_that_one_node_could_not_compute_stays(
    change: Callable[[onnx.ModelProto], None], tmp_path: Path
) -> None:
    model = exported("bert", tmp_path)
    change(model)
    assert join_attention(model) == 1, "the other layer's"


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("masked", [-np.inf, float(np.finfo(np.float32).min), -10_000.0])
@pytest.mark.parametrize(
    ("shape", "size", "mask_shape"),
    [
        ((2, 3, 5), 8, (2, 1, 1, 5)),
        ((1, 130, 130), 32, (1, 1, 130, 130)),
        ((3, 7, 40), 6, (3, 4, 7, 40)),
    ],
)
def test_masked_results_are_onnxruntimes(
    shape: tuple[int, int, int],
    size: int,
    mask_shape: tuple[int, ...],
    masked: float,
    threads: int,
) -> None:
    batch, queries, keys = shape
    random = np.random.default_rng(1)

    def values(rows: int) -> NDArray[np.float32]:
        return random.standard_normal((batch, rows, 4 * size)).astype(np.float32)

    mask = np.where(random.random(mask_shape) < 0.4, masked, 0).astype(np.float32)
    mask[-1, 0, -1] = masked
    given = {"query": values(queries), "key": values(keys), "value": values(keys), "mask": mask}
    plain = apart(*given, size=size, scale=0.3)
    own = onnxruntime.InferenceSession(plain, providers=["CPUExecutionProvider"])
    wanted = own.run(None, given)[0]
    joined = session(attention(head_size=size, scale=0.3), threads)
    np.testing.assert_allclose(joined.run(None, given)[0], wanted, atol=2e-2)


def test_the_shape_of_results_is_known_before_the_first_run() -> None:
    assert session(attention(head_size=8, scale=1.0)).get_outputs()[0].shape == ["b", "q", "w"]


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"scale": 1.0}, "head_size is missing"),
        ({"head_size": 8}, "scale is missing"),
        ({"head_size": 0, "scale": 1.0}, "head_size is 0"),
        ({"head_size": 8, "scale": float("nan")}, "scale is NaN"),
    ],
)
def test_attributes_that_say_nothing_are_refused(attributes: dict[str, Any], words: str) -> None:
    with pytest.raises(Exception, match=words):
        session(attention(**attributes))


@pytest.mark.parametrize(
    ("name", "shape", "words"),
    [
        ("query", (2, 5, 20), "do not fit together"),
        ("key", (1, 5, 16), "do not fit together"),
        ("value", (2, 4, 16), "do not fit together"),
        ("mask", (2, 1, 3, 5), "mask does not fit"),
        ("mask", (2, 1, 5, 4), "mask does not fit"),
    ],
)
def test_shapes_that_do_not_fit_are_refused_at_run(
    name: str, shape: tuple[int, ...], words: str
) -> None:
    given = dict.fromkeys(("query", "key", "value"), np.zeros((2, 5, 16), np.float32))
    given["mask"] = np.zeros((2, 1, 1, 5), np.float32)
    given[name] = np.zeros(shape, np.float32)
    with pytest.raises(Exception, match=words):
        session(attention(head_size=8, scale=1.0)).run(None, given)
