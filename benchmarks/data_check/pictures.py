"""What checking a folder of pictures costs, as a ratio to opening each with Pillow, and its memory.

Small JPEGs of a few thousand bytes each, hard links to a few that are drawn. Opening
(``PIL.Image.open`` in a loop, which reads a header) and checking take turns within one run, so that
a machine that changes its speed changes it for both. The check lists the folders, reads every
file for its SHA-256, reads every header, and decodes one picture in a hundred of train. Peak memory
is that of a process that does nothing but the check. Prints JSON.

    python benchmarks/data_check/pictures.py > benchmarks/data_check/pictures.json
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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sparse_transfer_runner.engines.cpu import instruction_set
from sparse_transfer_runner.pictures.check import check_pictures, decoded_step
from sparse_transfer_runner.provenance import hardware

_GOAL, _GOAL_BYTES = 0.8, 500 << 20
_CLASSES = 100
_DRAWN = 50
_SIDE = 96
_SPLITS = {"train": 0.9, "val": 0.1}


def write(folder: Path, pictures: int) -> Path:
    """Writes a folder with so many pictures in all."""
    drawn = [_drawn(folder.with_name(f"{number}.jpg"), number) for number in range(_DRAWN)]
    for split, share in _SPLITS.items():
        for number in range(_CLASSES):
            (folder / split / f"class-{number:03}").mkdir(parents=True)
        for number in range(round(pictures * share)):
            name = folder / split / f"class-{number % _CLASSES:03}" / f"{number:06}.jpg"
            # Other pictures in val than in train.
            os.link(drawn[2 * (number % (_DRAWN // 2)) + (split == "val")], name)
    return folder


def _drawn(path: Path, number: int) -> Path:
    random = np.random.default_rng(number)
    coarse = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
    noise = random.integers(-8, 9, (_SIDE, _SIDE, 3))
    Image.fromarray((np.asarray(smooth) + noise).clip(0, 255).astype(np.uint8)).save(path)
    return path


def open_all(folder: Path) -> None:
    """Opens each picture, and does nothing else."""
    for place, _, names in os.walk(folder):
        for name in names:
            with Image.open(f"{place}/{name}"):
                pass


def check(folder: Path) -> None:
    """Checks the folder as prepare does."""
    check_pictures(folder)


def seconds(work: Callable[[Path], None], folder: Path) -> float:
    """Returns how long one run takes."""
    started = time.perf_counter()
    work(folder)
    return time.perf_counter() - started


def own_peak_bytes() -> int:
    """Returns this process's peak memory; unlike getrusage's, it leaves out its parent's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def peak_bytes(folder: Path) -> int:
    """Returns the peak memory of a process that checks the folder."""
    done = subprocess.run(
        [sys.executable, __file__, "--only-check", str(folder)], capture_output=True, check=True
    )
    return int(done.stdout)


def measure(pictures: int, rounds: int) -> dict[str, Any]:
    """Returns times, their ratio and the memory."""
    with tempfile.TemporaryDirectory() as root:
        folder = write(Path(root, "data"), pictures)
        size = next((folder / "train" / "class-000").iterdir()).stat().st_size
        check(folder), open_all(folder)  # both from the page cache
        times = [(seconds(open_all, folder), seconds(check, folder)) for _ in range(rounds)]
        peak = peak_bytes(folder)
    opening, checking = (list(each) for each in zip(*times, strict=True))
    return {
        "ratio": round(statistics.median(opening) / statistics.median(checking), 3),
        "ratioOfMinima": round(min(opening) / min(checking), 3),
        "goal": _GOAL,
        "openSeconds": [round(each, 3) for each in opening],
        "checkSeconds": [round(each, 3) for each in checking],
        "picturesPerSecond": round(pictures / statistics.median(checking)),
        "pictures": pictures,
        "decodedOneIn": {
            split: decoded_step(round(pictures * share)) for split, share in _SPLITS.items()
        },
        "bytesOfOne": size,
        "rounds": rounds,
        "peakBytes": peak,
        "goalBytes": _GOAL_BYTES,
    }


def main() -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only-check", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only_check:
        check(options.only_check)
        print(own_peak_bytes())
        return 0
    before = round(os.getloadavg()[0], 1)
    results = measure(options.pictures, options.rounds)
    load = [before, round(os.getloadavg()[0], 1)]
    machine = {"isa": instruction_set(), **hardware(), "load": load}
    print(json.dumps({"results": results, "machine": machine}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
