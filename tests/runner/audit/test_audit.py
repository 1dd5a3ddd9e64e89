"""An audit names every kind of damage, where it is, and nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.runner.audit.recorded_experiment import Written, write_results, write_unfinished
from tests.runner.storage.reaching import files_below, reaching
from tests.servers.fault_proxy import FaultProxy
from tests.servers.faults import FlippedBit, Rule, refusal
from tests.servers.s3_server import Bucket, S3Server

from sparse_transfer_api.contract import ENV_REVISION, MANIFEST, PLAN
from sparse_transfer_api.errors import AccessError
from sparse_transfer_runner.audit.findings import Audit, Check, CheckState, Finding, Kind
from sparse_transfer_runner.audit.results import audit
from sparse_transfer_runner.storage import place_for
from sparse_transfer_runner.storage.file import FilePlace
from sparse_transfer_runner.storage.protocol import Place

STAGES = ["package", "prepare", "teacher", "train"]
"""In the order of their folders."""


class Watched:
    """Remembers what an audit says about its progress."""

    def __init__(self) -> None:
        self.expected = 0
        self.seen = 0

    def expect(self, size_bytes: int) -> None:
        self.expected += size_bytes

    def read(self, size_bytes: int) -> None:
        self.seen += size_bytes


def audited(root: Path | Place) -> Audit:
    return audit(FilePlace(root) if isinstance(root, Path) else root, Watched())


def only(found: Audit, *kinds: Kind) -> Finding:
    """Returns the one finding of these kinds: damage shows up where it is and nowhere else."""
    findings = found.findings(*kinds)
    assert len(findings) == 1, "\n".join(map(str, findings))
    return findings[0]


@pytest.fixture(autouse=True)
def known_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENV_REVISION, "f" * 40)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def written(root: Path) -> Written:
    return write_results(FilePlace(root))


@pytest.fixture(params=["file", "s3"])
def anywhere(request: pytest.FixtureRequest, root: Path) -> Iterator[Place]:
    """An output place of each kind."""
    if request.param == "file":
        yield FilePlace(root)
        return
    s3: S3Server = request.getfixturevalue("s3")
    bucket: Bucket = request.getfixturevalue("bucket")
    with reaching(s3.endpoint, s3.environment()):
        yield place_for(f"{bucket.uri}/runs")


def test_a_whole_experiment_passes_every_check(anywhere: Place) -> None:
    write_results(anywhere)
    watched = Watched()
    found = audit(anywhere, watched)
    assert [folder.stage for folder in found.folders] == STAGES
    for folder in found.folders:
        assert folder.checks == dict.fromkeys(Check, CheckState.PASSED)
    assert found.findings(*Kind) == []
    total = sum(folder.size_bytes for folder in found.folders)
    assert found.read_bytes == watched.seen == watched.expected == total > 0


def test_nothing_is_changed(root: Path, written: Written) -> None:
    before = files_below(root)
    audited(root)
    assert files_below(root) == before


@pytest.mark.parametrize("below", ["", "default", "default/film-reviews"])
def test_it_is_found_from_every_folder_above(root: Path, written: Written, below: str) -> None:
    assert len(audited(root / below).finished) == 4


def test_a_stage_alone_is_checked_as_far_as_it_goes(written: Written) -> None:
    found = audited(written.folder("package"))
    finding = only(found, *Kind)
    assert (finding.kind, finding.check) == (Kind.UNCHECKED, Check.KEY)
    assert f"prepare-{written.prepare.key}" in finding.what
    assert "folder of the experiment" in finding.what
    (folder,) = found.folders
    assert folder.checks == {
        **dict.fromkeys(Check, CheckState.PASSED), Check.KEY: CheckState.UNCHECKED,
    }  # fmt: skip


def test_an_unfinished_folder_is_listed_and_is_no_damage(root: Path, written: Written) -> None:
    write_unfinished(FilePlace(root))
    found = audited(root)
    (unfinished,) = (folder for folder in found.folders if not folder.finished)
    assert (unfinished.attempts, unfinished.files, unfinished.checks) == (2, 3, {})
    assert found.findings(*Kind) == []


def test_what_is_not_listed_is_named_and_is_no_damage(written: Written) -> None:
    (written.folder("train") / "notes.txt").write_text("mine")
    finding = only(audited(written.folder("train").parent), *Kind)
    assert finding.kind == Kind.NOTE
    assert finding.where.endswith("/notes.txt")


def test_results_that_were_moved_are_whole(root: Path, written: Written, tmp_path: Path) -> None:
    root.rename(tmp_path / "moved")
    found = audited(tmp_path / "moved")
    assert found.findings(Kind.DAMAGED, Kind.UNCHECKED, Kind.DENIED) == []
    notes = found.findings(Kind.NOTE)
    assert all("was made at file://" in note.what for note in notes)
    # The teacher's manifest holds no addresses.
    assert len(notes) == 3


Damage = Callable[[Written], object]
WEIGHTS = "model/model.safetensors"


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


CONTENTS: dict[str, tuple[Damage, str, str]] = {
    "one bit differs": (
        lambda w: flipped(w.folder("train") / WEIGHTS), "train", "its content has SHA-256",
    ),
    "a file is missing": (
        lambda w: (w.folder("teacher") / WEIGHTS).unlink(), "teacher", "listed in the manifest",
    ),
    "a file is cut short": (
        lambda w: (w.folder("train") / WEIGHTS).write_bytes(b"cut"), "train", "has 3 bytes",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CONTENTS)
def test_a_damaged_file_is_named(root: Path, written: Written, name: str) -> None:
    damage, stage, words = CONTENTS[name]
    damage(written)
    finding = only(audited(root), *Kind)
    assert (finding.kind, finding.check) == (Kind.DAMAGED, Check.CONTENTS)
    assert finding.where.endswith(f"{stage}-{getattr(written, stage).key}/{WEIGHTS}")
    assert words in finding.what
    assert "run the experiment again" in finding.remedy


RECORDS: dict[str, tuple[str, dict[str, object], Check, str]] = {
    "of another stage": (
        "train", {"key": "a" * 10}, Check.MANIFEST, "is that of train-aaaaaaaaaa",
    ),
    "without a result": ("package", {"result": None}, Check.RECORDS, "holds no result"),
    "of a failed stage": (
        "package", {"result.outcome": "Failed"}, Check.RECORDS, "its result is Failed",
    ),
    "with a result that is elsewhere": (
        "package", {"result.manifestUri": "s3://b/x/manifest.json"}, Check.RECORDS, "s3://b/x",
    ),
    "without results": ("package", {"results": None}, Check.RECORDS, "holds no results"),
    "recommending what is not there": (
        "package", {"results.recommended.file": "gone.onnx"}, Check.RECORDS, "gone.onnx",
    ),
    "without artifacts": ("package", {"artifacts": []}, Check.RECORDS, "no artifacts"),
    "with an artifact of another size": (
        "package", {"artifacts.1.sizeBytes": 5}, Check.RECORDS, "has 5 bytes",
    ),
    "with an artifact of another content": (
        "package", {"artifacts.1.sha256": "a" * 64}, Check.RECORDS, "has SHA-256 aaaaaaaaaaaa…",
    ),
    "with an artifact that leads out": (
        "package", {"artifacts.0.uri": "s3://b/deployment"}, Check.RECORDS, "leads out of",
    ),
    "with a digest of no file": (
        "package", {"result.digests.shipped": "a" * 64}, Check.RECORDS, "of no listed file",
    ),
    "with an edited experiment": (
        "package", {"provenance.experiment.spec.optimLevel": 0.9}, Check.KEY, "led to it, but",
    ),
    "with an edited field of its own": (
        "package", {"provenance.experiment.spec.benchmark": {"threads": 3}}, Check.KEY,
        "give the key",
    ),
    "with an experiment that cannot be": (
        "train", {"provenance.experiment.spec.optimLevel": 9}, Check.PROVENANCE, "optimLevel",
    ),
    "without seeds": (
        "train", {"provenance.seeds": {}}, Check.PROVENANCE, "does not say seeds.training",
    ),
    "without hardware": (
        "teacher", {"provenance.hardware": None}, Check.PROVENANCE, "hardware.cores",
    ),
    "made from other data": (
        "teacher", {"provenance.inputs.data": "a" * 64}, Check.PROVENANCE, "data is aaaaaaaaaaaa…",
    ),
    "made with another seed": (
        "train", {"provenance.seeds.training": 3}, Check.PROVENANCE, "seed is 3",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_that_does_not_fit_is_named(root: Path, written: Written, name: str) -> None:
    stage, change, check, words = RECORDS[name]
    written.edit(stage, change)
    found = audited(root)
    damages = [each for each in found.findings(Kind.DAMAGED) if words in each.what]
    assert [each.check for each in damages] == [check]
    assert damages[0].where.endswith(f"{stage}-{getattr(written, stage).key}/{MANIFEST}")
    assert {each.where for each in found.findings(Kind.DAMAGED)} == {damages[0].where}


def test_a_changed_digest_breaks_the_chain_of_keys(root: Path, written: Written) -> None:
    written.edit("prepare", {"result.digests.data": "a" * 64})
    damages = audited(root).findings(Kind.DAMAGED)
    assert sorted((each.where.split("/")[-2].split("-")[0], each.check) for each in damages) == [
        ("package", Check.KEY),
        ("prepare", Check.RECORDS),
        ("train", Check.KEY),
    ]


def test_a_plan_that_was_edited_is_noticed_by_all_it_decided(root: Path, written: Written) -> None:
    plan = written.folder("prepare") / PLAN
    plan.write_text(plan.read_text().replace("d" * 64, "a" * 64))
    damages = audited(root).findings(Kind.DAMAGED)
    assert {(each.where.split("/")[-2].split("-")[0], each.check) for each in damages} == {
        ("prepare", Check.CONTENTS),
        ("prepare", Check.RECORDS),
        ("prepare", Check.PROVENANCE),
        ("teacher", Check.KEY),
        ("teacher", Check.PROVENANCE),
        ("train", Check.PROVENANCE),
        ("package", Check.PROVENANCE),
    }


@pytest.mark.parametrize(
    ("path", "content", "words"),
    [(MANIFEST, b"{", "not a manifest"), (PLAN, b"[]", "not a plan")],
)
def test_a_document_that_cannot_be_read_is_named(
    root: Path, written: Written, path: str, content: bytes, words: str
) -> None:
    (written.folder("prepare") / path).write_bytes(content)
    found = audited(root)
    damages = [each for each in found.findings(Kind.DAMAGED) if words in each.what]
    assert [each.where for each in damages] == [f"{written.prepare.place.uri}/{path}"]
    assert {each.where for each in found.findings(Kind.DAMAGED)} == {damages[0].where}
    assert found.findings(Kind.UNCHECKED) != []


def test_a_teacher_is_followed_to_any_experiment_that_shares_it(
    root: Path, written: Written
) -> None:
    written.edit("teacher", {"provenance.earlier.prepare": "a" * 10})
    assert audited(root).findings(*Kind) == []


def test_stages_that_led_to_a_result_may_be_gone(root: Path, written: Written) -> None:
    shutil.rmtree(written.folder("train"))
    finding = only(audited(root), *Kind)
    assert (finding.kind, finding.check) == (Kind.UNCHECKED, Check.KEY)
    assert f"train-{written.train.key}, which led to it" in finding.what


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda root: None, "no such file or folder"),
        (lambda root: root.mkdir(), "is empty"),
        (lambda root: (root / "x").mkdir(parents=True), "is empty"),
        (lambda root: write_text(root / "logs" / "a.log"), "none of its 1 files"),
        (lambda root: write_text(root / "train-notakey"), "none of its 1 files"),
    ],
)
def test_where_nothing_is_that_is_said(
    root: Path, make: Callable[[Path], object], words: str
) -> None:
    make(root)
    with pytest.raises(AccessError, match=words):
        audited(root)


def write_text(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_text("text")


def test_an_object_that_may_not_be_read_is_told_from_a_damaged_one(
    proxy: FaultProxy, faulty_store: Bucket
) -> None:
    place = place_for(faulty_store.uri)
    write_results(place)
    proxy.schedule.set(
        Rule([refusal(403, "AccessDenied")], operations=["GetObject"], key="*/masks.safetensors")
    )
    finding = only(audit(place, Watched()), *Kind)
    assert (finding.kind, finding.check) == (Kind.DENIED, Check.CONTENTS)
    assert "s3:GetObject" in finding.what


def test_damage_on_the_way_is_not_taken_for_damage_in_the_store(
    proxy: FaultProxy, faulty_store: Bucket
) -> None:
    place = place_for(faulty_store.uri)
    write_results(place)
    once = Rule([FlippedBit()], operations=["GetObject"], key="*/masks.safetensors", times=1)
    proxy.schedule.set(once)
    assert audit(place, Watched()).findings(*Kind) == []
    assert once.times == 0


def test_damage_in_the_store_is_named(store: Bucket) -> None:
    place = place_for(store.uri)
    written = write_results(place)
    key = f"default/film-reviews/train-{written.train.key}/masks.safetensors"
    store.put(key, b"maskt")
    finding = only(audit(place, Watched()), *Kind)
    assert (finding.kind, finding.where) == (Kind.DAMAGED, f"{store.uri}/{key}")
