"""Detectors for tests: YOLOv8's layers, a twentieth of its smallest network's weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from sparse_transfer_runner.catalog.foundation import FOUNDATION_FILE, Foundation, Parent
from sparse_transfer_runner.digests import digest_of_tree
from sparse_transfer_runner.sparsity.prunable import prunable_weights, sparsity_of
from sparse_transfer_runner.sparsity.solve import magnitude_mask
from sparse_transfer_runner.yolo.network import Detector, build_network, detector_of, save_detector

ARCHITECTURE: dict[str, Any] = {
    "nc": 2,
    "depth_multiple": 0.33,
    "width_multiple": 0.125,
    "backbone": [
        [-1, 1, "Conv", [64, 3, 2]],
        [-1, 1, "Conv", [128, 3, 2]],
        [-1, 3, "C2f", [128, True]],
        [-1, 1, "Conv", [256, 3, 2]],
        [-1, 3, "C2f", [256, True]],
        [-1, 1, "SPPF", [256, 5]],
    ],
    "head": [
        [-1, 1, "nn.Upsample", ["None", 2, "nearest"]],
        [[-1, 2], 1, "Concat", [1]],
        [-1, 3, "C2f", [128]],
        [[8, 5], 1, "Detect", ["nc"]],
    ],
}


SEGMENTING: dict[str, Any] = {
    **ARCHITECTURE,
    "head": [*ARCHITECTURE["head"][:-1], [[8, 5], 1, "Segment", ["nc", 8, 64]]],
}
"""The same with a head that outlines: eight prototypes."""


def tiny_detector(
    labels: Sequence[str], architecture: Mapping[str, Any] = ARCHITECTURE
) -> Detector:
    """Returns a detector with weights of chance, the same at every call."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return detector_of(build_network(architecture, classes=len(labels)), labels).eval()


def write_detectors(
    root: Path,
    labels: Sequence[str],
    sparsity: float = 0.5,
    architecture: Mapping[str, Any] = ARCHITECTURE,
) -> None:
    """Writes ``dense`` and the ``foundation`` that was made from it."""
    detector = tiny_detector(labels, architecture)
    save_detector(detector, root / "dense")
    with torch.no_grad():
        for weight in prunable_weights(detector).values():
            weight.mul_(magnitude_mask(weight, sparsity))
    save_detector(detector, root / "foundation")
    record = Foundation(
        name="tiny",
        family="segmentation" if architecture is SEGMENTING else "detection",
        architecture="YOLOv8",
        parent=Parent(uri=(root / "dense").as_uri(), digest=digest_of_tree(root / "dense")),
        sparsity=sparsity_of(prunable_weights(detector)),
        method="magnitude",
        prunable=list(prunable_weights(detector)),
    )
    (root / "foundation" / FOUNDATION_FILE).write_bytes(record.to_json())
