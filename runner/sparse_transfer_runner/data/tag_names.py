"""Names of integer tags, from a file beside the splits.

Read are, the first that has names for the column: ``labels.txt``, ``label_names.txt`` and
``classes.txt`` (one name a line); ``labels.json`` and ``label_names.json`` (a list, or an object
from number to name or from name to number); ``features.json``, ``dataset_info.json`` and
``dataset_infos.json``, as the library ``datasets`` writes them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson

from sparse_transfer_runner.data.findings import Findings, shown
from sparse_transfer_runner.data.tag_check import MAX_TAGS

LISTS = ("labels.txt", "label_names.txt", "classes.txt")
OBJECTS = (
    *("labels.json", "label_names.json"),
    *("features.json", "dataset_info.json", "dataset_infos.json"),
)
_MAX_BYTES = 16 << 20
_NAMES = "names"


def names_beside(root: Path, column: str, findings: Findings) -> tuple[str, ...] | None:
    """Returns the names of a column's tags in order, or None where no file has any.

    Args:
        root: The data's folder.
        column: The tags' column.
        findings: Receives what is wrong with a file that has names.
    """
    for file in (*LISTS, *OBJECTS):
        path = root / file
        if not path.is_file():
            continue
        names = _names_in(path, column, findings)
        if names is not None:
            return tuple(names) if _usable(names, path, findings) else None
    return None


def _names_in(path: Path, column: str, findings: Findings) -> list[str] | None:
    if path.stat().st_size > _MAX_BYTES:
        findings.add("names of tags", path, f"larger than {_MAX_BYTES >> 20} MiB; expected names")
        return None
    raw = path.read_bytes()
    try:
        if path.name in LISTS:
            return [line.strip() for line in raw.decode("utf-8-sig").strip().splitlines()]
        document = orjson.loads(raw)
    except ValueError as error:
        findings.add("names of tags", path, f"cannot be read ({error}); expected names in UTF-8")
        return None
    if path.name not in OBJECTS[:2]:
        return _named(document, column)
    names = _as_names(document) or _by_number(document) or _named(document, column)
    if names is None and not _has_parts(document):
        message = (
            f"{shown(document)} names no tags; expected a list of names, or an object that has a "
            "name for every number from 0 on, or such a number for every name"
        )
        findings.add("names of tags", path, message)
    return names


def _by_number(document: Any) -> list[str] | None:
    """Returns the names of an object from name to number, in the numbers' order."""
    if not isinstance(document, dict) or {*map(type, document.values())} != {int}:
        return None
    names = sorted(document, key=document.__getitem__)
    return names if [document[name] for name in names] == list(range(len(names))) else None


def _has_parts(document: Any) -> bool:
    """Whether a document could describe several columns, of which the tags' may be none."""
    return isinstance(document, dict) and any(
        isinstance(value, dict | list) for value in document.values()
    )


def _as_names(value: Any) -> list[str] | None:
    """Returns a list of names, or those of an object by number, in their order."""
    if isinstance(value, dict) and value and all(key.isdecimal() for key in value):
        numbers = sorted(value, key=int)
        if list(map(int, numbers)) != list(range(len(numbers))):
            return None
        value = [value[number] for number in numbers]
    if isinstance(value, list) and value and all(isinstance(name, str) for name in value):
        return value
    return None


def _named(document: Any, column: str) -> list[str] | None:
    """Returns the names that a document has for a column, wherever it describes it."""
    for feature in _described(document, column):
        for value in (feature, *_under(feature, _NAMES)):
            names = _as_names(value)
            if names:
                return names
    return None


def _described(document: Any, column: str) -> Iterator[Any]:
    yield from _under(document, column)
    for each in _objects(document):
        if each.get("name") == column:
            yield each


def _under(document: Any, key: str) -> Iterator[Any]:
    for each in _objects(document):
        if key in each:
            yield each[key]


def _objects(document: Any) -> Iterator[dict[str, Any]]:
    """Yields every object of a JSON document; none is nested deeper than the parser allows."""
    waiting = [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield value
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def _usable(names: Sequence[str], path: Path, findings: Findings) -> bool:
    problem = None
    doubled = [(name, times) for name, times in Counter(names).items() if times > 1]
    if not names:
        problem = "no names; expected one a line"
    elif not all(name.strip() for name in names):
        problem = "an empty name; expected one for every number from 0 on"
    elif len(names) > MAX_TAGS:
        problem = f"{len(names)} names; expected {MAX_TAGS} at most"
    elif doubled:
        name, times = doubled[0]
        problem = f"{shown(name)} names {times} numbers; expected one each"
    elif all(name.isdecimal() for name in names):
        problem = f"the names are numbers, such as {shown(names[0])}; expected names"
    if problem:
        findings.add("names of tags", path, problem)
    return problem is None
