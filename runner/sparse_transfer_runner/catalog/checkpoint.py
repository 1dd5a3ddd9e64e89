"""The weights in a Hugging Face folder, read without executing anything that the files hold.

``model.safetensors`` or ``pytorch_model.bin``, each in one file or in shards with an index. A
``.bin`` is a pickle: it is read by PyTorch's ``weights_only`` loader, which knows no globals but
tensors'. With trust, a short list of harmless globals is allowed on top; no other one ever is.
"""

from __future__ import annotations

import argparse
import collections
import datetime
import json
import pathlib
import pickle
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sparse_transfer_api.errors import AccessError, InputError

from .sparseml import plain_names

if TYPE_CHECKING:
    from torch import Tensor

SAFETENSORS = "huggingface-safetensors"
PICKLE = "huggingface-pytorch"

_FILES = (
    ("model.safetensors", SAFETENSORS),
    ("model.safetensors.index.json", SAFETENSORS),
    ("pytorch_model.bin", PICKLE),
    ("pytorch_model.bin.index.json", PICKLE),
)
"""In the order in which transformers looks for them."""

_SCALAR = np.float64(0).__reduce__()[0]
_RECONSTRUCT = np.zeros(1).__reduce__()[0]

TRUSTED_GLOBALS: Sequence[Any] = (
    argparse.Namespace,
    collections.Counter,
    collections.defaultdict,
    datetime.date,
    datetime.datetime,
    datetime.timedelta,
    dict,
    list,
    set,
    pathlib.PosixPath,
    np.dtype,
    np.ndarray,
    *(type(np.dtype(name)) for name in ("bool", "int32", "int64", "float32", "float64")),
    (_SCALAR, "numpy.core.multiarray.scalar"),
    (_SCALAR, "numpy._core.multiarray.scalar"),
    (_RECONSTRUCT, "numpy.core.multiarray._reconstruct"),
    (_RECONSTRUCT, "numpy._core.multiarray._reconstruct"),
)
"""What trainers leave beside the weights: plain containers, numbers, times. None of it acts."""

_ZIP = b"PK\x03\x04"
_PICKLE = b"\x80"
_POINTER = b"version https://git-lfs"
_START_BYTES = 64
_DAMAGE = (RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError, OSError)
"""What PyTorch raises on damaged files; a full list is nowhere stated."""


@dataclass(frozen=True)
class Checkpoint:
    """Where a folder's weights are.

    Args:
        files: All of them, one or the shards.
        format: ``huggingface-safetensors`` or ``huggingface-pytorch``.
        trusted: ``TRUSTED_GLOBALS`` are allowed in a pickle.
    """

    files: tuple[Path, ...]
    format: str
    trusted: bool = False

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yields every weight with its name; one file is in memory at a time, at most.

        What SparseML renamed for quantization-aware training has its plain name again.

        Raises:
            InputError: A file is damaged, incomplete, or would execute code.
        """
        for path in self.files:
            if self.format == SAFETENSORS:
                yield from plain_names(safetensors_in(path))
            else:
                weights = named_weights(path, unpickled(path, trusted=self.trusted))
                yield from plain_names(iter(weights.items()))


def find_checkpoint(folder: Path, *, trusted: bool = False) -> Checkpoint:
    """Finds the weights in a folder.

    Args:
        folder: A Hugging Face folder.
        trusted: The user trusts the files' origin.

    Raises:
        InputError: There are none, or the index names files that are not there.
    """
    for name, form in _FILES:
        path = folder / name
        if not path.is_file():
            continue
        files = _shards(path) if path.suffix == ".json" else (path,)
        return Checkpoint(files, form, trusted)
    found = ", ".join(sorted(path.name for path in folder.iterdir())[:12]) or "nothing"
    raise InputError(
        f"{folder}: no weights here; expected {' or '.join(name for name, _ in _FILES)}, "
        f"found {found}"
    )


def _shards(index: Path) -> tuple[Path, ...]:
    try:
        weights = json.loads(index.read_bytes())["weight_map"]
        names = sorted(set(weights.values()))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError(f"{index}: not an index of shards (no weight_map); fetch it again") from (
            error
        )
    outside = [name for name in names if Path(name).name != name]
    if outside:
        raise InputError(f"{index}: names {outside[0]!r}, which is not a file of this folder")
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing:
        raise InputError(
            f"{index}: {len(missing)} of {len(names)} shards are missing, such as {missing[0]}; "
            "fetch the model again"
        )
    return tuple(index.parent / name for name in names)


def _start_of(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            start = file.read(_START_BYTES)
    except PermissionError as error:
        raise AccessError(f"{path}: may not be read by this user") from error
    if not start:
        raise InputError(f"{path}: is empty; fetch the model again")
    if start.startswith(_POINTER):
        raise InputError(
            f"{path}: holds a Git LFS pointer instead of weights; run 'git lfs pull' there"
        )
    return start


def safetensors_in(path: Path) -> Iterator[tuple[str, Tensor]]:
    """Yields every tensor of a ``.safetensors`` file with its name.

    Raises:
        InputError: The file is damaged or cut short.
    """
    from safetensors import SafetensorError, safe_open

    _start_of(path)
    try:
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118 - the reader is no mapping
                yield name, file.get_tensor(name)
    except SafetensorError as error:
        raise _damaged(path, error) from error


def unpickled(
    path: Path, *, trusted: bool, stand_ins: Sequence[tuple[type[Any], str]] = ()
) -> object:
    """Returns what a PyTorch checkpoint holds: tensors and plain values; nothing is executed.

    Args:
        path: The file.
        trusted: ``TRUSTED_GLOBALS`` are allowed in it.
        stand_ins: With trust, classes to use in place of those that the file names so.

    Raises:
        InputError: The file is damaged, or would execute code.
    """
    import torch

    start = _start_of(path)
    if not start.startswith((_ZIP, _PICKLE)):
        raise InputError(f"{path}: no PyTorch checkpoint (it begins with {start[:12]!r})")
    allowed = [*TRUSTED_GLOBALS, *stand_ins] if trusted else []
    with torch.serialization.safe_globals(allowed), warnings.catch_warnings():
        # About pickle protocols; what they lead to is an error below.
        warnings.simplefilter("ignore", UserWarning)
        try:
            loaded: object = torch.load(
                path, map_location="cpu", weights_only=True, mmap=start.startswith(_ZIP)
            )
        except pickle.UnpicklingError as error:
            refused = _refused_globals(path, start, error)
            if not refused:
                raise _damaged(path, error) from error
            raise InputError(_refusal(path, refused, trusted)) from error
        except _DAMAGE as error:
            raise _damaged(path, error) from error
    return loaded


def _refused_globals(path: Path, start: bytes, error: pickle.UnpicklingError) -> list[str]:
    """Returns the globals that the loader refused, as far as they can be found unexecuted."""
    import torch

    if start.startswith(_ZIP):
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    # The old format: the loader names only the first one.
    return sorted(set(re.findall(r"GLOBAL ([\w.]+)", str(error))))


def _refusal(path: Path, refused: Sequence[str], trusted: bool) -> str:
    advice = (
        "no trust makes these allowed; save the weights alone, as safetensors"
        if trusted
        else "save the weights alone, as safetensors (for a few harmless ones, such as "
        "argparse.Namespace, spec.model.trust: Pickle or upstream's --trust-pickle is enough)"
    )
    return (
        f"{path}: a pickle that asks for {', '.join(refused)}, which loading would execute; "
        f"nothing was executed: {advice}"
    )


def _damaged(path: Path, error: Exception) -> InputError:
    reason = (str(error) or type(error).__name__).splitlines()[0][:200]
    return InputError(f"{path}: damaged or cut short ({reason}); fetch the model again")


def named_weights(path: Path, loaded: object) -> Mapping[str, Tensor]:
    """Returns the tensors in what was loaded, by name.

    Args:
        path: Where it was, for messages.
        loaded: What ``unpickled`` returned, or a part of it.

    Raises:
        InputError: It holds none.
    """
    from torch import Tensor

    if not isinstance(loaded, dict):
        raise InputError(f"{path}: holds a {type(loaded).__name__} instead of named weights")
    weights = {name: value for name, value in loaded.items() if isinstance(value, Tensor)}
    if not weights:
        names = ", ".join(map(str, list(loaded)[:8]))
        raise InputError(f"{path}: holds no named weights, but {names or 'nothing'}")
    return weights
