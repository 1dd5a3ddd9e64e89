"""How fast the sparse kernels are: single layers, and whole encoders against other engines.

Everything at one point takes turns in one run, in rounds, so that any two of its medians can be
divided by each other. Needs the wheel ``sparse-transfer-kernels`` (``kernels/``) and a quiet
machine; takes about ten minutes for everything. Results are written after each point, and points
that the file has already are not measured again: an interrupted run goes on where it stopped. What
cannot be measured here says ``not measured``.

DeepSparse needs Python 3.11 and an environment of its own; with its Python its figures are added,
taken right after the others, next to onnxruntime's fp32 in both runs.

    python -m benchmarks.kernels.run --output benchmarks/kernels/results.json
    make neuralmagic
    python -m benchmarks.kernels.run --deepsparse .venv-neuralmagic/bin/python --output …
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sparse_transfer_api.errors import InputError
from sparse_transfer_runner.engines import engine
from sparse_transfer_runner.engines.cpu import available_cores, instruction_set, multiplies_bf16
from sparse_transfer_runner.packaging.latency import inference, measure
from sparse_transfer_runner.provenance import provenance

from . import layers
from .encoders import DENSE, ENCODERS, SUBJECTS, batch, loaded
from .goals import APART, GOALS, NOT_MEASURED, Goal, factor

_HERE = [name for name in SUBJECTS if not name.startswith("deepsparse")]
_APART = ["onnxruntime fp32", "deepsparse fp32", "deepsparse INT8"]
_DEEPSPARSE_LIMIT = 1800.0

Results = dict[str, Any]


def encoder_medians(
    name: str, subjects: Sequence[str], options: argparse.Namespace
) -> dict[str, dict[str, float]]:
    """Returns milliseconds by tokens and subject of one encoder."""
    with TemporaryDirectory() as folder:
        sessions = dict(loaded(ENCODERS[name], subjects, Path(folder), options.threads))
        found = {}
        for tokens in options.tokens:
            runs = [inference(session, batch(1, tokens)) for session in sessions.values()]
            latencies = measure(runs, budget=options.seconds)
            medians = [latency.median_ms for latency in latencies]
            found[str(tokens)] = dict(zip(sessions, medians, strict=True))
        return found


def layer_medians(name: str, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Returns milliseconds by layer and form of one encoder's layers."""
    found = {}
    for shape in layers.shapes(ENCODERS[name]):
        for tokens in options.tokens:
            forms = dict(layers.runs(ENCODERS[name], shape, tokens, options.threads))
            latencies = measure(list(forms.values()), budget=options.seconds / 10)
            medians = [latency.median_ms for latency in latencies]
            found[f"{shape}, {tokens} tokens"] = dict(zip(forms, medians, strict=True))
    return found


def deepsparse_medians(name: str, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Returns what DeepSparse takes, measured by its own Python."""
    with TemporaryDirectory() as folder:
        output = Path(folder) / "results.json"
        words = ["-m", "benchmarks.kernels.run", "--output", output, "--encoders", name]
        words += ["--subjects", *_APART, "--tokens", *options.tokens, "--no-layers"]
        words += ["--seconds", options.seconds, "--threads", options.threads]
        command = [str(options.deepsparse), *map(str, words)]
        subprocess.run(command, check=True, timeout=_DEEPSPARSE_LIMIT, stdout=subprocess.DEVNULL)
        results: Results = json.loads(output.read_text())
        found: dict[str, dict[str, float]] = results["encoders"][name]
        return found


def goals_of(results: Results) -> list[dict[str, Any]]:
    """Returns each goal with what was reached."""
    rows = []
    for goal in (*GOALS, APART):
        medians = dict(results["encoders"].get(goal.encoder, {}).get(str(goal.tokens), {}))
        if goal is APART:
            medians = _with_deepsparse(results, medians)
        rows.append({**_described(goal), "reached": factor(medians, goal)})
    return rows


def _with_deepsparse(results: Results, medians: dict[str, float]) -> dict[str, float]:
    """Adds DeepSparse's median on unstructured zeros, scaled by fp32 of both runs."""
    apart = results["deepsparse"].get("BERT-base, 90 % unstructured", {}).get("128", {})
    if "onnxruntime fp32" not in apart or "onnxruntime fp32" not in medians:
        return medians
    scale = medians["onnxruntime fp32"] / apart["onnxruntime fp32"]
    return {**medians, "deepsparse INT8": apart["deepsparse INT8"] * scale}


def _described(goal: Goal) -> dict[str, Any]:
    against = "best dense INT8 or bf16" if goal.against == DENSE else goal.against[0]
    return {
        "encoder": goal.encoder,
        "tokens": goal.tokens,
        "against": against,
        "gate": goal.gate,
        "stretch": goal.stretch,
    }


def settings(options: argparse.Namespace) -> dict[str, Any]:
    """Returns what results depend on, and may not change within a file of them."""
    return {
        "isa": instruction_set(),
        "openvinoDefault": "bf16" if multiplies_bf16() else "fp32",
        "threads": options.threads,
        "batch": 1,
        "seconds": options.seconds,
        "tokens": options.tokens,
        "subjects": options.subjects,
        "engines": {name: _version(name) for name in {SUBJECTS[s][0] for s in options.subjects}},
    }


def _version(name: str) -> str:
    try:
        return engine(name).version()
    except (InputError, ImportError):
        return NOT_MEASURED


def _begun(path: Path, current: dict[str, Any]) -> Results:
    """Returns what a file has, if it is of the same settings; else nothing.

    Raises:
        InputError: It is of other ones.
    """
    if not path.exists():
        return {"settings": current, "encoders": {}, "layers": {}, "deepsparse": {}}
    results: Results = json.loads(path.read_text())
    if results["settings"] != current:
        raise InputError(f"{path} has results of other settings; choose another --output")
    return results


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="How fast the sparse kernels are.")
    parser.add_argument("--output", type=Path, required=True, help="results, JSON")
    parser.add_argument("--encoders", nargs="+", choices=list(ENCODERS), default=list(ENCODERS))
    parser.add_argument("--subjects", nargs="+", choices=list(SUBJECTS), default=_HERE)
    parser.add_argument("--tokens", type=int, nargs="+", default=[128, 32])
    parser.add_argument("--seconds", type=float, default=20.0, help="for an encoder at a point")
    parser.add_argument("--threads", type=int, default=available_cores())
    parser.add_argument("--deepsparse", type=Path, help="Python of the neuralmagic environment")
    parser.add_argument("--no-layers", action="store_true", help="whole encoders alone")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    """Measures what is missing, and writes it."""
    options = _arguments(words)
    options.subjects = [
        name for name in options.subjects if _version(SUBJECTS[name][0]) != NOT_MEASURED
    ]
    results = _begun(options.output, settings(options))
    steps: list[tuple[str, Any]] = [
        ("encoders", lambda name: encoder_medians(name, options.subjects, options))
    ]
    if not options.no_layers:
        steps.append(("layers", lambda name: layer_medians(name, options)))
    if options.deepsparse:
        steps.append(("deepsparse", lambda name: deepsparse_medians(name, options)))
    for name in options.encoders:
        for part, measured in steps:
            if name not in results[part]:
                results[part][name] = measured(name)
                results["goals"] = goals_of(results)
                results["machine"] = provenance()
                options.output.write_text(json.dumps(results, indent=2) + "\n")
    for row in results["goals"]:
        sys.stdout.write(
            f"{row['encoder']}, {row['tokens']} tokens, against {row['against']}: "
            f"{row['reached']} (gate {row['gate']}, stretch {row['stretch']})\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
