"""The program that measures 1x1 convolutions, run for real on small pictures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("sparse_transfer_kernels", reason="make kernels")
program = pytest.importorskip("benchmarks.kernels.convolutions")


@pytest.mark.slow
def test_every_convolution_that_kernels_take_is_measured(tmp_path: Path) -> None:
    output = tmp_path / "results.json"
    words = ["--side", "32", "--seconds", "0.2", "--threads", "1", "--sparsities", "0.9"]
    assert program.main([*words, "--patterns", "block4", "--output", str(output)]) == 0
    (found,) = json.loads(output.read_text())["networks"]
    # 15 expansions, 16 projections and the head.
    assert len(found["layers"]) == 32
    assert 0 < found["sums"]["chosen"] <= found["sums"]["INT8"]
    assert found["network"].keys() == {"fp32", "INT8", "sparse"}
