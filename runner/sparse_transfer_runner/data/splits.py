"""Finding the split files: ``train``, ``val`` and ``test`` in the names at the data's root.

Folders below the root are not searched: with several matches, which one is meant is a guess. The
splits may have different extensions, as long as each is found once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from sparse_transfer_api.errors import InputError
from sparse_transfer_runner.data.findings import Findings

EXTENSIONS = (".csv", ".json", ".jsonl")
SPLITS = ("train", "val", "test")
REQUIRED = ("train", "val")


def find_splits(root: Path, findings: Findings) -> dict[str, Path]:
    """Returns the file of each split that is there; what is missing or unclear goes to findings.

    Args:
        root: The data's folder; only read.
        findings: Receives missing and ambiguous splits.

    Raises:
        InputError: ``root`` is a file.
    """
    if not root.is_dir():
        raise InputError(
            f"{root}: a file; spec.data.uri names the folder that holds train.csv (or .json, "
            ".jsonl) and its val"
        )
    entries = sorted(path for path in root.iterdir() if not path.name.startswith("."))
    candidates: dict[str, list[Path]] = {split: [] for split in SPLITS}
    for path in entries:
        if path.is_file() and path.suffix.lower() in EXTENSIONS:
            for split in splits_of(path.stem):
                candidates[split].append(path)
    _report_unclear(candidates, findings)
    for split in REQUIRED:
        if not candidates[split]:
            findings.add("missing split", root, _missing(split, entries))
    return {split: paths[0] for split, paths in candidates.items() if len(paths) == 1}


def splits_of(stem: str) -> list[str]:
    """Returns the splits that a file name stands for; several where it is unclear.

    A word of the name goes before a part of a word, so that ``retrieval_train`` is train.
    """
    name = stem.lower()
    words = re.split(r"[^a-z]+", name)
    exact = [split for split in SPLITS if any(word.startswith(split) for word in words)]
    return exact if len(exact) == 1 else [split for split in SPLITS if split in name]


def _report_unclear(candidates: Mapping[str, list[Path]], findings: Findings) -> None:
    for path in sorted({path for paths in candidates.values() for path in paths}):
        played = [split for split, paths in candidates.items() if path in paths]
        if len(played) > 1:
            findings.add(
                "ambiguous split",
                path,
                f"its name stands for {' and '.join(played)}; expected one split a file: rename it",
            )
    for split, paths in candidates.items():
        if len(paths) > 1:
            names = ", ".join(path.name for path in paths)
            findings.add(
                "ambiguous split",
                paths[0].parent,
                f"{len(paths)} files look like the {split} split ({names}); expected one: "
                "rename or move the others",
            )


def _missing(split: str, entries: Sequence[Path]) -> str:
    expected = ", ".join(f"{split}{extension}" for extension in EXTENSIONS)
    return (
        f"no {split} split; expected a file with {split!r} in its name, such as {expected}"
        f"{_hint(split, entries)}"
    )


def _hint(split: str, entries: Sequence[Path]) -> str:
    for path in entries:
        if path.is_file() and split in path.name.lower():
            return f"; {path.name} has an extension that is not supported"
    for folder in entries:
        inside = _first_inside(folder, split)
        if inside:
            return f"; folders below are not searched, but there is {folder.name}/{inside}"
    names = ", ".join(path.name for path in entries[:8])
    return f"; found {names}" if names else "; the folder is empty"


def _first_inside(folder: Path, split: str) -> str | None:
    if not folder.is_dir() or not os.access(folder, os.R_OK | os.X_OK):
        return None
    names = (path.name for path in sorted(folder.iterdir()) if path.suffix.lower() in EXTENSIONS)
    return next((name for name in names if split in splits_of(Path(name).stem)), None)
