"""What is mirrored of a catalogue's entry, and its files where they come from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sparse_transfer_api.errors import AccessError, InputError
from sparse_transfer_api.records import FileEntry
from sparse_transfer_runner.digests import digest_of_digests
from sparse_transfer_runner.storage import fetch, pinned, source_for
from sparse_transfer_runner.storage.file import FilePlace
from sparse_transfer_runner.storage.settings import settings

from .models import CatalogEntry
from .resolution import require_digest

RECIPE = "recipe"
RECIPES = "recipes/"
"""What begins the parts of recipes by their types."""
RECIPE_FILE = "recipe.yaml"
TEACHER = "teacher"
_NAMES = ("catalog:", "zoo:")
"""What begins the name of a model, which a mirror keeps as it is."""
_OWN = "package://sparse_transfer_runner/"
"""What comes with the runner itself is wherever the mirror is used."""
_MODEL_FILES = (".pt", ".pth")
_NEAR = ("file", "package", "pvc")
"""Schemes whose files can be looked at without fetching them."""


@dataclass(frozen=True)
class Part:
    """Something of an entry that is mirrored.

    Args:
        entry: The entry's name.
        name: ``sparse``, ``dense``, ``recipe``, ``recipes/TYPE`` or ``teacher``.
        source: Its address.
        digest: As the catalogue records it.
    """

    entry: str
    name: str
    source: str
    digest: str | None = None

    @property
    def path(self) -> str:
        """Its folder in a mirror."""
        return f"{self.entry}/{self.name}"

    @property
    def is_recipe(self) -> bool:
        """Whether it is a file, and not a model's folder."""
        return self.name == RECIPE or self.name.startswith(RECIPES)


@dataclass(frozen=True)
class SourceFiles:
    """A part's files where they come from.

    Args:
        pinned: The address that leads to this version forever, where there is such.
        folder: Where they are on this machine.
        names: The name of each in that folder, by its path in the mirror.
        files: By their paths in the mirror.
        is_model_file: The model is one file, and not a folder.
    """

    pinned: str
    folder: Path
    names: dict[str, str]
    files: list[FileEntry]
    is_model_file: bool = False

    @property
    def digest(self) -> str:
        """Of all of them, as catalogues record it: of a model that is one file, the file's."""
        if self.is_model_file:
            return self.files[0].sha256
        return digest_of_digests({file.path: file.sha256 for file in self.files})

    def path(self, file: FileEntry) -> Path:
        """Returns where a file is on this machine."""
        return self.folder / self.names[file.path]


def parts_of(entry: CatalogEntry) -> Iterator[Part]:
    """Yields what is mirrored of an entry: its models, and its recipes where they are files.

    A sparse model that must be made first is no part.
    """
    for side, source in (("sparse", entry.sparse), ("dense", entry.dense)):
        if source is not None:
            yield Part(entry.name, side, source.address, source.digest)
    recipes = {f"{RECIPES}{name}": address for name, address in entry.recipes.items()}
    for name, address in {RECIPE: entry.recipe, **recipes, TEACHER: entry.teacher}.items():
        if address is not None and not address.startswith((*_NAMES, _OWN)):
            yield Part(entry.name, name, address)


def require_reachable(part: Part) -> None:
    """Checks a part's source as far as that goes without fetching it.

    Raises:
        InputError: Its scheme is unknown, or the address malformed.
        AccessError: It is on this machine, and not there.
    """
    if source_for(part.source).scheme in _NEAR:
        fetch(part.source)


def read_source(part: Part) -> SourceFiles:
    """Fetches a part's files, and reads them for their digests.

    Raises:
        InputError: The address cannot be understood, or the files are not what was recorded.
        AccessError: They are not there, or may not be read.
        Transient: They could not be reached just now.
    """
    address = pinned(part.source)
    at = fetch(address)
    is_model_file = at.suffix in _MODEL_FILES and at.is_file() and not part.is_recipe
    if at.is_dir() == part.is_recipe and not is_model_file:
        expected = "a recipe's file" if part.is_recipe else "a model's folder"
        raise InputError(f"{part.source}: expected {expected}")
    # Hidden files too: a model's digest counts them.
    folder, paths = (
        (at.parent, {at.name if is_model_file else RECIPE_FILE: at.name})
        if at.is_file()
        else (at, {name: name for name in sorted(_names_below(at))})
    )
    files = list(_digested(part, folder, paths))
    found = SourceFiles(address, folder, paths, files, is_model_file)
    require_digest(part.source, part.digest, found.digest)
    return found


def _names_below(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*"):
        if path.is_file():
            yield path.relative_to(folder).as_posix()


def _digested(part: Part, folder: Path, names: dict[str, str]) -> Iterator[FileEntry]:
    if not names:
        raise InputError(f"{part.source}: an empty folder; expected a model's files")
    stop = settings().raise_if_stopped
    digests = {}
    for name, digest in FilePlace(folder, part.source).digests(names.values(), lambda _: stop()):
        if isinstance(digest, AccessError):
            raise digest
        digests[name] = digest
    for path, name in names.items():
        size = (folder / name).stat().st_size
        yield FileEntry(path=path, sha256=digests[name], size_bytes=size)
