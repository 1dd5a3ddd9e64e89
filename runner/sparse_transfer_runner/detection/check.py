"""Checking pictures with objects in them: all splits are read once, all problems told at once."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sparse_transfer_api.errors import AccessError
from sparse_transfer_runner.data.findings import Findings
from sparse_transfer_runner.digests import digest_of_digests, sha256_of
from sparse_transfer_runner.pictures.check import look_at
from sparse_transfer_runner.pictures.folders import Inside
from sparse_transfer_runner.storage.settings import settings

from .label_files import read_objects
from .layout import Item, Layout, Split, find_layout

_SHOWN_CLASSES = 8


@dataclass(frozen=True)
class CheckedObjects:
    """A data folder without errors.

    Args:
        layout: Its splits and classes.
        digests: Of each split: pictures, labels, and the names of the classes.
        warnings: What a user should know, though nothing is wrong.
    """

    layout: Layout
    digests: dict[str, str]
    warnings: tuple[str, ...]

    @property
    def digest(self) -> str:
        """SHA-256 over all splits."""
        listed = "".join(f"{name}\0{digest}\n" for name, digest in self.digests.items())
        return hashlib.sha256(listed.encode()).hexdigest()


@dataclass
class _Seen:
    """What the labels of a split hold, in numbers.

    Args:
        classes: Objects of each class.
        backgrounds: Pictures without an object.
        repeated: Lines that repeat another.
        reaching: Boxes cut at the picture's edge.
        outlined: Polygons used as boxes.
        contents: Digests of the pictures.
    """

    classes: Counter[int] = field(default_factory=Counter)
    backgrounds: int = 0
    repeated: int = 0
    reaching: int = 0
    outlined: int = 0
    contents: set[str] = field(default_factory=set)


def check_objects(root: Path, *, polygons: bool = False) -> CheckedObjects:
    """Checks all splits of a data folder; only reads.

    Args:
        root: The folder.
        polygons: Objects are polygons rather than boxes.

    Raises:
        InputError: With every problem found (bounded), each with its file and line.
        AccessError: A file may not be read.
    """
    findings = Findings()
    layout = find_layout(root, findings, polygons=polygons)
    _require_choice(layout, findings)
    digests, seen = {}, {}
    for name, split in layout.splits.items():
        digests[name], seen[name] = _looked_at(layout, split, findings, polygons)
    findings.raise_if_any(str(root))
    return CheckedObjects(layout, digests, (*layout.warnings, *_warnings(layout, seen)))


def _require_choice(layout: Layout, findings: Findings) -> None:
    """Notes where nothing is left for choices, which without a test split are made on train."""
    train = layout.splits.get("train")
    if train is not None and len(train.items) == 1 and "test" not in layout.splits:
        findings.add(
            "too few pictures",
            layout.root / train.place,
            "train holds 1 picture; expected 2 or more where there is no test split, as one of "
            "them is held out for choices",
        )


def digest_of_objects(root: Path, name: str, *, polygons: bool = False) -> str | None:
    """Returns the digest of a split as the check has it.

    None where there is no such split, or nothing that names the classes.
    """
    layout = find_layout(root, Findings(), polygons=polygons)
    split = layout.splits.get(name)
    if split is None or not (root / layout.named_by).is_file():
        return None
    found = {layout.named_by: sha256_of(root / layout.named_by)}
    for item in split.items:
        settings().raise_if_stopped()
        found[item.picture] = sha256_of(root / item.picture)
        if (root / item.label).is_file():
            found[item.label] = sha256_of(root / item.label)
    return digest_of_digests(found)


def _looked_at(
    layout: Layout, split: Split, findings: Findings, polygons: bool
) -> tuple[str, _Seen]:
    root, seen = layout.root, _Seen()
    found = look_at(root, [item.picture for item in split.items], findings)
    seen.contents.update(found.values())
    inside = Inside(root, findings)
    for number, item in enumerate(split.items):
        if number % 1024 == 0:
            settings().raise_if_stopped()
        digest = _label_of(layout, item, inside, findings, polygons, seen)
        if digest is not None:
            found[item.label] = digest
    for orphan in split.orphans:
        findings.add(
            "label without picture",
            root / orphan,
            f"there is no picture of this name in {split.place}; add it, or remove the label",
        )
    if split.items and not seen.classes and not findings.total:
        findings.add(
            "no objects",
            root / split.place,
            f"none of the {len(split.items)} pictures of {split.name} has an object; labels are "
            f"expected as in {split.items[0].label}",
        )
    named_by = root / layout.named_by
    if named_by.is_file():
        found[layout.named_by] = sha256_of(named_by)
    return digest_of_digests(found), seen


def _label_of(
    layout: Layout, item: Item, inside: Inside, findings: Findings, polygons: bool, seen: _Seen
) -> str | None:
    """Reads one label into what is seen; returns the file's digest, None where there is none."""
    path = layout.root / item.label
    if not inside.holds(path):
        return None
    try:
        objects = read_objects(
            path,
            len(layout.labels),
            lambda kind, message, line: findings.add(kind, path, message, line),
            polygons=polygons,
        )
        digest = sha256_of(path) if path.is_file() else None
    except PermissionError as error:
        raise AccessError(f"{path}: may not be read by this user") from error
    seen.classes.update(map(int, objects.classes))
    seen.backgrounds += not len(objects.classes)
    seen.repeated += objects.repeated
    seen.reaching += objects.reaching
    seen.outlined += objects.outlined
    return digest


def _warnings(layout: Layout, seen: dict[str, _Seen]) -> Iterator[str]:
    train = seen["train"]
    for name, each in seen.items():
        count = len(layout.splits[name].items)
        if each.backgrounds:
            yield f"{name}: {each.backgrounds} of {count} pictures have no object (backgrounds)"
        if each.repeated:
            yield f"{name}: {each.repeated} lines repeat another one of their file; left out"
        if each.reaching:
            yield f"{name}: {each.reaching} boxes reach out of their picture; cut at its edge"
        if each.outlined:
            yield f"{name}: {each.outlined} polygons among the labels; their boxes are used"
        both = 0 if name == "train" else len(each.contents & train.contents)
        if both:
            yield (
                f"{both} pictures of {name} are in train as well: its figures are better than on "
                "new pictures"
            )
    absent = [label for number, label in enumerate(layout.labels) if number not in train.classes]
    if absent:
        more = "" if len(absent) <= _SHOWN_CLASSES else ", …"
        yield (
            f"train has no object of {len(absent)} of {len(layout.labels)} classes "
            f"({', '.join(absent[:_SHOWN_CLASSES])}{more}): they cannot be learned"
        )
