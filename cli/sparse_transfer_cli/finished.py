"""Finding what a finished experiment left on this machine, by its keys, wherever it lies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from sparse_transfer_api.contract import (
    MANIFEST,
    PLAN,
    SEARCH,
    SEARCH_FOLDER,
    TEACHER_FOLDER,
    Stage,
)
from sparse_transfer_api.errors import AccessError, InputError
from sparse_transfer_api.keys import stage_key
from sparse_transfer_api.records import Manifest, Plan
from sparse_transfer_api.results import Results
from sparse_transfer_api.spec import SparseTransferExperiment, parse_experiment
from sparse_transfer_cli.kept_level import kept_package

_BELOW = ("{0}-*", "*/{0}-*", "*/*/{0}-*")
"""Where a stage's folders lie below an experiment's, a namespace's and an output place's folder."""


@dataclass(frozen=True)
class Finished:
    """A finished experiment.

    Args:
        package: The package stage's folder.
        manifest: Its manifest.
        results: What it measured.
    """

    package: Path
    manifest: Manifest
    results: Results

    @property
    def experiment(self) -> SparseTransferExperiment:
        """The experiment as it was run.

        Raises:
            InputError: The manifest does not hold it.
        """
        source = str(self.package / MANIFEST)
        document = self.manifest.provenance.get("experiment")
        if not isinstance(document, dict):
            raise InputError(f"{source}: does not say which experiment it belongs to")
        return parse_experiment(document, source)

    def stages(self) -> dict[str, Path]:
        """Returns the folders of the stages that led here: prepare, train and, if any, teacher.

        Raises:
            AccessError: They are not beside the package's folder any more.
        """
        spec = self.experiment.spec
        for prepare, prepared in _manifests(self.package.parent, Stage.PREPARE):
            train_key = stage_key(spec, Stage.TRAIN, prepared.key, _digests(prepared))
            train = self.package.with_name(f"{Stage.TRAIN}-{train_key}")
            trained = read_manifest(train)
            if trained is None:
                continue
            if stage_key(spec, Stage.PACKAGE, train_key, _digests(trained)) == self.manifest.key:
                return {Stage.PREPARE: prepare, Stage.TRAIN: train, **_teacher(prepare)}
        raise AccessError(
            f"{self.package}: the folders of prepare and train that led to it are not beside it; "
            "run the experiment again, which makes what is missing"
        )


def find_finished(path: Path) -> Finished:
    """Finds a finished experiment.

    Args:
        path: A package stage's folder, a file in it, or a folder above it, of which the newest
            result is taken, and where that is of a search, the one of the level that it kept.

    Raises:
        AccessError: There is no result.
        InputError: A manifest cannot be read.
    """
    folder = path.parent if path.is_file() else path
    own = read_manifest(folder)
    found = [(folder, own)] if own is not None else list(_manifests(folder, Stage.PACKAGE))
    done = [
        Finished(place, manifest, manifest.results)
        for place, manifest in found
        if manifest.results is not None
    ]
    if not done:
        raise AccessError(
            f"{path}: no finished experiment here; give a package stage's folder "
            f"(it holds {MANIFEST}), or the folder that the experiment's output went to"
        )
    newest = max(done, key=lambda each: each.manifest.created)
    name, created = newest.package.name, newest.manifest.created
    kept = newest.package.with_name(kept_package(name, created, _search_beside(newest.package)))
    return next((each for each in done if each.package == kept), newest)


def _search_beside(package: Path) -> bytes | None:
    record = package.parent / SEARCH_FOLDER / SEARCH
    return record.read_bytes() if record.is_file() else None


def read_manifest(folder: Path) -> Manifest | None:
    """Returns a stage folder's manifest, or None where the stage has not finished.

    Raises:
        InputError: There is one that cannot be read.
    """
    path = folder / MANIFEST
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise InputError(f"{path}: not a manifest; the folder is damaged") from error


def _manifests(folder: Path, stage: Stage) -> Iterator[tuple[Path, Manifest]]:
    for pattern in _BELOW:
        for place in sorted(folder.glob(pattern.format(stage))):
            manifest = read_manifest(place)
            if manifest is not None:
                yield place, manifest


def _digests(manifest: Manifest) -> dict[str, str]:
    return manifest.result.digests if manifest.result is not None else {}


def _teacher(prepare: Path) -> dict[str, Path]:
    key = read_plan(prepare).teacher_key
    folder = prepare.with_name(f"{TEACHER_FOLDER}-{key}")
    return {TEACHER_FOLDER: folder} if key is not None and folder.is_dir() else {}


def read_plan(prepare: Path) -> Plan:
    """Returns the plan in prepare's folder.

    Raises:
        AccessError: It is gone.
    """
    path = prepare / PLAN
    try:
        return Plan.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise AccessError(f"{path}: is gone; run the experiment again") from error
