"""Whether manifest, result, plan, artifacts and provenance agree with files and with each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from urllib.parse import unquote

from sparse_transfer_api.contract import MANIFEST, TEACHER_FOLDER, Stage
from sparse_transfer_api.keys import planned_digests
from sparse_transfer_api.records import FileEntry, Manifest, Plan
from sparse_transfer_api.results import Artifact
from sparse_transfer_runner.digests import digest_of_digests
from sparse_transfer_runner.provenance import missing_from

from .findings import Check, Finding, Kind
from .folders import StageRecords, StoredStage


def check_identity(stored: StoredStage, manifest: Manifest) -> Iterator[Finding]:
    """Yields where the manifest is not that of this folder's stage and key."""
    if (manifest.stage, manifest.key) != (stored.stage, stored.key):
        said = f"is that of {manifest.stage}-{manifest.key}, not of {stored.name}"
        yield stored.damage(Check.MANIFEST, MANIFEST, said)
    doubled = len(manifest.files) - len({entry.path for entry in manifest.files})
    if doubled:
        yield stored.damage(Check.MANIFEST, MANIFEST, f"lists {doubled} files twice")


def check_records(records: StageRecords, manifest: Manifest) -> Iterator[Finding]:
    """Yields where what a finished stage recorded disagrees with its files or with itself."""
    stored = records.stored
    for said in _wrong_result(stored, manifest):
        yield stored.damage(Check.RECORDS, MANIFEST, said)
    if stored.stage == Stage.PREPARE and records.plan is not None:
        for said in _differing(planned_digests(records.plan), records.digests, "plan.json gives"):
            yield stored.damage(Check.RECORDS, MANIFEST, said)
    if stored.stage in (Stage.TRAIN, Stage.PACKAGE):
        for said in _foreign_digests(records.digests, records.entries):
            yield stored.damage(Check.RECORDS, MANIFEST, said)
    if stored.stage == Stage.PACKAGE:
        for said in _wrong_outcome(stored, manifest, records.entries):
            yield stored.damage(Check.RECORDS, MANIFEST, said)
    yield from _moved(stored, manifest)


def check_provenance(
    records: StageRecords, manifest: Manifest, plan: Plan | None
) -> Iterator[Finding]:
    """Yields what the provenance does not say, or says otherwise than the plan.

    Args:
        records: Of the folder.
        manifest: Its manifest.
        plan: Of the prepare that led to it; None where that is not there.
    """
    stored, recorded = records.stored, manifest.provenance
    missing = missing_from(recorded, stored.stage)
    if missing:
        said = (
            f"its provenance does not say {', '.join(missing)}: another version wrote it, or it "
            "was edited"
        )
        yield stored.damage(Check.PROVENANCE, MANIFEST, said)
    if recorded.get("image") is None and recorded.get("revision") is None:
        said = "neither an image nor a git revision is known of the program that made it"
        yield stored.finding(Check.PROVENANCE, Kind.NOTE, MANIFEST, said)
    inputs, seeds = recorded.get("inputs"), recorded.get("seeds")
    if plan is None or not isinstance(inputs, Mapping) or not isinstance(seeds, Mapping):
        return
    expected = {**planned_digests(plan), "seed": plan.training.seed}
    found = {**inputs, "seed": seeds.get("training")}
    for said in _differing(expected, found, "the plan says"):
        yield stored.damage(Check.PROVENANCE, MANIFEST, f"its provenance: {said}")


def _wrong_result(stored: StoredStage, manifest: Manifest) -> Iterator[str]:
    result = manifest.result
    if result is None:
        if stored.stage != TEACHER_FOLDER:
            yield "holds no result"
        return
    if (result.stage, result.key, result.outcome) != (stored.stage, stored.key, "Succeeded"):
        yield f"its result is {result.outcome} of {result.stage}-{result.key}"
    if not _inside(stored, result.manifest_uri or "", MANIFEST):
        yield f"its result names {result.manifest_uri} as this manifest"


def _differing(
    expected: Mapping[str, object], found: Mapping[str, object], who: str
) -> Iterator[str]:
    for name, value in expected.items():
        if found.get(name) != value:
            yield f"{name} is {_short(found.get(name))}, {who} {_short(value)}"


def _foreign_digests(digests: Mapping[str, str], entries: Mapping[str, FileEntry]) -> Iterator[str]:
    """Yields the recorded digests that belong to no listed file and to no folder of them."""
    trees: dict[str, dict[str, str]] = {}
    for path, entry in entries.items():
        first, *rest = PurePosixPath(path).parts
        if rest:
            trees.setdefault(first, {})[PurePosixPath(*rest).as_posix()] = entry.sha256
    known = {entry.sha256 for entry in entries.values()}
    known |= {digest_of_digests(tree) for tree in trees.values()}
    if not digests:
        yield "its result records no digests"
    for name, digest in digests.items():
        if digest not in known:
            yield f"the recorded digest of {name}, {_short(digest)}, is that of no listed file"


def _wrong_outcome(
    stored: StoredStage, manifest: Manifest, entries: Mapping[str, FileEntry]
) -> Iterator[str]:
    if manifest.results is None:
        yield "holds no results"
    elif manifest.results.recommended.file not in entries:
        yield f"recommends {manifest.results.recommended.file}, which it does not list"
    if not manifest.artifacts:
        yield "names no artifacts"
    for artifact in manifest.artifacts:
        for said in _wrong_artifact(stored, artifact, entries):
            yield f"artifact {artifact.name}: {said}"


def _wrong_artifact(
    stored: StoredStage, artifact: Artifact, entries: Mapping[str, FileEntry]
) -> Iterator[str]:
    base, found, path = artifact.uri.rpartition(f"/{stored.name}/")
    if not (base and found):
        yield f"{artifact.uri} leads out of {stored.name}"
        return
    chosen = [entry for entry in entries.values() if _below(entry.path, path)]
    if not chosen:
        yield f"{path} is not among the listed files"
    if artifact.sha256 is not None and artifact.sha256 not in {each.sha256 for each in chosen}:
        yield f"has SHA-256 {_short(artifact.sha256)}, {path} is listed with another one"
    size = sum(each.size_bytes for each in chosen)
    if artifact.size_bytes is not None and artifact.size_bytes != size:
        yield f"has {artifact.size_bytes} bytes, {path} is listed with {size}"


def _moved(stored: StoredStage, manifest: Manifest) -> Iterator[Finding]:
    uris = [artifact.uri for artifact in manifest.artifacts]
    if manifest.result is not None and manifest.result.manifest_uri is not None:
        uris.append(manifest.result.manifest_uri)
    here = unquote(stored.place.uri)
    recorded = {unquote(_folder_of(stored, uri)) for uri in uris} - {"", here}
    if recorded:
        said = f"was made at {', '.join(sorted(recorded))}: addresses in it name that place"
        yield stored.finding(Check.RECORDS, Kind.NOTE, MANIFEST, said)


def _folder_of(stored: StoredStage, uri: str) -> str:
    above, found, _ = uri.rpartition(f"/{stored.name}/")
    return f"{above}{found}".rstrip("/")


def _inside(stored: StoredStage, uri: str, path: str) -> bool:
    return uri.endswith(f"/{stored.name}/{path}")


def _below(path: str, chosen: str) -> bool:
    return path == chosen or path.startswith(f"{chosen.rstrip('/')}/")


def _short(value: object) -> str:
    text = str(value)
    return f"{text[:12]}…" if len(text) > 16 else text
