"""Compares upstream methods by what they are for: recovery after a transfer, and seconds.

A cell of the table is one foundation and one experiment from it: a method, a sparsity, a pattern, a
seed. Cells of one seed share the dense baseline. Two measures say what a foundation is worth:

- recovery, accuracy against the dense baseline's;
- divergence, the mean KL divergence from the baseline's answers to the transferred model's (nats),
  which tells foundations apart that the accuracy of a thousand rows does not.

The seconds of a seed's first run hold the baseline's training. A short transfer is packaged for the
sparse kernels too (``make kernels``), whose accuracy is to be that of onnxruntime's own INT8. The
file is written after each cell, and cells that it holds are not run again: the program may be
stopped at any time, and started again.

    python benchmarks/quality/upstream.py --output benchmarks/quality/upstream.json --seeds 0 1 2
    python benchmarks/quality/upstream.py --output /tmp/reduced.json --budget reduced \
        --methods admm --sparsities 0.8 --patterns block4

With ``--budget short`` the transfer has a quarter of the steps: a cell takes a few minutes instead
of ten or more, and more of the difference between foundations is left. With ``--budget reduced`` it
takes one or two, and its recovery says only that the program works.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from cells import divergence_of, extract, fill, keep_baselines_only, last_line, mean
from families import FAMILIES

from sparse_transfer_runner.provenance import provenance

_RECOVERY_STEPS = {"full": 250, "short": 60, "reduced": 8}
_WORK = Path("runs/quality")

METHODS: dict[str, Sequence[str]] = {
    "magnitude": ("--method", "magnitude"),
    "wanda": ("--method", "wanda"),
    "sparsegpt": ("--method", "sparsegpt"),
    "admm": ("--method", "admm"),
    "gradual": ("--method", "gradual"),
    "admm-budgets": ("--method", "admm", "--budgets", "layer-error"),
    "admm-refined": ("--method", "admm", "--refine-rounds", "10"),
    "admm-blocks": ("--method", "admm", "--block-steps", "60"),
    "admm-all": (
        *("--method", "admm", "--budgets", "layer-error", "--refine-rounds", "10"),
        *("--block-steps", "60"),
    ),
}
"""Rows of the table: a name, and the options of ``upstream`` that it stands for."""


@dataclass(frozen=True, order=True)
class Cell:
    """One cell of the table.

    Args:
        family: Key of ``FAMILIES``.
        budget: ``full``, or a key of the family's budgets.
        method: Key of ``METHODS``.
        sparsity: Of the foundation.
        pattern: Of its zeros.
        recovery_steps: Distillation steps after pruning; a gradual pruning has its own besides.
        seed: Of everything random.
    """

    family: str
    budget: str
    method: str
    sparsity: float
    pattern: str
    recovery_steps: int
    seed: int


def run_cell(cell: Cell, work: Path) -> dict[str, Any]:
    """Makes the foundation and runs the experiment; returns figures and seconds."""
    family = FAMILIES[cell.family]
    extract(family, work)
    folder = work / "cell"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    experiment = family.experiment(work, cell.budget, cell.seed)
    experiment["spec"]["model"] = {"uri": (folder / "foundation").as_uri()}
    experiment["spec"]["output"] = {"uri": (work / "runs").as_uri()}
    (folder / "experiment.yaml").write_text(yaml.safe_dump(experiment))
    upstream = [
        *("upstream", *family.upstream_arguments(work, cell.budget), *METHODS[cell.method]),
        *("--sparsity", str(cell.sparsity), "--pattern", cell.pattern, "--seed", str(cell.seed)),
        *("--recovery-steps", str(cell.recovery_steps), "--output", str(folder / "foundation")),
    ]
    if cell.budget == "reduced" and cell.method == "gradual":
        upstream += ["--gradual-steps", "16", "--prune-every", "4"]
    foundation, upstream_seconds = last_line(upstream, "foundation")
    measured, run_seconds = last_line(["run", "-f", str(folder / "experiment.yaml")], "results")
    results = measured["results"]
    diverged = divergence_of(work / "runs" / "default" / experiment["metadata"]["name"])
    keep_baselines_only(work / "runs")
    shutil.rmtree(folder)
    return {
        **asdict(cell),
        "recovery": results.get("recovery"),
        "divergence": diverged,
        "metric": results["metric"],
        "engines": {each["name"]: each.get("metric") for each in results["engines"]},
        "measuredSparsity": results.get("sparsity"),
        "quality": foundation["quality"],
        "seconds": {"upstream": upstream_seconds, "run": run_seconds},
        "load": round(os.getloadavg()[0], 2),
        "machine": provenance()["hardware"],
    }


def summary(cells: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the table: means over seeds, least divergence first within a sparsity and pattern."""

    def row_of(cell: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(
            cell[name]
            for name in ("family", "budget", "sparsity", "pattern", "method", "recovery_steps")
        )

    rows = []
    for key, group in itertools.groupby(sorted(cells, key=row_of), row_of):
        found = list(group)
        recoveries = [each["recovery"] for each in found if each["recovery"] is not None]
        # Not in cells from before it was recorded.
        diverged = [each["divergence"] for each in found if "divergence" in each]
        rows.append(
            {
                **dict(
                    zip(
                        ("family", "budget", "sparsity", "pattern", "method", "recoverySteps"),
                        key,
                        strict=True,
                    )
                ),
                "seeds": [each["seed"] for each in found],
                "recovery": round(statistics.mean(recoveries), 4) if recoveries else None,
                "divergence": mean(diverged, 4) if diverged else None,
                "spread": round(max(recoveries) - min(recoveries), 4) if recoveries else None,
                "upstreamSeconds": mean(each["seconds"]["upstream"] for each in found),
                "runSeconds": mean(each["seconds"]["run"] for each in found),
            }
        )
    return sorted(rows, key=lambda row: (*list(row.values())[:4], row["divergence"] or 0.0))


def cells_of(options: argparse.Namespace) -> list[Cell]:
    """Returns the cells that are asked for, all methods of a seed before the next seed."""
    steps = options.recovery_steps
    if steps is None:
        steps = [_RECOVERY_STEPS[options.budget]]
    return [
        Cell(family, options.budget, method, sparsity, pattern, each, seed)
        for seed, family, sparsity, pattern, method, each in itertools.product(
            options.seeds,
            options.families,
            options.sparsities,
            options.patterns,
            options.methods,
            steps,
        )
    ]


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=_WORK, help="data, and the dense baselines")
    parser.add_argument("--budget", choices=_RECOVERY_STEPS, default="full")
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--sparsities", nargs="+", type=float, default=[0.8, 0.9])
    parser.add_argument("--patterns", nargs="+", default=["unstructured", "block4"])
    parser.add_argument(
        "--recovery-steps", nargs="+", type=int, help="default: 250, short 60, reduced 8"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    return parser.parse_args()


def main() -> int:
    """Runs what is missing, and writes the file after each cell."""
    options = parse()
    work = options.work.resolve()
    fill(options.output, cells_of(options), lambda cell: run_cell(cell, work), summary)
    return 0


if __name__ == "__main__":
    sys.exit(main())
