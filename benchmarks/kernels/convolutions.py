"""What networks of convolutions gain from their zeros: EfficientNet-lite0 and ResNet-50, random.

For each pattern and share of zeros: every convolution that the kernels know alone, by onnxruntime's
INT8 and with its zeros left out, as the engine times them when it chooses; and the whole network in
fp32, in INT8 and with the zeros of those layers left out that gain, which take turns in one run.
Needs the wheel
``sparse-transfer-kernels`` (``kernels/``) and a quiet machine; takes a few minutes.

    python -m benchmarks.kernels.convolutions --output benchmarks/kernels/convolutions.json
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np
import timm
import torch
from torch import Tensor, nn

from sparse_transfer_runner.engines import engine
from sparse_transfer_runner.engines.cpu import available_cores, instruction_set
from sparse_transfer_runner.engines.forms import Form, InputScale
from sparse_transfer_runner.engines.protocol import Engine, LayerTime, Quantizable, TimesLayers
from sparse_transfer_runner.packaging.export import export_onnx
from sparse_transfer_runner.packaging.latency import inference, measure
from sparse_transfer_runner.provenance import provenance
from sparse_transfer_runner.sparsity.patterns import Pattern
from sparse_transfer_runner.use_cases.protocol import Batch

_ARCHITECTURES = ("efficientnet_lite0", "resnet50")
_SCALE = InputScale(6 / 255, 0)
_SIDE = 224
_FORMS = {"fp32": Form.FP32, "INT8": Form.QDQ_OUTPUTS, "sparse": Form.SPARSE_BLOCKS}


class Network(nn.Module):
    """A network as stages export it, the convolutions that kernels know masked.

    Args:
        architecture: By timm's name.
        sparsity: Share of their weights that is zero, 0 to 1.
        pattern: How zeros lie.
    """

    def __init__(self, architecture: str, sparsity: float, pattern: Pattern) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = timm.create_model(architecture, pretrained=False)
        with torch.no_grad():
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    # Some begin at 0, which would leave nothing of the convolution before them.
                    nn.init.ones_(module.weight)
                elif isinstance(module, nn.Conv2d) and _is_whole(module):
                    module.weight.mul_(_mask(module, sparsity, pattern))

    def forward(self, pixel_values: Tensor) -> SimpleNamespace:
        """Returns ``logits`` ``[pictures, classes]`` of pictures ``[pictures, 3, side, side]``."""
        return SimpleNamespace(logits=self.net(pixel_values))


def _is_whole(module: nn.Conv2d) -> bool:
    return module.groups == 1 and module.in_channels % 4 == 0


def _mask(module: nn.Conv2d, sparsity: float, pattern: Pattern) -> Tensor:
    outputs, inputs, *kernel = module.weight.shape
    random = np.random.default_rng(outputs + inputs)
    kept = random.random((outputs, inputs // pattern.width, *kernel)) >= sparsity
    return torch.from_numpy(np.repeat(kept, pattern.width, axis=1))


def pictures(rows: int, side: int) -> Batch:
    """Returns arbitrary pictures ``[rows, 3, side, side]``."""
    random = np.random.default_rng(0)
    return {"pixel_values": random.standard_normal((rows, 3, side, side)).astype(np.float32)}


def measured(
    architecture: str, sparsity: float, pattern: Pattern, options: argparse.Namespace
) -> dict[str, Any]:
    """Returns layers and medians, in milliseconds, of one share of zeros."""
    network = Network(architecture, sparsity, pattern).eval()
    names = [name for name, module in network.named_modules() if isinstance(module, nn.Conv2d)]
    example = pictures(1, options.side)
    sparse = engine("onnxruntime-sparse")
    assert isinstance(sparse, TimesLayers)
    with TemporaryDirectory() as folder:
        source = Path(folder) / "source.onnx"
        export_onnx(network, pictures(2, options.side), source, dynamic_sequence=False)
        model = Quantizable(
            source, dict.fromkeys(names, _SCALE), [pictures(4, options.side)], convolutional=True
        )
        times = sparse.layer_times(model, example, options.threads)
        timed = {name: time for name, time in times.items() if time.sparse_ms is not None}
        gaining = frozenset(name for name, time in timed.items() if time.gains)
        model = replace(model, sparse=gaining)
        runs = []
        for name, form in _FORMS.items():
            runs_on: Engine = sparse if name == "sparse" else engine("onnxruntime")
            path = source
            if form is not Form.FP32:
                path = Path(folder) / name / runs_on.model_file
                path.parent.mkdir()
                runs_on.quantize(model, form, path)
            runs.append(inference(runs_on.load(path, threads=options.threads), example))
        latencies = measure(runs, budget=options.seconds)
    medians = (latency.median_ms for latency in latencies)
    return {
        "architecture": architecture,
        "sparsity": sparsity,
        "pattern": str(pattern),
        "network": dict(zip(_FORMS, medians, strict=True)),
        "layersThatGain": len(gaining),
        "layers": {name: _written(time) for name, time in timed.items()},
        "sums": sums(timed),
    }


def sums(timed: Mapping[str, LayerTime]) -> dict[str, float]:
    """Returns what all layers take together: by INT8, and each in its faster form."""
    dense = [time.dense_ms or 0.0 for time in timed.values()]
    chosen = [min(time.dense_ms or 0.0, time.sparse_ms or 0.0) for time in timed.values()]
    return {"INT8": round(sum(dense), 4), "chosen": round(sum(chosen), 4)}


def _written(time: LayerTime) -> dict[str, float | None]:
    return {"blocks": time.blocks, "INT8": time.dense_ms, "sparse": time.sparse_ms}


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What convolutions gain from zeros.")
    parser.add_argument("--output", type=Path, required=True, help="results, JSON")
    parser.add_argument("--architectures", nargs="+", default=list(_ARCHITECTURES))
    parser.add_argument("--sparsities", type=float, nargs="+", default=[0.9, 0.8])
    parser.add_argument("--patterns", type=Pattern, nargs="+", default=list(Pattern))
    parser.add_argument("--side", type=int, default=_SIDE, help="of pictures, in pixels")
    parser.add_argument("--seconds", type=float, default=10.0, help="for a whole network")
    parser.add_argument("--threads", type=int, default=available_cores())
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    """Measures everything, and writes it."""
    options = _arguments(words)
    results: dict[str, Any] = {
        "settings": {
            "isa": instruction_set(),
            "threads": options.threads,
            "batch": 1,
            "side": options.side,
        },
        "networks": [
            measured(architecture, sparsity, pattern, options)
            for architecture in options.architectures
            for pattern in options.patterns
            for sparsity in options.sparsities
        ],
        "machine": provenance(),
    }
    options.output.write_text(json.dumps(results, indent=2) + "\n")
    for each in results["networks"]:
        medians = each["network"]
        over_int8, over_fp32 = (medians[name] / medians["sparse"] for name in ("INT8", "fp32"))
        sys.stdout.write(
            f"{each['architecture']}, {each['sparsity']:.0%} {each['pattern']}: "
            f"{over_int8:.2f} x INT8, {over_fp32:.2f} x fp32; "
            f"{each['layersThatGain']} of {len(each['layers'])} layers gain\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
