"""What SparseML and the SparseZoo leave behind, read as the plain models that they hold.

SparseML saves a model in the middle of quantization-aware training: modules are wrapped, so that
``query.weight`` is called ``query.module.weight``, and observers lie beside the weights. The
weights themselves are fp32 still, with their zeros. A SparseZoo folder keeps the Hugging Face
folder in ``training/``, beside what was deployed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from sparse_transfer_api.errors import InputError

TRAINING = "training"
_CONFIG = "config.json"
_ZOO_PARTS = (
    "deployment",
    "model.onnx",
    "model.onnx.tar.gz",
    "recipe",
    "recipe.md",
    "deployment.tar.gz",
)

_WRAPPED = re.compile(r"\.module\.(weight|bias|bn\.\w+)$")
_OBSERVER = re.compile(r"(^|\.)(quant|weight_fake_quant|activation_post_process)\.")

Value = TypeVar("Value")


def plain_names(named: Iterator[tuple[str, Value]]) -> Iterator[tuple[str, Value]]:
    """Yields the weights under the names that they had before SparseML wrapped their modules.

    Args:
        named: As saved; the state of observers among it is left out. Names of other models pass
            unchanged.
    """
    for name, value in named:
        if not _OBSERVER.search(name):
            yield _WRAPPED.sub(r".\1", name), value


def is_zoo_folder(folder: Path) -> bool:
    """Whether a folder is laid out as the SparseZoo does, and is no Hugging Face folder itself."""
    if (folder / _CONFIG).is_file():
        return False
    return any((folder / name).exists() for name in (TRAINING, *_ZOO_PARTS))


def training_part(folder: Path) -> Path:
    """Returns what can be trained: of a SparseZoo folder its ``training/``, else what is given.

    Args:
        folder: A model's folder, or its file.
    """
    part = folder / TRAINING
    if (folder / _CONFIG).is_file():
        return folder
    return part if (part / _CONFIG).is_file() or any(part.glob("*.pth")) else folder


def require_training_files(folder: Path, shown: str) -> None:
    """Makes sure that a SparseZoo folder can be trained from.

    Args:
        folder: One of which ``is_zoo_folder`` is true.
        shown: How to call it in errors.

    Raises:
        InputError: Its training files are missing.
    """
    if (folder / TRAINING / _CONFIG).is_file():
        return
    found = ", ".join(sorted(path.name for path in folder.iterdir())[:12]) or "nothing"
    advice = training_advice(folder, "the Hugging Face folder that it was trained from")
    raise InputError(
        f"{shown}: a SparseZoo folder without training files (expected {TRAINING}/{_CONFIG}, a "
        f"tokenizer and weights; found {found}); {advice}"
    )


def training_advice(folder: Path, instead: str) -> str:
    """Returns what to do about a SparseZoo folder that lacks its training files.

    Args:
        folder: The folder.
        instead: What else could be given, as it came out of training.
    """
    packed = sorted(path.name for path in folder.glob(f"{TRAINING}*.tar.gz"))
    if packed:
        return f"unpack {packed[0]} in it"
    return (
        f"fetch the model with them, or give {instead}; what lies in deployment/ and model.onnx "
        "cannot be trained"
    )
