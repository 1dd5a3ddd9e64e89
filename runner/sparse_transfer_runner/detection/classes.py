"""What the classes of detection data are called: ``classes.txt``, or a dataset file's names."""

from __future__ import annotations

from pathlib import Path

from sparse_transfer_runner.data.findings import Findings, shown
from sparse_transfer_runner.pictures.folders import Inside

from .dataset_file import DatasetFile

CLASSES = "classes.txt"


def class_names(
    root: Path, described: DatasetFile | None, inside: Inside
) -> tuple[tuple[str, ...], str]:
    """Returns the names of the classes in order, and the file that says them.

    Args:
        root: The data's folder.
        described: Its dataset file, where there is one: its names go before ``classes.txt``.
        inside: Tells what leads out of the folder; its findings receive what is wrong.
    """
    findings, path = inside.findings, root / CLASSES
    if not inside.holds(path):
        return (), CLASSES
    listed = _listed(path, findings) if path.is_file() else None
    if described is not None and described.names is not None:
        names, source = described.names, described.path
        if listed is not None and listed != names:
            findings.add(
                "contradicting names",
                path,
                f"{shown(list(listed[:8]))}, but {described.path.name} says "
                f"{shown(list(names[:8]))}: correct or remove one of them",
            )
    elif listed is not None:
        names, source = listed, path
    else:
        findings.add(
            "missing classes",
            described.path if described else path,
            "nothing says what the classes are called; expected classes.txt with a name in each "
            "line, or names in the dataset YAML",
        )
        return (), CLASSES
    _check(names, source, findings)
    return names, source.relative_to(root).as_posix()


def _listed(path: Path, findings: Findings) -> tuple[str, ...]:
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError:
        findings.add("wrong names", path, "not UTF-8; save it as UTF-8")
        return ()
    return tuple(line.strip() for line in text.rstrip().splitlines())


def _check(names: tuple[str, ...], source: Path, findings: Findings) -> None:
    if not names:
        findings.add("missing classes", source, "names no class; expected a name for each")
    lines = source.name == CLASSES
    seen: dict[str, int] = {}
    for number, name in enumerate(names):
        line = number + 1 if lines else None
        if not name.strip():
            findings.add("wrong names", source, f"class {number} has no name", line)
        elif name in seen:
            findings.add(
                "wrong names",
                source,
                f"{shown(name)} names class {number} and class {seen[name]}; expected different "
                "names",
                line,
            )
        seen.setdefault(name, number)
