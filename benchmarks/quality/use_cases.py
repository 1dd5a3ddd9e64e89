"""Shows for every use case what a sparse INT8 model keeps of its dense baseline, on packaged data.

A cell is one use case and one seed: a foundation with four fifths of its weights zero, and one
experiment from it. It records the dense baseline's metric, the sparse INT8 model's on each engine,
the recovery with its bootstrap interval, rows, epochs and seconds. Use cases that start from one
model with the same upstream work share its foundation. The file is written after each cell, and
cells that it holds are not run again.

    python benchmarks/quality/use_cases.py --output benchmarks/quality/use_cases.json --seeds 0 1 2
    python benchmarks/quality/use_cases.py --output /tmp/reduced.json --budget reduced \
        --use-cases text-classification --seeds 0

``--epochs`` and ``--learning-rate`` try other ones than a use case's own; such cells are rows of
their own in the summary. Limits: the sets for detection and segmentation are tiny, and say that
everything works, not what is kept. With ``--budget reduced`` no figure says more than that.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from cells import extract, fill, foundation, keep_baselines_only, last_line, mean
from use_case_families import USE_CASES

from sparse_transfer_api.records import Manifest, Plan
from sparse_transfer_runner.provenance import provenance

SPARSITY = 0.8
_WORK = Path("runs/quality")
_UPSTREAM = {
    "full": ("--recovery-steps", "250"),
    "reduced": ("--method", "magnitude", "--recovery-steps", "8"),
}
"""Options of upstream work for which a family does not say how many steps recovery has."""


@dataclass(frozen=True, order=True)
class Cell:
    """One cell of the table.

    Args:
        use_case: Key of ``USE_CASES``.
        budget: ``reduced`` or ``full``.
        seed: Of everything random.
        epochs: Of the transfer; None for the use case's own.
        learning_rate: Of the transfer; None for the recipe's.
    """

    use_case: str
    budget: str
    seed: int
    epochs: float | None = None
    learning_rate: float | None = None


def upstream_of(cell: Cell) -> list[str]:
    """Returns the options of ``upstream`` that decide a cell's foundation."""
    family = USE_CASES[cell.use_case].family
    options = [*family.upstream, "--sparsity", str(SPARSITY), "--seed", str(cell.seed)]
    if cell.budget != "full":
        options += family.budgets[cell.budget].upstream
    if "--recovery-steps" not in options:
        options += _UPSTREAM[cell.budget]
    return options


def run_cell(cell: Cell, work: Path) -> dict[str, Any]:
    """Makes the foundation and runs the experiment; returns figures and seconds."""
    extract(USE_CASES[cell.use_case].family, work)
    if prepare := USE_CASES[cell.use_case].prepare:
        prepare(work)
    made, upstream = foundation(upstream_of(cell), work)
    experiment = experiment_of(cell, work)
    spec = experiment["spec"]
    spec["model"] = {**spec.get("model", {}), "uri": made.as_uri()}
    spec["output"] = {"uri": (work / "runs").as_uri()}
    spec["benchmark"] = {"batchSizes": [1]}
    path = work / "experiment.yaml"
    path.write_text(yaml.safe_dump(experiment))
    measured, seconds = last_line(["run", "-f", str(path)], "results")
    results, metric = measured["results"], measured["results"]["metric"]
    trained = trained_with(Path(measured["paths"]["manifest"]), spec)
    keep_baselines_only(work / "runs")
    return {
        **asdict(cell),
        "metric": metric["name"],
        "dense": metric.get("baseline"),
        "sparseInt8": {
            each["name"]: each["metric"] for each in results["engines"] if "metric" in each
        },
        "recovery": results.get("recovery"),
        "recoveryInterval": metric.get("interval"),
        "headline": {"engine": results["headline"]["engine"], "value": metric["value"]},
        "samples": metric["samples"],
        "split": metric["split"],
        "sparsity": results["sparsity"],
        "trained": trained,
        "upstream": upstream,
        "seconds": {"upstream": upstream["seconds"], "run": seconds},
        "load": round(os.getloadavg()[0], 2),
        "machine": provenance()["hardware"],
    }


def experiment_of(cell: Cell, work: Path) -> dict[str, Any]:
    """Returns a cell's experiment, without model and output."""
    experiment = USE_CASES[cell.use_case].family.experiment(work, cell.budget, cell.seed)
    asked = {"epochs": cell.epochs, "learningRate": cell.learning_rate}
    experiment["spec"]["training"] |= {
        name: value for name, value in asked.items() if value is not None
    }
    experiment["spec"].pop("export", None)
    return experiment


def trained_with(package: Path, spec: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what training was given, as the plan says it that led to a package's manifest."""
    manifest = Manifest.model_validate_json(package.read_bytes())
    prepared = package.parents[1] / f"prepare-{manifest.provenance['earlier']['prepare']}"
    plan = Plan.model_validate_json((prepared / "plan.json").read_bytes())
    baseline = plan.baseline
    return {
        "rows": {
            split.name: min(split.samples, limit) if limit else split.samples
            for split in plan.splits
            for limit in (
                plan.training.max_train_samples if split.name == "train" else plan.max_eval_samples,
            )
        },
        "epochs": plan.training.epochs,
        "baselineEpochs": baseline.epochs if baseline else None,
        "learningRate": plan.training.learning_rate,
        "batchSize": plan.training.batch_size,
        "maxSequenceLength": plan.max_sequence_length,
        "imageSize": spec["training"].get("imageSize"),
    }


def summary(cells: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the table: for each use case and budget the means over seeds, and their ratios.

    The ratio of the means weighs seeds by their baselines, so that one with a poor baseline does
    not decide.
    """

    def row_of(cell: dict[str, Any]) -> tuple[Any, ...]:
        return cell["use_case"], cell["budget"], cell["epochs"] or 0, cell["learning_rate"] or 0

    rows = []
    for (use_case, budget, _, _), group in itertools.groupby(sorted(cells, key=row_of), row_of):
        found = sorted(group, key=lambda cell: cell["seed"])
        dense = mean((cell["dense"] or 0 for cell in found), 4)
        sparse = {
            engine: mean((cell["sparseInt8"][engine] for cell in found), 4)
            for engine in found[0]["sparseInt8"]
        }
        recoveries = [cell["recovery"] for cell in found if cell["recovery"] is not None]
        rows.append(
            {
                "useCase": use_case,
                "budget": budget,
                "epochs": found[0]["trained"]["epochs"],
                "learningRate": found[0]["trained"]["learningRate"],
                "seeds": [cell["seed"] for cell in found],
                "samples": found[0]["samples"],
                "metric": found[0]["metric"],
                "dense": dense,
                "sparseInt8": sparse,
                "ratioOfMeans": {
                    engine: round(value / dense, 4) if dense else None
                    for engine, value in sparse.items()
                },
                "recoveries": recoveries,
                "runSeconds": mean(cell["seconds"]["run"] for cell in found),
            }
        )
    return rows


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=_WORK, help="data, foundations, baselines")
    parser.add_argument("--budget", choices=["reduced", "full"], default="full")
    parser.add_argument("--use-cases", nargs="+", choices=USE_CASES, default=list(USE_CASES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=float, help="default: the use case's own")
    parser.add_argument("--learning-rate", type=float, help="default: the recipe's")
    return parser.parse_args()


def main() -> int:
    """Runs what is missing, and writes the file after each cell."""
    options = parse()
    work = options.work.resolve()
    asked = (
        Cell(name, options.budget, seed, options.epochs, options.learning_rate)
        for seed, name in itertools.product(options.seeds, options.use_cases)
    )
    fill(options.output, asked, lambda cell: run_cell(cell, work), summary)
    return 0


if __name__ == "__main__":
    sys.exit(main())
