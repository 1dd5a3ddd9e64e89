"""Prints what runs recorded, and fails where the recovery is too low.

python benchmarks/quickstart/recorded.py --min-recovery 0.96 examples/quickstart/runs
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from sparse_transfer_api.records import Manifest


def recorded(runs: Path) -> list[dict[str, Any]]:
    """Returns the results of every finished package stage below a folder, oldest first."""
    manifests = [
        Manifest.model_validate_json(path.read_bytes())
        for path in runs.glob("*/*/package-*/manifest.json")
    ]
    return [
        {"key": manifest.key, **manifest.results.to_json_dict()}
        for manifest in sorted(manifests, key=lambda each: each.created)
        if manifest.results is not None
    ]


def main() -> int:
    """Prints the recorded results as JSON; returns 1 where the newest misses the recovery."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--min-recovery", type=float, default=0.0)
    options = parser.parse_args()
    results = recorded(options.runs)
    if not results:
        print(f"{options.runs}: no finished run", file=sys.stderr)
        return 1
    print(json.dumps(results, indent=2))
    recovery = results[-1].get("recovery")
    if recovery is None or recovery < options.min_recovery:
        print(f"recovery {recovery} is below {options.min_recovery}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
