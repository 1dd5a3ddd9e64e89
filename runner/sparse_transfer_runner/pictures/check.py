"""Checking an image folder: every picture is decoded once, and all problems are told at once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from sparse_transfer_api.errors import AccessError
from sparse_transfer_runner.cores import usable_processors
from sparse_transfer_runner.data.findings import Findings, shown
from sparse_transfer_runner.data.labels import from_csv, sorted_names
from sparse_transfer_runner.digests import digest_of_digests, sha256_of
from sparse_transfer_runner.storage.settings import settings

from .folders import SplitFolder, find_split_folders, list_split
from .preprocessing import PictureError, read_picture

_SMALLEST_SIDE = 2
_SHOWN_CLASSES = 8
_AT_ONCE = 1024
"""Pictures whose results are waited for together; a stop is noticed between."""


@dataclass(frozen=True)
class CheckedPictures:
    """An image folder without errors.

    Args:
        labels: The classes of train, in the order of the model's outputs.
        splits: Split name to its pictures; train and val at least.
        digests: Of each split.
        warnings: What a user should know, though nothing is wrong.
    """

    labels: tuple[str, ...]
    splits: dict[str, SplitFolder]
    digests: dict[str, str]
    warnings: tuple[str, ...]

    @property
    def digest(self) -> str:
        """SHA-256 over all splits' names and contents."""
        listed = "".join(f"{name}\0{digest}\n" for name, digest in self.digests.items())
        return hashlib.sha256(listed.encode()).hexdigest()


@dataclass(frozen=True)
class _Looked:
    """What one picture turned out to be."""

    sha256: str
    problem: tuple[str, str] | None = None


def check_pictures(root: Path) -> CheckedPictures:
    """Checks all splits of an image folder; only reads.

    Raises:
        InputError: With every problem found (bounded), each with its file.
        AccessError: A file may not be read.
    """
    findings = Findings()
    splits = {
        name: list_split(root, name, path, findings)
        for name, path in find_split_folders(root, findings).items()
    }
    _check_classes(splits, findings)
    digests, contents = {}, {}
    for name, split in splits.items():
        found = look_at(split.path, [f"{label}/{file}" for label, file in split.files()], findings)
        contents[name] = set(found.values())
        digests[name] = digest_of_digests(found)
    findings.raise_if_any(str(root))
    labels = tuple(sorted_names(_as_number(name) for name in splits["train"].classes))
    return CheckedPictures(labels, splits, digests, tuple(_warnings(splits, contents)))


def check_files(root: Path, files: Sequence[str]) -> str:
    """Checks pictures that have no classes; only reads.

    Args:
        root: Their folder.
        files: Their paths below it.

    Returns:
        SHA-256 over their names and contents.

    Raises:
        InputError: With every problem found (bounded), each with its file.
        AccessError: A file may not be read.
    """
    findings = Findings()
    digest = digest_of_digests(look_at(root, files, findings))
    findings.raise_if_any(str(root))
    return digest


def _as_number(name: str) -> object:
    """Returns an integer for a name that is one as it is written, so that 10 comes after 9."""
    value = from_csv(name)
    return value if isinstance(value, int) and str(value) == name else name


def _check_classes(splits: dict[str, SplitFolder], findings: Findings) -> None:
    train = splits.get("train")
    if train is None or not train.classes:
        return
    if len(train.classes) == 1:
        only = next(iter(train.classes))
        findings.add(
            "one class",
            train.path,
            f"one class only, {shown(only)}; expected at least two, each in a folder of its own",
        )
    for name, split in splits.items():
        for label in split.classes:
            if label not in train.classes:
                known = ", ".join(list(train.classes)[:_SHOWN_CLASSES])
                findings.add(
                    "unknown class",
                    split.path / label,
                    f"train has no class {shown(label)}; it has {known}: add pictures of it to "
                    f"train, or remove it from {name}",
                )


def look_at(root: Path, files: Sequence[str], findings: Findings) -> dict[str, str]:
    """Returns the SHA-256 of every picture by its path below a folder; notes what is wrong.

    Raises:
        AccessError: A file may not be read.
    """
    digests = {}
    with ThreadPoolExecutor(usable_processors(), thread_name_prefix="pictures") as pool:
        for start in range(0, len(files), _AT_ONCE):
            settings().raise_if_stopped()
            part = files[start : start + _AT_ONCE]
            for file, looked in zip(
                part, pool.map(_look, (root / file for file in part)), strict=True
            ):
                digests[file] = looked.sha256
                if looked.problem:
                    kind, message = looked.problem
                    findings.add(kind, root / file, message)
    return digests


def _look(path: Path) -> _Looked:
    try:
        digest = sha256_of(path)
        if not os.path.getsize(path):  # noqa: PTH202 - a thousand times a second
            return _Looked(digest, ("empty file", "holds no bytes; expected a picture"))
        picture = read_picture(path)
    except PermissionError as error:
        raise AccessError(f"{path}: may not be read by this user") from error
    except PictureError as error:
        return _Looked(digest, ("unusable picture", f"{error}; replace or remove it"))
    if min(picture.size) < _SMALLEST_SIDE:
        width, height = picture.size
        return _Looked(
            digest,
            (
                "tiny picture",
                f"{width} x {height} pixels; expected at least {_SMALLEST_SIDE} on each side: "
                "replace or remove it",
            ),
        )
    return _Looked(digest)


def _warnings(splits: dict[str, SplitFolder], contents: dict[str, set[str]]) -> Iterator[str]:
    train = splits["train"]
    for name, split in splits.items():
        if name == "train":
            continue
        absent = [label for label in train.classes if label not in split.classes]
        if absent:
            more = "" if len(absent) <= _SHOWN_CLASSES else ", …"
            yield (
                f"{name} has no pictures of {len(absent)} of {len(train.classes)} classes "
                f"({', '.join(absent[:_SHOWN_CLASSES])}{more}): its figures say nothing of them"
            )
        if len(split.classes) == 1:
            yield (
                f"{name}: every picture is of one class; a constant answer scores as well as any, "
                "so that no recovery can be stated"
            )
        both = len(contents[name] & contents["train"])
        if both:
            yield (
                f"{both} pictures of {name} are in train as well: its figures are better than on "
                "new pictures"
            )
