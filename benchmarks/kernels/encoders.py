"""Whole encoders of well-known shapes, with random weights and masks: speed depends on neither.

Every file is written from one model, so that all engines compute the same layers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import BertConfig, BertForSequenceClassification

from sparse_transfer_runner.engines import engine
from sparse_transfer_runner.engines.forms import Form, InputScale
from sparse_transfer_runner.engines.protocol import Quantizable, Session
from sparse_transfer_runner.packaging.export import export_onnx
from sparse_transfer_runner.sparsity.patterns import Pattern
from sparse_transfer_runner.use_cases.protocol import Batch

_WORDS = 1000
"""Of the vocabulary: looking words up costs little, and large tables only slow writing down."""
_SCALE = InputScale(0.03, 128)

SPARSE = "sparse kernels"
"""The subject that this benchmark is about."""


@dataclass(frozen=True)
class Encoder:
    """A model's shape and its zeros.

    Args:
        layers: Transformer layers.
        width: Hidden size; the feed-forward part is four times as wide.
        heads: Of the attention.
        sparsity: Share of the encoder's Linear weights that is zero, 0 to 1.
        pattern: How zeros lie.
    """

    layers: int
    width: int
    heads: int
    sparsity: float
    pattern: Pattern

    def built(self) -> nn.Module:
        """Returns the model, masked."""
        torch.manual_seed(0)
        model: nn.Module = BertForSequenceClassification(
            BertConfig(
                vocab_size=_WORDS,
                hidden_size=self.width,
                num_hidden_layers=self.layers,
                num_attention_heads=self.heads,
                intermediate_size=4 * self.width,
            )
        )
        model.eval()
        with torch.no_grad():
            for name in masked_modules(model):
                weight = model.get_parameter(f"{name}.weight")
                weight.mul_(torch.from_numpy(self.mask(*weight.shape)))
        return model

    def mask(self, outputs: int, inputs: int) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        """Returns which weights ``[outputs, inputs]`` are kept."""
        width = self.pattern.width
        random = np.random.default_rng(outputs + inputs)
        kept = random.random((outputs, inputs // width)) >= self.sparsity
        return np.repeat(kept, width, axis=1)


ENCODERS = {
    "BERT-base, 90 % block4": Encoder(12, 768, 12, 0.9, Pattern.BLOCK4),
    "BERT-base, 90 % unstructured": Encoder(12, 768, 12, 0.9, Pattern.UNSTRUCTURED),
    "MiniLM, 80 % block4": Encoder(6, 384, 12, 0.8, Pattern.BLOCK4),
    "MiniLM, 80 % unstructured": Encoder(6, 384, 12, 0.8, Pattern.UNSTRUCTURED),
}

SUBJECTS: dict[str, tuple[str, Form]] = {
    "onnxruntime fp32": ("onnxruntime", Form.FP32),
    "onnxruntime INT8, fused": ("onnxruntime", Form.MATMUL_INTEGER_FUSED),
    "onnxruntime INT8, integer": ("onnxruntime", Form.MATMUL_INTEGER),
    "onnxruntime INT8, pairs": ("onnxruntime", Form.QDQ),
    "onnxruntime INT8, dynamic": ("onnxruntime", Form.DYNAMIC),
    "openvino default": ("openvino", Form.FP32),
    "openvino INT8": ("openvino", Form.QDQ),
    SPARSE: ("onnxruntime-sparse", Form.SPARSE_BLOCKS),
    "deepsparse fp32": ("deepsparse", Form.FP32),
    "deepsparse INT8": ("deepsparse", Form.MATMUL_INTEGER_CENTRED),
}
"""What is measured: an engine and the form of its file. OpenVINO takes bf16 where it can."""

DENSE = tuple(name for name in SUBJECTS if name.startswith(("onnxruntime INT8", "openvino")))
"""Those that compute with the zeros, in less than fp32."""


def masked_modules(model: nn.Module) -> list[str]:
    """Returns the names of the encoder's Linear layers."""
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and ".encoder." in f".{name}"
    ]


def batch(rows: int, tokens: int) -> Batch:
    """Returns arbitrary tokens."""
    random = np.random.default_rng(0)
    return {
        "input_ids": random.integers(5, _WORDS, (rows, tokens), dtype=np.int64),
        "attention_mask": np.ones((rows, tokens), dtype=np.int64),
    }


def loaded(
    encoder: Encoder, subjects: Sequence[str], folder: Path, threads: int
) -> Iterator[tuple[str, Session]]:
    """Writes an encoder for engines, and yields it loaded.

    Args:
        encoder: Which.
        subjects: Names among ``SUBJECTS``.
        folder: For the files.
        threads: Of each engine.
    """
    model = encoder.built()
    names = masked_modules(model)
    source = folder / "source.onnx"
    export_onnx(model, batch(2, 16), source, dynamic_sequence=True)
    quantizable = Quantizable(source, dict.fromkeys(names, _SCALE), [batch(8, 32)])
    for subject in subjects:
        runs_on = engine(SUBJECTS[subject][0])
        target = _written(subject, quantizable, names, folder)
        yield subject, runs_on.load(target, threads=threads)


def _written(subject: str, model: Quantizable, names: Sequence[str], folder: Path) -> Path:
    """Writes a subject's file; of the sparse kernels with all layers sparse, none left dense."""
    name, form = SUBJECTS[subject]
    if form is Form.FP32:
        return model.source
    target = folder / subject.replace(" ", "-") / engine(name).model_file
    target.parent.mkdir()
    if subject != SPARSE:
        engine(name).quantize(model, form, target)
        return target
    import onnx
    from sparse_transfer_kernels import fusion

    from sparse_transfer_runner.engines.onnx_int8 import quantized

    read = onnx.load(model.source)
    written = quantized(read, model.scales, Form.MATMUL_INTEGER_FUSED, sparse=names)
    fusion.join_layers(written)
    fusion.join_normalizations(written)
    fusion.join_attention(written)
    onnx.save(written, target)
    return target
