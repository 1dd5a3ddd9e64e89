"""Which pictures an image folder holds: ``train/CLASS/*``, ``val/CLASS/*``, and perhaps ``test``.

Passed over are files whose names begin with a dot, and the two that Windows leaves in folders.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sparse_transfer_api.errors import AccessError, InputError
from sparse_transfer_runner.data.findings import Findings
from sparse_transfer_runner.data.splits import REQUIRED, SPLITS, splits_of
from sparse_transfer_runner.digests import digest_of_digests, sha256_of

_LEFT_BEHIND = frozenset({"thumbs.db", "desktop.ini"})
_SHOWN_NAMES = 8


@dataclass(frozen=True)
class SplitFolder:
    """The pictures of one split.

    Args:
        path: The split's folder.
        classes: The names of its pictures' files by class, both in order.
    """

    path: Path
    classes: Mapping[str, tuple[str, ...]]

    def files(self) -> list[tuple[str, str]]:
        """Returns class and file name of every picture: the split's rows, in order."""
        return [(label, name) for label, names in self.classes.items() for name in names]


def read_split(path: Path) -> SplitFolder:
    """Lists a split that was checked before."""
    classes = {
        folder.name: tuple(entry.name for entry in _listed(folder) if entry.is_file())
        for folder in _entries(path)
        if folder.is_dir()
    }
    return SplitFolder(path, {name: files for name, files in classes.items() if files})


def pictures_below(root: Path) -> list[str]:
    """Returns the paths of all pictures below a folder, whatever folders they lie in, in order.

    Raises:
        InputError: There are none, or links lead nowhere or out of the folder.
    """
    known, findings = known_suffixes(), Findings()
    inside = Inside(root, findings)
    below = ((path, path.relative_to(root)) for path in root.rglob("*"))
    files = sorted(
        short.as_posix()
        for path, short in below
        if not any(part.startswith(".") for part in short.parts)
        and inside.holds(path)
        and path.suffix.lower() in known
        and path.is_file()
    )
    findings.raise_if_any(str(root))
    if not files:
        raise InputError(f"{root}: no pictures below this folder")
    return files


def known_suffixes() -> frozenset[str]:
    """Returns the endings of pictures that Pillow can read, in small letters, with their dots."""
    from PIL import Image

    # Some formats, such as PDF, can only be written.
    return frozenset(
        end for end, name in Image.registered_extensions().items() if name in Image.OPEN
    )


def digest_of_split(path: Path, look: Callable[[], None] = lambda: None) -> str:
    """Returns one SHA-256 over the names and contents of a split's pictures.

    Args:
        path: The split's folder.
        look: Called before each file; breaks the work off by raising.
    """
    digests = {}
    for label, name in read_split(path).files():
        look()
        digests[f"{label}/{name}"] = sha256_of(path / label / name)
    return digest_of_digests(digests)


def find_split_folders(root: Path, findings: Findings) -> dict[str, Path]:
    """Returns the folder of each split that is there; what is missing or unclear goes to findings.

    Raises:
        InputError: ``root`` is a file.
    """
    if not root.is_dir():
        raise InputError(
            f"{root}: a file; spec.data.uri names the folder that holds train/CLASS/… and "
            "val/CLASS/… (archives are unpacked when their address ends in .zip or .tar…)"
        )
    found: dict[str, list[Path]] = {split: [] for split in SPLITS}
    entries = _entries(root)
    for entry in entries:
        if entry.is_dir():
            for split in splits_of(entry.name):
                found[split].append(entry)
    for split, folders in found.items():
        if len(folders) > 1:
            names = ", ".join(folder.name for folder in folders)
            findings.add(
                "ambiguous split",
                root,
                f"{len(folders)} folders look like the {split} split ({names}); expected one: "
                "rename or move the others",
            )
    for split in REQUIRED:
        if not found[split]:
            findings.add("missing split", root, _missing(split, entries))
    return {split: folders[0] for split, folders in found.items() if len(folders) == 1}


def list_split(root: Path, split: str, path: Path, findings: Findings) -> SplitFolder:
    """Lists a split's classes and pictures, and notes what does not belong there.

    Args:
        root: The data's folder, which nothing may lead out of.
        split: The split's name.
        path: Its folder.
        findings: Receives what is wrong.
    """
    classes: dict[str, tuple[str, ...]] = {}
    inside = Inside(root, findings)
    if not inside.holds(path):
        return SplitFolder(path, {})
    entries = _entries(path)
    for entry in entries:
        if not inside.holds(entry):
            continue
        if not entry.is_dir():
            findings.add(
                "loose file",
                entry,
                f"a file beside the classes; expected {split}/CLASS/picture: move it into the "
                "folder of its class, or out of the data",
            )
            continue
        names = _pictures(entry, inside, findings)
        if names:
            classes[entry.name] = names
        else:
            findings.add(
                "empty class",
                entry,
                "a class without pictures; add some, or remove the folder",
            )
    if not entries:
        findings.add("empty split", path, f"an empty folder; expected {split}/CLASS/picture")
    return SplitFolder(path, classes)


def _pictures(folder: Path, inside: Inside, findings: Findings) -> tuple[str, ...]:
    names = []
    for entry in _listed(folder):
        # What the folder's own listing tells costs nothing; of a picture it is all.
        if entry.is_symlink() and not inside.holds(folder / entry.name):
            continue
        if entry.is_dir():
            findings.add(
                "nested folder",
                folder / entry.name,
                "a folder inside a class; expected pictures: move them up, or make it a class",
            )
        elif in_utf8(entry.name):
            names.append(entry.name)
        else:
            findings.add("unreadable name", folder, f"{entry.name!r} is no UTF-8 name; rename it")
    return tuple(names)


@dataclass(frozen=True)
class Inside:
    """Whether entries lie inside the data, wherever links lead."""

    root: Path
    findings: Findings
    _on_the_way: dict[Path, bool] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def reaches(self, path: Path) -> bool:
        """Whether a path below the root and every folder on its way do; each is noted once."""
        way = [path, *(each for each in path.parents if self.root in each.parents)]
        for each in reversed(way):
            if each not in self._on_the_way:
                self._on_the_way[each] = self.holds(each)
            if not self._on_the_way[each]:
                return False
        return True

    def holds(self, entry: Path) -> bool:
        """Whether an entry does; where not, findings say why."""
        if not entry.is_symlink():
            return True
        try:
            target = entry.resolve(strict=True)
        except (OSError, RuntimeError):
            self.findings.add(
                "broken link", entry, f"a link to {str(entry.readlink())!r}, which is not there"
            )
            return False
        if target.is_relative_to(self.root.resolve()):
            return True
        self.findings.add(
            "link out",
            entry,
            f"a link that leads out of the data, to {target}; expected files of the data's own: "
            "copy them into it",
        )
        return False


def in_utf8(name: str) -> bool:
    """Whether a file's name can be written down."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _entries(folder: Path) -> list[Path]:
    return [folder / entry.name for entry in _listed(folder)]


def _listed(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except PermissionError as error:
        raise AccessError(f"{folder}: may not be read by this user") from error
    return [
        entry
        for entry in entries
        if not entry.name.startswith(".") and entry.name.lower() not in _LEFT_BEHIND
    ]


def _missing(split: str, entries: list[Path]) -> str:
    names = ", ".join(entry.name for entry in entries[:_SHOWN_NAMES])
    found = f"found {names}" if names else "the folder is empty"
    for entry in entries:
        if entry.is_dir() and (entry / split).is_dir():
            found += f"; there is {entry.name}/{split}: name {entry.name} in spec.data.uri"
            break
    return f"no {split} split; expected a folder {split}/ with a folder for each class; {found}"
