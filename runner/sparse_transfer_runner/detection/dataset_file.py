"""A dataset YAML of Ultralytics: where its splits lie, and what its classes are called.

Read as data: ``download`` is never run, and no path may lead out of the data's folder.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from types import NoneType
from typing import Any

import yaml

from sparse_transfer_runner.data.findings import Findings, shown
from sparse_transfer_runner.data.splits import SPLITS
from sparse_transfer_runner.pictures.folders import Inside

SUFFIXES = (".yaml", ".yml")
_SCALARS = (str, int, float, date, NoneType)
_MAX_BYTES = 4 << 20
"""Ten thousand names fit many times; a longer file is no dataset file."""


@dataclass(frozen=True)
class DatasetFile:
    """What a dataset file says.

    Args:
        path: The file.
        sources: Split name to its folders of pictures, or files that list pictures.
        names: Of the classes, in order; None where it does not say them.
        warnings: What a user should know, though nothing is wrong.
    """

    path: Path
    sources: Mapping[str, tuple[Path, ...]]
    names: tuple[str, ...] | None
    warnings: tuple[str, ...] = ()


def find_dataset_file(root: Path, inside: Inside) -> DatasetFile | None:
    """Returns the dataset file at a folder's top; what is wrong with it goes to findings.

    A YAML file without the key ``train`` is taken for something else, whether it can be read or
    not.
    """
    found, findings = [], inside.findings
    for path in sorted(root.iterdir()):
        if path.suffix.lower() not in SUFFIXES or path.name.startswith("."):
            continue
        if inside.holds(path) and path.is_file():
            content = _content(path, findings)
            if content is not None and "train" in content:
                found.append((path, content))
    if len(found) > 1:
        names = ", ".join(path.name for path, _ in found)
        findings.add(
            "ambiguous dataset file",
            root,
            f"{len(found)} files describe the data ({names}); expected one: move the others",
        )
    return _read(root, *found[0], findings) if found else None


def _content(path: Path, findings: Findings) -> dict[Any, Any] | None:
    if path.stat().st_size > _MAX_BYTES:
        return None
    text = path.read_bytes()
    try:
        content = yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        if not any(line.startswith(b"train:") for line in text.splitlines()):
            return None  # such as a recipe, whose tags are no damage
        mark = getattr(error, "problem_mark", None)
        reason = getattr(error, "problem", None) or str(error).partition("\n")[0]
        line = mark.line + 1 if mark is not None else None
        findings.add("damaged dataset file", path, f"not YAML ({reason}); correct it", line)
        return None
    return content if isinstance(content, dict) else None


def _read(root: Path, path: Path, content: Mapping[Any, Any], findings: Findings) -> DatasetFile:
    paths = _Paths(root, path, findings)
    top = paths.top(content.get("path") or ".")
    sources = {}
    for split in SPLITS:
        value = content.get(split)
        if value is None or top is None:
            continue
        named = value if isinstance(value, list) else [value]
        places = [paths.place(top, each, split) for each in named]
        sources[split] = tuple(place for place in places if place is not None)
    warnings = list(paths.warnings)
    if content.get("download"):
        warnings.append(f"{path.name}: its download is never run; the data is taken as it lies")
    return DatasetFile(path, sources, _names(path, content, findings), tuple(warnings))


@dataclass(frozen=True)
class _Paths:
    """The places that a dataset file names.

    Args:
        root: The data's folder, which none may lead out of.
        file: The dataset file.
        findings: Receives what is not there, or outside.
        warnings: Receives what is taken for what it means.
    """

    root: Path
    file: Path
    findings: Findings
    warnings: list[str] = field(default_factory=list)

    def top(self, value: object) -> Path | None:
        """Returns what the other places start at; None where it is not there, or outside."""
        relative = isinstance(value, str) and not Path(value).is_absolute()
        if relative and _is_missing(self.root / str(value)):
            # Ultralytics' own files name the folder that they lie in, from the one above it.
            self._warn(f"path: {shown(value)} is not there; its own folder is taken")
            return self.root
        return self._inside(self.root, value, "path")

    def place(self, top: Path, value: object, key: str) -> Path | None:
        """Returns a place; None where it is not there, or outside."""
        if isinstance(value, str) and value.startswith("../"):
            # Roboflow writes so before places beside the file.
            below = re.sub(r"^(\.\./)+", "", value)
            outside = not Path(os.path.normpath(top / value)).is_relative_to(self.root)
            if outside and not _is_missing(top / below):
                self._warn(f"{key}: {shown(value)} is taken for {shown(below)}")
                value = below
        return self._inside(top, value, key)

    def _warn(self, message: str) -> None:
        self.warnings.append(f"{self.file.name}: {message}")

    def _inside(self, top: Path, value: object, key: str) -> Path | None:
        root, path, add = self.root.resolve(), self.file, self.findings.add
        if not isinstance(value, str):
            add("wrong path", path, f"{key}: {_shown(value)}; expected a path of this folder")
            return None
        try:
            place = (top / value).resolve()
            outside = not place.is_relative_to(root)
            missing = not place.exists()
        except (OSError, ValueError, RuntimeError):
            add("wrong path", path, f"{key}: {shown(value)} is no usable path")
            return None
        if outside:
            add(
                "path out",
                path,
                f"{key}: {shown(value)} leads out of the data, to {place}; expected a path below "
                f"{self.root}: copy the files into it, and write the path from there (path: .)",
            )
            return None
        if missing:
            add("missing path", path, f"{key}: {shown(value)} is not there ({place})")
            return None
        return self.root / place.relative_to(root)


def _is_missing(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):
        return False  # no usable path
    return False


def _names(path: Path, content: Mapping[Any, Any], findings: Findings) -> tuple[str, ...] | None:
    names = content.get("names")
    if isinstance(names, dict):
        if sorted(names, key=str) != sorted(range(len(names)), key=str):
            findings.add(
                "wrong names",
                path,
                f"names: numbered {shown(list(names)[:8])}; expected 0 to {len(names) - 1}, each "
                "once",
            )
            return None
        names = [names[number] for number in range(len(names))]
    if names is None:
        return None
    if not isinstance(names, list):
        findings.add("wrong names", path, f"names: {_shown(names)}; expected a list of names")
        return None
    nested = [number for number, name in enumerate(names) if not isinstance(name, _SCALARS)]
    if nested:
        findings.add(
            "wrong names",
            path,
            f"names: class {nested[0]} is {_shown(names[nested[0]])}; expected a name",
        )
        return None
    count = content.get("nc")
    if count is not None and count != len(names):
        findings.add("wrong names", path, f"nc: {_shown(count)}, but names has {len(names)}")
    return tuple(map(str, names))


def _shown(value: object) -> str:
    """Returns a value as it is quoted; what is nested is not written out.

    An alias in it is one object, and may stand for more text than memory holds.
    """
    return shown(value) if isinstance(value, _SCALARS) else f"a {type(value).__name__}"


class _Loader(yaml.SafeLoader):
    """Reads plain values; mappings are not merged into others, which may double at each step."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Refuses ``<<``."""
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(
                    None, None, "'<<' merges another mapping; write it out", key.start_mark
                )
