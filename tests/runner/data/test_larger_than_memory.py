from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

from tests.runner.tiny_models import write_tiny_encoder

MIB = 1 << 20
LIMIT = 24 * MIB
ROWS = 180_000


def write_texts(folder: Path) -> Path:
    """Writes a CSV that is clearly larger than the limit, and so are its tokens."""
    folder.mkdir()
    words = random.Random(0)
    texts = [" ".join(words.choices(("a", "film", "is", "it", "the"), k=64)) for _ in range(500)]
    with (folder / "train.csv").open("w") as file:
        file.write("text,label\n")
        for number in range(ROWS):
            good = number % 2
            file.write(f"{'good' if good else 'bad'} {texts[number % 500]},{good}\n")
    (folder / "val.csv").write_text("text,label\ngood film,1\nbad film,0\n")
    return folder


def test_texts_of_more_than_the_memory_are_checked_and_encoded(tmp_path: Path) -> None:
    data = write_texts(tmp_path / "data")
    assert (data / "train.csv").stat().st_size > 1.5 * LIMIT
    model = write_tiny_encoder(tmp_path / "model")
    done = subprocess.run(
        [sys.executable, "-m", "tests.runner.data.limited_reading", str(LIMIT), data, model],
        env={**os.environ, "OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout.splitlines()[-1])
    # All of train but the tenth that choices are made on.
    assert read["rows"] == ROWS * 9 // 10
    assert read["featureBytes"] > 1.5 * LIMIT
    assert read["sameAgain"]
