"""A tiny masked model with learned scales, as torch module and as fp32 ONNX."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tests.runner.tiny_models import random_batch, tiny_config
from torch import nn
from transformers import BertForSequenceClassification

from sparse_transfer_runner.engines.forms import InputScale
from sparse_transfer_runner.engines.protocol import Quantizable
from sparse_transfer_runner.packaging.calibration import calibrate
from sparse_transfer_runner.packaging.export import export_onnx
from sparse_transfer_runner.quantization.fake_quantize import FakeQuantizer
from sparse_transfer_runner.sparsity.prunable import prunable_weights
from sparse_transfer_runner.use_cases.protocol import Batch


@dataclass(frozen=True)
class ExportedModel:
    """Everything a test needs of one model."""

    module: nn.Module
    linear: Mapping[str, nn.Linear]
    masks: Mapping[str, NDArray[Any]]
    quantizable: Quantizable

    @property
    def path(self) -> Path:
        return self.quantizable.source


def numpy_batch(seed: int, rows: int = 8, tokens: int = 10) -> Batch:
    return {name: values.numpy() for name, values in random_batch(seed, rows, tokens).items()}


def write_exported(folder: Path, vocabulary: int = 22) -> ExportedModel:
    """Builds, masks to 75 %, calibrates and exports a tiny BERT."""
    torch.manual_seed(0)
    config = tiny_config()
    config.vocab_size = vocabulary
    module = BertForSequenceClassification(config).eval()
    weights = prunable_weights(module)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.dim() == 2:
                parameter.mul_(8)
        for weight in weights.values():
            weight.view(-1)[weight.abs().flatten().argsort()[: 3 * weight.numel() // 4]] = 0
    masks = {name: (w.detach().numpy() != 0).astype(np.uint8) for name, w in weights.items()}
    names = [name.removesuffix(".weight") for name in weights]
    linear = {name: module.get_submodule(name) for name in names}
    assert all(isinstance(each, nn.Linear) for each in linear.values())
    batches = [numpy_batch(seed) for seed in range(4)]
    scales = calibrate(module, linear, batches)  # type: ignore[arg-type]
    path = folder / "model.onnx"
    export_onnx(module, numpy_batch(0, rows=2), path, dynamic_sequence=True)
    return ExportedModel(module, linear, masks, Quantizable(path, scales, batches))  # type: ignore[arg-type]


def exact_logits(model: ExportedModel, batch: Batch) -> NDArray[np.float32]:
    """Returns the fp32 model's logits."""
    with torch.no_grad():
        inputs = {name: torch.as_tensor(values) for name, values in batch.items()}
        logits: NDArray[np.float32] = model.module(**inputs).logits.numpy()
    return logits


def rounded_logits(
    model: ExportedModel, batch: Batch, scales: Mapping[str, InputScale]
) -> NDArray[np.float32]:
    """Returns the logits with INT8 rounding simulated in torch."""
    quantizer = FakeQuantizer(model.linear)
    quantizer.load_state_dict(
        {
            "observing": False,
            "ranges": {
                n: (torch.tensor(s.low), torch.tensor(s.high), True) for n, s in scales.items()
            },
        }
    )
    quantizer.attach()
    try:
        return exact_logits(model, batch)
    finally:
        quantizer.detach()
