"""The program that measures convolutions, run for real on small pictures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("sparse_transfer_kernels", reason="make kernels")
program = pytest.importorskip("benchmarks.kernels.convolutions")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "layers"),
    [
        # 15 expansions, 16 projections and the head.
        ("efficientnet_lite0", 32),
        # All but the first, which reads three channels.
        ("resnet50", 52),
    ],
)
def test_every_convolution_that_kernels_take_is_measured(
    tmp_path: Path, architecture: str, layers: int
) -> None:
    output = tmp_path / "results.json"
    words = ["--side", "32", "--seconds", "0.2", "--threads", "1", "--sparsities", "0.9"]
    words += ["--architectures", architecture, "--patterns", "block4"]
    assert program.main([*words, "--output", str(output)]) == 0
    (found,) = json.loads(output.read_text())["networks"]
    assert len(found["layers"]) == layers
    assert 0 < found["sums"]["chosen"] <= found["sums"]["INT8"]
    assert found["network"].keys() == {"fp32", "INT8", "sparse"}
