"""The stage folders below an address, and what each of them records."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from pydantic import ValidationError

from sparse_transfer_api.contract import MANIFEST, PLAN, TEACHER_FOLDER, Stage
from sparse_transfer_api.errors import AccessError, InputError
from sparse_transfer_api.keys import KEY_LENGTH
from sparse_transfer_api.records import FileEntry, Manifest, Plan
from sparse_transfer_api.spec import SparseTransferExperiment, parse_experiment
from sparse_transfer_runner.output import ATTEMPTS
from sparse_transfer_runner.storage.protocol import Missing, Place, StoredFile

from .findings import Check, Finding, Kind

_STAGES = (*Stage, TEACHER_FOLDER)
_NAME = re.compile(rf"({'|'.join(_STAGES)})-([a-z2-7]{{{KEY_LENGTH}}})")


@dataclass(frozen=True)
class StoredStage:
    """A folder whose name is a stage's.

    Args:
        place: The folder.
        above: What the folders of the same experiment share; empty at the top.
        stage: By its name.
        key: By its name.
        sizes: Of all files in it, by path.
    """

    place: Place
    above: str
    stage: str
    key: str
    sizes: Mapping[str, int]

    @property
    def name(self) -> str:
        """Such as ``train-k3xabcdefg``."""
        return f"{self.stage}-{self.key}"

    @property
    def finished(self) -> bool:
        """Whether it has a manifest."""
        return MANIFEST in self.sizes

    @property
    def attempts(self) -> int:
        """How many attempts were claimed."""
        return sum(path.startswith(f"{ATTEMPTS}/") for path in self.sizes)

    @property
    def afresh(self) -> str:
        """What to do about damage in it."""
        return (
            f"bring it back from a whole copy, or move {self.name} away and run the experiment "
            "again, which makes it afresh"
        )

    def finding(self, check: Check, kind: Kind, path: str, what: str, remedy: str = "") -> Finding:
        """Returns a finding about a file of the folder, or with an empty path about all of it."""
        where = f"{self.place.uri}/{path}" if path else self.place.uri
        return Finding(check=check, kind=kind, where=where, what=what, remedy=remedy)

    def damage(self, check: Check, path: str, what: str) -> Finding:
        """Returns the finding that something is not what was recorded."""
        return self.finding(check, Kind.DAMAGED, path, what, self.afresh)


@dataclass(frozen=True)
class StageRecords:
    """What a finished stage's folder says of itself, as far as that can be read.

    Args:
        stored: The folder.
        manifest: None where it cannot be read.
        plan: Prepare's; None of other stages, and where it cannot be read.
        experiment: As it was run; None where the manifest does not say it.
        findings: What cannot be read.
    """

    stored: StoredStage
    manifest: Manifest | None = None
    plan: Plan | None = None
    experiment: SparseTransferExperiment | None = None
    findings: tuple[Finding, ...] = field(default=())

    @property
    def entries(self) -> dict[str, FileEntry]:
        """The listed files by path."""
        return {entry.path: entry for entry in self.manifest.files} if self.manifest else {}

    @property
    def digests(self) -> dict[str, str]:
        """What the next stage's key depends on."""
        result = self.manifest.result if self.manifest is not None else None
        return result.digests if result is not None else {}


def stage_folders(place: Place, files: Iterable[StoredFile]) -> list[StoredStage]:
    """Returns the stage folders of a place, which may be one itself, sorted by path.

    Args:
        place: The place.
        files: All of it.
    """
    itself = _NAME.fullmatch(place.uri.rpartition("/")[2])
    if itself is not None:
        sizes = {file.path: file.size_bytes for file in files}
        return [StoredStage(place, "", itself[1], itself[2], sizes)] if sizes else []
    found: dict[PurePosixPath, dict[str, int]] = {}
    for file in files:
        path = PurePosixPath(file.path)
        parts = next((n for n, part in enumerate(path.parts) if _NAME.fullmatch(part)), None)
        if parts is not None and parts + 1 < len(path.parts):
            inner = found.setdefault(PurePosixPath(*path.parts[: parts + 1]), {})
            inner[PurePosixPath(*path.parts[parts + 1 :]).as_posix()] = file.size_bytes
    return [_stored(place, path, sizes) for path, sizes in sorted(found.items())]


def _stored(place: Place, path: PurePosixPath, sizes: Mapping[str, int]) -> StoredStage:
    folder = place
    for part in path.parts:
        folder = folder.below(part)
    stage, _, key = path.name.rpartition("-")
    above = path.parent.as_posix()
    return StoredStage(folder, "" if above == "." else above, stage, key, sizes)


def read_records(stored: StoredStage) -> StageRecords:
    """Reads what a finished stage's folder says of itself.

    Raises:
        Transient: The store could not be reached in spite of retries.
    """
    try:
        manifest = Manifest.model_validate_json(stored.place.read(MANIFEST))
    except Missing:
        said = "vanished while it was checked"
        return StageRecords(stored, findings=(stored.damage(Check.MANIFEST, MANIFEST, said),))
    except AccessError as error:
        denied = unreadable(stored, Check.MANIFEST, MANIFEST, error)
        return StageRecords(stored, findings=(denied,))
    except ValidationError as error:
        said = f"not a manifest ({_first(error)})"
        return StageRecords(stored, findings=(stored.damage(Check.MANIFEST, MANIFEST, said),))
    plan, no_plan = _plan(stored, manifest) if stored.stage == Stage.PREPARE else (None, ())
    experiment, no_experiment = _experiment(stored, manifest)
    return StageRecords(stored, manifest, plan, experiment, (*no_plan, *no_experiment))


def _plan(stored: StoredStage, manifest: Manifest) -> tuple[Plan | None, tuple[Finding, ...]]:
    if not any(entry.path == PLAN for entry in manifest.files):
        said = f"does not list {PLAN}, prepare's result"
        return None, (stored.damage(Check.RECORDS, MANIFEST, said),)
    try:
        return Plan.model_validate_json(stored.place.read(PLAN)), ()
    except Missing:
        # That it is missing is said where contents are checked.
        said = "is missing, so that nothing can be compared with it"
        return None, (stored.finding(Check.RECORDS, Kind.UNCHECKED, PLAN, said),)
    except AccessError as error:
        return None, (unreadable(stored, Check.RECORDS, PLAN, error),)
    except ValidationError as error:
        said = f"not a plan ({_first(error)})"
        return None, (stored.damage(Check.RECORDS, PLAN, said),)


def _experiment(
    stored: StoredStage, manifest: Manifest
) -> tuple[SparseTransferExperiment | None, tuple[Finding, ...]]:
    document = manifest.provenance.get("experiment")
    if not isinstance(document, dict):
        return None, ()  # the check of the provenance says so
    try:
        return parse_experiment(document, "the recorded experiment"), ()
    except InputError as error:
        said = f"the experiment in it is not valid ({'; '.join(str(error).splitlines())})"
        return None, (stored.damage(Check.PROVENANCE, MANIFEST, said),)


def unreadable(stored: StoredStage, check: Check, path: str, error: AccessError) -> Finding:
    """Returns the finding that a file may not be read."""
    what = str(error).removeprefix(f"{stored.place.uri}/{path}: ")
    return stored.finding(check, Kind.DENIED, path, what)


def _first(error: ValidationError) -> str:
    found = error.errors(include_url=False)[0]
    return ": ".join(filter(None, [".".join(map(str, found["loc"])), found["msg"]]))
