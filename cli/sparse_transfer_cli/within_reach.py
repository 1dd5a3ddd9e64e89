"""Results that lie far away, brought to this machine as far as a verb needs them."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from sparse_transfer_api.contract import MANIFEST, SEARCH, SEARCH_FOLDER, TEACHER_FOLDER, Stage
from sparse_transfer_api.errors import AccessError, InputError
from sparse_transfer_api.records import Manifest
from sparse_transfer_cli.experiment_file import file_uri
from sparse_transfer_cli.kept_level import kept_package
from sparse_transfer_runner.output import StageFolder
from sparse_transfer_runner.storage import place_for
from sparse_transfer_runner.storage.protocol import Missing, Place

_LED_THERE = (Stage.PREPARE, Stage.TRAIN, TEACHER_FOLDER)


def within_reach(result: str, target: Path, *, stages: bool) -> Path:
    """Returns where a finished experiment can be read on this machine.

    Args:
        result: Path or address of a package stage's folder, a file in it, or a folder above it.
        target: Empty folder for what has to be brought: links to the cache's files.
        stages: Whether the stages that led there are needed too.

    Returns:
        The path itself where the result is on this machine; else the package folder's copy, of
        several the newest.

    Raises:
        AccessError: There is no result, or it may not be read.
        InputError: A manifest cannot be read.
    """
    place = place_for(file_uri(result, Path.cwd()))
    if place.folder is not None:
        return place.folder
    folders = _stage_folders(place)
    packages = {name: found for name, found in folders.items() if found.stage == Stage.PACKAGE}
    if not packages:
        raise AccessError(f"{result}: no finished experiment here; give a package stage's folder")
    newest = _meant(place, packages)
    if stages:
        for name, folder in _beside(place, newest, folders).items():
            if folder.stage in _LED_THERE:
                _link(folder, target / name)
    return _link(packages[newest], target / newest.rpartition("/")[2])


def _meant(place: Place, packages: dict[str, StageFolder]) -> str:
    """Returns the newest result, and where that is of a search, the one of the level it kept."""
    created = {name: _manifest(folder).created for name, folder in packages.items()}
    newest = max(packages, key=created.__getitem__)
    above, _, name = newest.rpartition("/")
    beside = place
    for part in above.split("/") if above else ():
        beside = beside.below(part)
    try:
        record = beside.below(SEARCH_FOLDER).read(SEARCH)
    except Missing:
        return newest
    kept = "/".join([*([above] if above else []), kept_package(name, created[newest], record)])
    return kept if kept in packages else newest


def _stage_folders(place: Place) -> dict[str, StageFolder]:
    """Returns the finished stage folders of a place by their paths in it; itself as its name."""
    found = {}
    for file in place.files():
        path, _, name = file.path.rpartition("/")
        if name == MANIFEST:
            folder = place
            for part in path.split("/") if path else ():
                folder = folder.below(part)
            own = folder.uri.rpartition("/")[2]
            stage, _, key = own.partition("-")
            found[path or own] = StageFolder(folder, stage, key)
    return found


def _beside(place: Place, package: str, folders: dict[str, StageFolder]) -> dict[str, StageFolder]:
    """Returns the stage folders of the same experiment, by their names."""
    above, _, own = package.rpartition("/")
    if not above and place.uri.endswith(f"/{own}"):
        # The package's folder itself was given: the others are beside it.
        folders = _stage_folders(place_for(place.uri.rpartition("/")[0]))
    near = {path: folder for path, folder in folders.items() if path.rpartition("/")[0] == above}
    return {path.rpartition("/")[2]: folder for path, folder in near.items()}


def _link(folder: StageFolder, target: Path) -> Path:
    """Makes a folder that looks like the finished stage's own."""
    manifest = folder.required()
    target.mkdir()
    for entry in folder.path.iterdir():
        (target / entry.name).symlink_to(entry)
    (target / MANIFEST).write_bytes(manifest.to_json())
    return target


def _manifest(folder: StageFolder) -> Manifest:
    try:
        return Manifest.model_validate_json(folder.place.read(MANIFEST))
    except ValidationError as error:
        raise InputError(f"{folder.place.uri}/{MANIFEST}: not a manifest") from error
