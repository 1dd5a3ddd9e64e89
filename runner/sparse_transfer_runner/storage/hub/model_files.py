"""Which files of a model's repository are needed: those that PyTorch reads, once.

Repositories hold the same weights for other frameworks, in other formats, and from the middle of
training. These are left out where a folder, or one above it, has weights that can be read.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from pathlib import PurePosixPath

SELECTION = 1
"""Changes with this module: what was fetched by another selection is not what is meant."""

_SAFETENSORS = re.compile(r"model(-\d+-of-\d+)?\.safetensors(\.index\.json)?")
_PICKLED = re.compile(r"pytorch_model(-\d+-of-\d+)?\.bin(\.index\.json)?")
_OTHER_FOLDERS = {"onnx", "openvino", "coreml", "flax", "tflite", "runs", "logs"}
_OTHER_FILES = re.compile(
    r".*\.(h5|msgpack|ot|onnx|onnx_data|tflite|mlmodel|gguf|ckpt|ckpt-\d+\..*|index|meta)"
    r"|openvino_.*|(optimizer|scheduler|rng_state.*)\.(pt|pth|bin)|events\.out\..*"
)
_CHECKPOINT = re.compile(r"checkpoint-\d+")
_NEVER = {".gitattributes", ".gitignore"}


def needed(paths: Iterable[str]) -> list[str]:
    """Returns the paths of a repository that a model needs, in their order."""
    files = [PurePosixPath(path) for path in paths]
    safe = {path.parent for path in files if _SAFETENSORS.fullmatch(path.name)}
    pickled = {path.parent for path in files if _PICKLED.fullmatch(path.name)}
    return [
        str(path)
        for path in files
        if path.name not in _NEVER
        and not (_PICKLED.fullmatch(path.name) and path.parent in safe)
        and not (_beside(path, safe | pickled) and _other(path, safe | pickled))
    ]


def _beside(path: PurePosixPath, weights: Collection[PurePosixPath]) -> bool:
    return any(folder in weights for folder in path.parents)


def _other(path: PurePosixPath, weights: Collection[PurePosixPath]) -> bool:
    """Returns whether a file is of another framework, or of an unfinished training."""
    if _OTHER_FILES.fullmatch(path.name):
        return True
    folders = path.parts[:-1]
    return any(
        part in _OTHER_FOLDERS or _CHECKPOINT.fullmatch(part)
        for depth, part in enumerate(folders)
        if _beside(PurePosixPath(*folders[: depth + 1]), weights)
    )
