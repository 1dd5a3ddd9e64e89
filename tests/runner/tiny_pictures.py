"""What a tiny experiment on pictures starts from: three colours, a random network, a foundation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tests.runner.image_folders import COLOURS, write_folder

from sparse_transfer_runner.catalog.foundation import FOUNDATION_FILE, Foundation, Parent
from sparse_transfer_runner.catalog.image_architectures import architecture_named
from sparse_transfer_runner.digests import digest_of_tree
from sparse_transfer_runner.sparsity.prunable import prunable_weights, sparsity_of
from sparse_transfer_runner.sparsity.solve import magnitude_mask
from sparse_transfer_runner.use_cases.image_model import save_classifier

ARCHITECTURE = "timm/test_efficientnet"


def write_picture_sources(
    root: Path, name: str = ARCHITECTURE, settings: Mapping[str, Any] | None = None
) -> Path:
    """Writes ``data``, ``dense`` and ``foundation`` below a folder, and returns it.

    Args:
        root: Is there.
        name: Of an architecture.
        settings: What its builder is given.
    """
    architecture = architecture_named(name, settings)
    torch.manual_seed(0)
    net = architecture.build(3)
    net.head_modules = architecture.heads()  # type: ignore[assignment]
    net.config = {  # type: ignore[assignment]
        "architecture": architecture.name,
        "library": architecture.library,
        "label_names": list(COLOURS),
        **({"model_args": dict(settings)} if settings else {}),
    }
    save_classifier(net, root / "dense")
    with torch.no_grad():
        for weight in prunable_weights(net).values():
            weight.mul_(magnitude_mask(weight, 0.5))
    save_classifier(net, root / "foundation")
    record = Foundation(
        name="tiny",
        family="image",
        architecture=name,
        parent=Parent(uri=(root / "dense").as_uri(), digest=digest_of_tree(root / "dense")),
        sparsity=sparsity_of(prunable_weights(net)),
        method="magnitude",
        prunable=list(prunable_weights(net)),
    )
    (root / "foundation" / FOUNDATION_FILE).write_bytes(record.to_json())
    write_folder(root / "data", {"train": 48, "val": 16, "test": 24})
    return root
