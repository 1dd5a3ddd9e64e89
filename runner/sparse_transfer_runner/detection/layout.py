"""Where the pictures and labels of YOLO's layouts lie.

Understood are ``images/SPLIT/…`` beside ``labels/SPLIT/…``, ``SPLIT/images`` beside
``SPLIT/labels``, and a dataset YAML, whose paths name folders of pictures or files that list them.
The label of a picture has the picture's path, with ``labels`` (``annotations`` where those are
polygons) for the last ``images`` and ``.txt`` for the ending; as Ultralytics has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from sparse_transfer_api.errors import AccessError, InputError
from sparse_transfer_runner.data.findings import Findings, shown
from sparse_transfer_runner.data.splits import REQUIRED, SPLITS, splits_of
from sparse_transfer_runner.pictures.folders import Inside, in_utf8, known_suffixes

from .classes import CLASSES, class_names
from .dataset_file import DatasetFile, find_dataset_file

IMAGES = "images"
LABELS = "labels"
ANNOTATIONS = "annotations"
_SUFFIX = ".txt"


@dataclass(frozen=True)
class Item:
    """One picture.

    Args:
        picture: Its path below the data's folder.
        label: Its label file's, whether that is there or not.
    """

    picture: str
    label: str


@dataclass(frozen=True)
class Split:
    """The pictures of one split, in order.

    Args:
        name: ``train``, ``val`` or ``test``.
        place: What names it, below the data's folder: a folder of pictures, or a list of them.
        items: Its rows.
        orphans: Label files without a picture.
    """

    name: str
    place: str
    items: tuple[Item, ...]
    orphans: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layout:
    """A data folder's splits and classes, as far as they could be found.

    Args:
        root: The folder.
        splits: By name.
        labels: Names of the classes, in order.
        named_by: The file that names the classes, below the folder.
        warnings: What a user should know, though nothing is wrong.
    """

    root: Path
    splits: dict[str, Split]
    labels: tuple[str, ...]
    named_by: str
    warnings: tuple[str, ...] = ()


def find_layout(root: Path, findings: Findings, *, polygons: bool = False) -> Layout:
    """Returns the splits and classes of a data folder; what is wrong goes to findings.

    Args:
        root: The folder; only read.
        findings: Receives what is missing, unclear, or outside of the folder.
        polygons: Labels may lie in ``annotations`` as well as in ``labels``.

    Raises:
        InputError: ``root`` is a file.
    """
    if not root.is_dir():
        raise InputError(
            f"{root}: a file; spec.data.uri names the folder that holds images/ and labels/, or a "
            "dataset YAML"
        )
    inside = Inside(root, findings)
    described = find_dataset_file(root, inside)
    if described is not None:
        sources = dict(described.sources)
    else:
        sources = {name: (place,) for name, place in _split_folders(root, inside).items()}
    for split in REQUIRED:
        if not sources.get(split) and not findings.total:
            findings.add("missing split", root, _missing(root, split, described))
    labels, named_by = class_names(root, described, inside)
    folder = _Labels(root, findings, polygons)
    found = {name: _split(root, name, places, folder, inside) for name, places in sources.items()}
    splits = {name: each for name, each in found.items() if each is not None}
    return Layout(root, splits, labels, named_by, described.warnings if described else ())


def _split_folders(root: Path, inside: Inside) -> dict[str, Path]:
    """Returns the folder of pictures of each split, in one of the two layouts."""
    images = root / IMAGES
    candidates = (
        [(entry.name, entry) for entry in _folders(images)]
        if images.is_dir()
        else [(entry.name, entry / IMAGES) for entry in _folders(root)]
    )
    found: dict[str, list[Path]] = {split: [] for split in SPLITS}
    for name, place in candidates:
        splits = list(splits_of(name))
        if splits and place.is_dir() and inside.reaches(place):
            for split in splits:
                found[split].append(place)
    for split, places in found.items():
        if len(places) > 1:
            names = ", ".join(place.relative_to(root).as_posix() for place in places)
            inside.findings.add(
                "ambiguous split",
                root,
                f"{len(places)} folders look like the {split} split ({names}); expected one: "
                "rename or move the others",
            )
    return {split: places[0] for split, places in found.items() if len(places) == 1}


def _missing(root: Path, split: str, described: DatasetFile | None) -> str:
    if described is not None:
        return f"{described.path.name} names no {split} split; expected the key {split}"
    names = ", ".join(entry.name for entry in sorted(root.iterdir())[:8]) or "nothing"
    return (
        f"no {split} split; expected {IMAGES}/{split}/ beside {LABELS}/{split}/, or a dataset "
        f"YAML; found {names}"
    )


@dataclass(frozen=True)
class _Labels:
    """Which label belongs to a picture.

    Args:
        root: The data's folder.
        findings: Receives folders that contradict each other.
        polygons: ``annotations`` counts too.
    """

    root: Path
    findings: Findings
    polygons: bool

    def folder(self, pictures: PurePosixPath) -> PurePosixPath:
        """Returns the folder of labels for a folder of pictures, both below the root."""
        if IMAGES not in pictures.parts:
            return pictures
        place = len(pictures.parts) - 1 - pictures.parts[::-1].index(IMAGES)
        above, below = pictures.parts[:place], pictures.parts[place + 1 :]
        labels = PurePosixPath(*above, LABELS, *below)
        annotations = PurePosixPath(*above, ANNOTATIONS, *below)
        if not self.polygons or not (self.root / annotations).is_dir():
            return labels
        if (self.root / labels).is_dir():
            self.findings.add(
                "ambiguous labels",
                self.root / annotations,
                f"there is {labels} too; expected the polygons in one of them: move the other",
            )
        return annotations


def _split(
    root: Path, name: str, places: Sequence[Path], labels: _Labels, inside: Inside
) -> Split | None:
    if not places:
        return None
    findings = inside.findings
    items: list[Item] = []
    orphans: list[str] = []
    for place in places:
        if not inside.reaches(place):
            continue
        if place.is_dir():
            pictures = sorted(_files_below(place, root, inside, known_suffixes()))
        else:
            pictures = _listed(root, place, findings)
        found, folders = _paired(root, pictures, labels, inside)
        items += found
        # A list names some of the pictures of its folders; the labels of the others are theirs.
        if place.is_dir():
            folders |= _labels_beside(place, root, labels, inside)
            orphans += _orphans(root, folders, {item.label for item in found}, inside)
    _note_duplicates(root, items, findings)
    first = places[0].relative_to(root).as_posix()
    if not items and not findings.total:
        findings.add("empty split", places[0], f"no pictures; expected those of the {name} split")
    return Split(name, first, tuple(items), tuple(orphans))


def _paired(
    root: Path, pictures: Iterable[str], labels: _Labels, inside: Inside
) -> tuple[list[Item], set[PurePosixPath]]:
    """Returns pictures with their labels, and the folders that hold nothing but labels."""
    folders: dict[PurePosixPath, PurePosixPath] = {}
    items = []
    left_out = set()
    for picture in pictures:
        path = PurePosixPath(picture)
        if path.parent not in folders:
            folders[path.parent] = labels.folder(path.parent)
            if not inside.reaches(root / folders[path.parent]):
                left_out.add(path.parent)
        if path.parent in left_out:
            continue
        items.append(Item(picture, (folders[path.parent] / f"{path.stem}{_SUFFIX}").as_posix()))
    # Where labels lie beside their pictures, other texts may too.
    own = {folder for of, folder in folders.items() if folder != of and of not in left_out}
    return items, own


def _labels_beside(place: Path, root: Path, labels: _Labels, inside: Inside) -> set[PurePosixPath]:
    """Returns the folder of all labels of a split, where there is one."""
    pictures = PurePosixPath(place.relative_to(root).as_posix())
    folder = labels.folder(pictures)
    return {folder} if folder != pictures and inside.reaches(root / folder) else set()


def _orphans(
    root: Path, folders: Iterable[PurePosixPath], wanted: Set[str], inside: Inside
) -> list[str]:
    """Returns the labels in folders and all below that no picture asks for."""
    found = {
        label
        for folder in folders
        if (root / folder).is_dir()
        for label in _files_below(root / folder, root, inside, (_SUFFIX,))
    }
    # Where labelImg writes labels, it writes the names of their classes too.
    return sorted(each for each in found - wanted if PurePosixPath(each).name != CLASSES)


def _listed(root: Path, path: Path, findings: Findings) -> list[str]:
    """Returns the pictures that a file lists, a path in each line, from the file's folder."""
    found = []
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        findings.add("wrong list", path, "not UTF-8; expected the path of a picture in each line")
        return []
    for number, text in enumerate(lines, start=1):
        if not text.strip():
            continue
        place = (path.parent / text.strip()).resolve()
        if not place.is_relative_to(root.resolve()):
            findings.add("path out", path, f"{shown(text)} leads out of the data", number)
        elif not place.is_file():
            findings.add("missing path", path, f"{shown(text)} is not there", number)
        else:
            found.append(place.relative_to(root.resolve()).as_posix())
    return found


def _note_duplicates(root: Path, items: Sequence[Item], findings: Findings) -> None:
    seen: dict[str, str] = {}
    for item in items:
        other = seen.get(item.label)
        seen[item.label] = item.picture
        if other == item.picture:
            findings.add("duplicate picture", root / item.picture, "listed twice; expected once")
        elif other is not None:
            findings.add(
                "duplicate stem",
                root / item.picture,
                f"{PurePosixPath(other).name} has the same name but for its ending, so that both "
                f"would share {item.label}: rename one, with a label of its own",
            )


def _files_below(
    folder: Path, root: Path, inside: Inside, suffixes: Iterable[str]
) -> Iterator[str]:
    wanted = frozenset(suffixes)
    for entry in _entries(folder):
        if not inside.holds(entry):
            continue
        is_folder = entry.is_dir()
        if not is_folder and entry.suffix.lower() not in wanted:
            continue
        if not in_utf8(entry.name):
            inside.findings.add(
                "unreadable name", folder, f"{entry.name!r} is no UTF-8 name; rename it"
            )
        elif not is_folder:
            yield entry.relative_to(root).as_posix()
        else:
            yield from _files_below(entry, root, inside, wanted)


def _folders(path: Path) -> list[Path]:
    return [entry for entry in _entries(path) if entry.is_dir()]


def _entries(folder: Path) -> list[Path]:
    try:
        entries = sorted(folder.iterdir())
    except PermissionError as error:
        raise AccessError(f"{folder}: may not be read by this user") from error
    return [entry for entry in entries if not entry.name.startswith(".")]
