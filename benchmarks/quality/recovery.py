"""Says what each means of a higher recovery buys: MiniLM on film reviews, a row for each.

A row is a foundation (options of ``upstream``) and a transfer (variables of the packaged recipe,
and modifiers added to it). Each says from which other row it differs in one thing. Two measures:

- recovery, accuracy against the dense baseline's on the same engine; on the test rows of one seed
  its 95 % interval is about 0.013 wide either way, so rows are not chosen by it;
- divergence, the mean KL divergence from the dense baseline's answers to the sparse model's in
  training (nats), which is read from all of an answer and tells rows apart.

    python benchmarks/quality/recovery.py --output benchmarks/quality/recovery.json --part choice
    python benchmarks/quality/recovery.py --output benchmarks/quality/recovery.json \
        --part test --rows quickstart "12 epochs of these" --seeds 0 1 2

``--part choice`` measures on 800 of the validation rows, the other 200 being what checkpoints are
chosen by; rows are chosen there, and reported on the 3000 test rows. The file is written after each
cell, and cells that it holds are not run again.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml
from cells import divergence_of, extract, fill, foundation, keep_baselines_only, last_line, mean
from families import FAMILIES

from sparse_transfer_runner.provenance import provenance
from sparse_transfer_runner.recipes import default_recipe

_FAMILY = FAMILIES["minilm"]
_WORK = Path("runs/quality")
_CHOOSING_ROWS = 200
_HIDDEN_STATES = ("re:.*\\.layer\\.\\d+$",)
_ATTENTION = ("re:.*\\.self\\.(query|key|value)$",)
"""What attention is computed from: student and teacher are as wide, so nothing else is needed."""


@dataclass(frozen=True)
class Row:
    """One way of making a model.

    Args:
        beside: The row that it differs from in one thing.
        upstream: Options of ``upstream`` beside model, data, sparsity and seed.
        recipe: Variables of the recipe that are set.
        followed: Layers whose outputs the student follows besides, as patterns of their names.
        epochs: Of the dense baseline and the sparse model alike; a recipe's are the latter's alone.
    """

    beside: str | None
    upstream: Sequence[str] = ("--recovery-steps", "0")
    recipe: Mapping[str, float] = field(default_factory=dict)
    followed: Sequence[str] = ()
    epochs: int | None = None


_HIGHER = {"lr": 8e-4}

ROWS: dict[str, Row] = {
    "quickstart": Row(None),
    "4 epochs": Row("quickstart", recipe={"num_epochs": 4}),
    "higher rate": Row("quickstart", recipe=_HIGHER),
    "hidden states": Row("quickstart", followed=_HIDDEN_STATES),
    "hidden states and attention": Row("hidden states", followed=(*_HIDDEN_STATES, *_ATTENTION)),
    "refined mask": Row("quickstart", ("--recovery-steps", "0", "--refine-rounds", "10")),
    "layer budgets": Row("quickstart", ("--recovery-steps", "0", "--budgets", "layer-error")),
    "block-wise": Row("quickstart", ("--recovery-steps", "0", "--block-steps", "60")),
    "upstream recovery": Row("quickstart", ("--recovery-steps", "1500")),
    "hidden states, higher rate": Row("hidden states", recipe=_HIGHER, followed=_HIDDEN_STATES),
    "6 epochs of these": Row(
        "hidden states, higher rate", recipe={**_HIGHER, "num_epochs": 6}, followed=_HIDDEN_STATES
    ),
    "12 epochs of these": Row(
        "hidden states, higher rate", recipe={**_HIGHER, "num_epochs": 12}, followed=_HIDDEN_STATES
    ),
    "12 epochs of these, dense too": Row(
        "12 epochs of these", recipe=_HIGHER, followed=_HIDDEN_STATES, epochs=12
    ),
}


@dataclass(frozen=True, order=True)
class Cell:
    """One cell of the table.

    Args:
        row: Key of ``ROWS``.
        part: ``choice`` or ``test``: what is measured on.
        sparsity: Of the foundation.
        seed: Of everything random.
    """

    row: str
    part: str
    sparsity: float
    seed: int


def write_choice(work: Path) -> None:
    """Writes the film reviews with validation rows to measure on, and others to choose by."""
    source, target = work / "data", work / "data-choice"
    target.mkdir(exist_ok=True)
    (target / "train.csv").write_bytes((source / "train.csv").read_bytes())
    with (source / "val.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    for name, part in (("val", rows[:_CHOOSING_ROWS]), ("test", rows[_CHOOSING_ROWS:])):
        with (target / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([header, *part])


def experiment_of(cell: Cell, work: Path) -> dict[str, Any]:
    """Returns a cell's experiment, without model and output."""
    row = ROWS[cell.row]
    experiment = _FAMILY.experiment(work, "full", cell.seed)
    experiment["metadata"]["name"] = f"reviews-{cell.part}-{cell.seed}"
    if row.epochs is not None:
        experiment["spec"]["training"]["epochs"] = row.epochs
    if cell.part == "choice":
        experiment["spec"]["data"]["uri"] = (work / "data-choice").as_uri()
    recipe = default_recipe("text", sparse=True, quantize=True)
    if row.followed:
        # The packaged recipe's last list is that of distillation modifiers.
        followed = {"gain": 1.0, "student_layer_names": list(row.followed)}
        recipe += f"\n  - !PerLayerDistillationModifier {json.dumps(followed)}\n"
    experiment["spec"]["recipe"] = {"inline": recipe, "args": dict(row.recipe)}
    # What is wanted is accuracy: one latency is enough.
    experiment["spec"]["benchmark"] = {"batchSizes": [1]}
    return experiment


def run_cell(cell: Cell, work: Path) -> dict[str, Any]:
    """Makes the foundation and runs the experiment; returns figures and seconds."""
    options = [*_FAMILY.upstream, *ROWS[cell.row].upstream]
    options += ["--sparsity", str(cell.sparsity), "--seed", str(cell.seed)]
    made, upstream = foundation(options, work)
    experiment = experiment_of(cell, work)
    experiment["spec"]["model"] = {"uri": made.as_uri()}
    experiment["spec"]["output"] = {"uri": (work / "runs").as_uri()}
    path = work / "recovery.yaml"
    path.write_text(yaml.safe_dump(experiment))
    measured, seconds = last_line(["run", "-f", str(path)], "results")
    results, metric = measured["results"], measured["results"]["metric"]
    runs = work / "runs" / "default" / experiment["metadata"]["name"]
    diverged = divergence_of(runs)
    keep_baselines_only(work / "runs")
    return {
        **asdict(cell),
        "dense": metric["baseline"],
        "sparseInt8": metric["value"],
        "recovery": results["recovery"],
        "interval": metric["interval"],
        "divergence": diverged,
        "samples": metric["samples"],
        "quality": upstream["quality"],
        "seconds": {"upstream": upstream["seconds"], "run": seconds},
        "load": round(os.getloadavg()[0], 2),
        "machine": provenance()["hardware"],
    }


def summary(cells: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the table: of each row the ratio of the means over seeds, least divergence first."""

    def row_of(cell: dict[str, Any]) -> tuple[Any, ...]:
        return cell["part"], cell["sparsity"], cell["row"]

    rows = []
    for (part, sparsity, name), group in itertools.groupby(sorted(cells, key=row_of), row_of):
        found = sorted(group, key=lambda cell: cell["seed"])
        dense, sparse = (mean((cell[of] for cell in found), 4) for of in ("dense", "sparseInt8"))
        rows.append(
            {
                "part": part,
                "sparsity": sparsity,
                "row": name,
                "beside": ROWS[name].beside if name in ROWS else None,
                "seeds": [cell["seed"] for cell in found],
                "samples": found[0]["samples"],
                "dense": dense,
                "sparseInt8": sparse,
                "ratioOfMeans": round(sparse / dense, 4),
                "recoveries": [cell["recovery"] for cell in found],
                "intervalOfOneRun": {
                    end: mean((cell["interval"][end] for cell in found), 4)
                    for end in ("low", "high")
                },
                "divergence": mean((cell["divergence"] for cell in found), 4),
                "upstreamSeconds": mean(cell["seconds"]["upstream"] for cell in found),
                "runSeconds": mean(cell["seconds"]["run"] for cell in found),
            }
        )
    return sorted(rows, key=lambda row: (row["part"], row["sparsity"], row["divergence"]))


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=_WORK, help="data, and the dense baselines")
    parser.add_argument("--part", choices=["choice", "test"], default="choice")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--sparsities", nargs="+", type=float, default=[0.8])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    return parser.parse_args()


def main() -> int:
    """Runs what is missing, and writes the file after each cell."""
    options = parse()
    work = options.work.resolve()
    extract(_FAMILY, work)
    write_choice(work)
    asked = (
        Cell(row, options.part, sparsity, seed)
        for seed, sparsity, row in itertools.product(
            options.seeds, options.sparsities, options.rows
        )
    )
    shown = ("recovery", "divergence", "seconds")
    fill(options.output, asked, lambda cell: run_cell(cell, work), summary, shown)
    return 0


if __name__ == "__main__":
    sys.exit(main())
