from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

from sparse_transfer_runner.packaging.sizes import FileSize, gzip_size, sizes_of


def test_the_compressed_size_is_that_of_gzip_9(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=700_000).astype(np.float32)
    values[values < 0.5] = 0
    path = tmp_path / "model.bin"
    path.write_bytes(values.tobytes())
    with_gzip = len(gzip.compress(path.read_bytes(), 9, mtime=0))
    assert abs(gzip_size(path) - with_gzip) < 32  # headers differ by name and time


def test_the_files_of_a_model_count_together(tmp_path: Path) -> None:
    first, second = tmp_path / "model.xml", tmp_path / "model.bin"
    first.write_bytes(b"x" * 100)
    second.write_bytes(b"y" * 1000)
    [size, alone] = sizes_of([(first, second), (first,)], workers=2)
    assert size == FileSize(1100, gzip_size(first) + gzip_size(second))
    assert alone.raw == 100
