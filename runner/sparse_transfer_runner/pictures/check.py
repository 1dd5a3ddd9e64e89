"""Checking an image folder: all problems are told at once.

Every picture is opened and its header read; all pictures of a small set are decoded as well, and of
a large one some. A picture whose header is sound and whose pixels are not may so be found in
training only, which it then ends with its path.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from sparse_transfer_runner.cores import usable_processors
from sparse_transfer_runner.data.findings import Findings, shown
from sparse_transfer_runner.data.labels import from_csv, sorted_names
from sparse_transfer_runner.digests import digest_of_digests
from sparse_transfer_runner.storage.settings import settings

from .folders import SplitFolder, find_split_folders, list_split
from .looking import Looked, look

_SHOWN_CLASSES = 8
_CHUNK = 64
"""Pictures that a thread takes at once: handing them out one by one costs more than a header."""
_AT_ONCE = 16
"""Chunks whose results are waited for together; a stop is noticed between."""
_DECODED = 1000
_MOST_APART = 100


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
    step = decoded_step(len(files))
    chunks = [range(i, min(i + _CHUNK, len(files))) for i in range(0, len(files), _CHUNK)]

    def look_at(rows: range) -> list[Looked]:
        return [look(f"{root}/{files[row]}", whole=row % step == 0) for row in rows]

    with ThreadPoolExecutor(usable_processors(), thread_name_prefix="pictures") as pool:
        for start in range(0, len(chunks), _AT_ONCE):
            settings().raise_if_stopped()
            part = chunks[start : start + _AT_ONCE]
            for rows, found in zip(part, pool.map(look_at, part), strict=True):
                for row, looked in zip(rows, found, strict=True):
                    digests[files[row]] = looked.sha256
                    if looked.problem:
                        kind, message = looked.problem
                        findings.add(kind, root / files[row], message)
    return digests


def decoded_step(pictures: int) -> int:
    """Returns n where every nth picture is decoded, and of the rest the header is read.

    1, which is all, for a small set; of larger ones a thousand, evenly spread, until they are one
    in a hundred.
    """
    return min(_MOST_APART, max(1, pictures // _DECODED))


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
