"""What a tiny experiment starts from: reviews, a random encoder, and a foundation made from it."""

from __future__ import annotations

import random
from pathlib import Path

from tests.runner.tiny_models import WORDS, write_tiny_encoder

from sparse_transfer_api.contract import Stage
from sparse_transfer_runner.progress import Reporter
from sparse_transfer_runner.upstream import UpstreamOptions, make_foundation

GOOD, BAD = ("fine", "good", "great"), ("bad", "dull", "poor")


def write_sources(root: Path) -> Path:
    """Writes ``data``, ``dense`` and ``foundation`` below a folder, and returns it."""
    write_reviews(root / "data")
    write_sentences(root / "sentences.txt")
    make_foundation(
        UpstreamOptions(
            model=write_tiny_encoder(root / "dense").as_uri(),
            data=root / "sentences.txt",
            output=root / "foundation",
            sparsity=0.5,
            calibration_rows=96,
            recovery_steps=0,
        ),
        Reporter(Stage.PREPARE, lambda _: None),
    )
    return root


def write_sentences(file: Path) -> None:
    """Writes texts without labels, one a line."""
    words = random.Random(1)
    file.write_text("\n".join(" ".join(words.choices(WORDS[5:], k=8)) for _ in range(400)))


def write_reviews(folder: Path, rows: int = 120) -> None:
    """Writes reviews whose label follows from one of their words."""
    folder.mkdir()
    words = random.Random(0)
    for split, count in (("train", rows), ("val", 40), ("test", 40)):
        lines = ["text,label"]
        for _ in range(count):
            label = words.choice(("negative", "positive"))
            telling = words.choice(GOOD if label == "positive" else BAD)
            text = [*words.choices(("a", "film", "it", "the", "this"), k=words.randint(2, 8))]
            text.insert(words.randrange(len(text)), telling)
            lines.append(f"{' '.join(text)},{label}")
        (folder / f"{split}.csv").write_text("\n".join(lines) + "\n")
