from __future__ import annotations

import random
from pathlib import Path

import pytest
from tests.runner.tiny_models import WORDS, write_tiny_encoder

from sparse_transfer_runner.upstream import UpstreamOptions


@pytest.fixture
def options(tmp_path: Path) -> UpstreamOptions:
    words = random.Random(0)
    lines = [" ".join(words.choices(WORDS[5:], k=words.randint(3, 12))) for _ in range(400)]
    sentences = tmp_path / "sentences.txt"
    sentences.write_text("\n".join(lines))
    return UpstreamOptions(
        model=write_tiny_encoder(tmp_path / "dense").as_uri(),
        data=sentences,
        output=tmp_path / "foundation",
        sparsity=0.5,
        calibration_rows=96,
        recovery_steps=0,
        batch_size=16,
    )
