"""Writing to a real S3 server: attempts, publication, many writers at once, large files."""

from __future__ import annotations

import json
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.runner.storage.reaching import files_below, write_files
from tests.servers.fault_proxy import FaultProxy
from tests.servers.faults import FlippedBit, Reset, Rule, refusal
from tests.servers.s3_server import Bucket

from sparse_transfer_api.errors import InputError, OutputVanished, Transient
from sparse_transfer_api.records import Manifest
from sparse_transfer_runner.output import StageFolder
from sparse_transfer_runner.storage import place_for
from sparse_transfer_runner.storage.protocol import Damaged, Missing, StoredFile

LARGE = random.Random(0).randbytes((20 << 20) + 12345)
FILES = {"model/weights.bin": b"weights", "ü b/%2F.txt": b"", "plan.json": b"{}"}


def manifest() -> Manifest:
    return Manifest(stage="train", key="abc", created=datetime.now(UTC), files=[])


def test_what_is_published_can_be_listed_read_fetched_and_removed(
    store: Bucket, tmp_path: Path
) -> None:
    place = place_for(f"{store.uri}/runs").below("train-abc")
    entries = write_files(tmp_path / "work", FILES)

    assert place.files() == []
    assert place.publish(tmp_path / "work", entries) == []
    assert place.files() == sorted(StoredFile(path, len(text)) for path, text in FILES.items())
    assert store.keys() == sorted(f"runs/train-abc/{path}" for path in FILES)
    assert place.read("plan.json") == b"{}"
    (tmp_path / "copy").mkdir()
    place.get(entries, tmp_path / "copy")
    assert files_below(tmp_path / "copy") == FILES
    place.remove([*FILES, "never-there"])
    assert place.files() == []


def test_the_top_of_a_bucket_is_a_place_too(store: Bucket) -> None:
    assert place_for(f"{store.uri}/").create("a", b"1")
    assert store.keys() == ["a"]
    assert place_for(store.uri).files() == [StoredFile("a", 1)]


def test_publication_leaves_alone_what_is_there(store: Bucket, tmp_path: Path) -> None:
    store.put("runs/plan.json", b"of another")
    entries = write_files(tmp_path, {**FILES, "large": LARGE})
    store.put("runs/large", b"of another")

    left = place_for(f"{store.uri}/runs").publish(tmp_path, entries)

    assert sorted(entry.path for entry in left) == ["large", "plan.json"]
    assert store.get("runs/plan.json") == store.get("runs/large") == b"of another"
    assert store.unfinished_uploads() == []


def test_of_sixteen_writers_one_succeeds(store: Bucket) -> None:
    place = place_for(f"{store.uri}/runs")
    together = threading.Barrier(16)

    def write(number: int) -> bool:
        together.wait(timeout=30)
        return place.create("manifest.json", str(number).encode())

    for _ in range(3):
        with ThreadPoolExecutor(16) as pool:
            won = [number for number, wrote in enumerate(pool.map(write, range(16))) if wrote]
        assert [int(place.read("manifest.json"))] == won
        place.remove(["manifest.json"])


def test_of_many_large_uploads_of_one_name_one_succeeds(store: Bucket, tmp_path: Path) -> None:
    content = {number: bytes([number]) * (9 << 20) for number in range(3)}
    together = threading.Barrier(len(content))

    def publish(number: int) -> bool:
        place = place_for(f"{store.uri}/runs")
        folder = tmp_path / str(number)
        entries = write_files(folder, {"model.bin": content[number]})
        together.wait(timeout=30)
        return not place.publish(folder, entries)

    with ThreadPoolExecutor(len(content)) as pool:
        won = [number for number, wrote in enumerate(pool.map(publish, content)) if wrote]
    assert [content[number] for number in won] == [store.get("runs/model.bin")]
    assert store.unfinished_uploads() == []


def test_a_checkpoint_is_written_over_the_one_before(store: Bucket) -> None:
    place = place_for(f"{store.uri}/runs")
    for content in (b"first", b"second", LARGE):
        place.put("checkpoints/step-1.pt", lambda path, content=content: path.write_bytes(content))
        assert place.read("checkpoints/step-1.pt") == content


def test_a_large_file_goes_up_in_parts_and_comes_back_whole(
    proxy: FaultProxy, faulty_store: Bucket, tmp_path: Path
) -> None:
    entries = write_files(tmp_path / "work", {"model.bin": LARGE})
    place = place_for(f"{faulty_store.uri}/runs")

    assert place.publish(tmp_path / "work", entries) == []
    assert proxy.count("UploadPart") >= 2
    (tmp_path / "copy").mkdir()
    place.get(entries, tmp_path / "copy")
    assert files_below(tmp_path / "copy") == {"model.bin": LARGE}


@pytest.mark.parametrize("name", ["small", "large"])
def test_what_differs_from_its_record_is_damaged(store: Bucket, tmp_path: Path, name: str) -> None:
    content = {"small": b"weights", "large": LARGE}[name]
    entries = write_files(tmp_path / "work", {name: content})
    place = place_for(store.uri)
    store.put(name, content[:-1] + b"?")
    (tmp_path / "copy").mkdir()

    with pytest.raises(Damaged, match=f"{store.uri}/{name}: what arrived"):
        place.get(entries, tmp_path / "copy")
    assert files_below(tmp_path / "copy") == {}


def test_what_is_missing_is_named(store: Bucket, tmp_path: Path) -> None:
    place = place_for(f"{store.uri}/runs")
    entries = write_files(tmp_path / "work", {"small": b"1", "large": LARGE})
    for entry in entries:
        with pytest.raises(Missing, match=f"{store.uri}/runs/{entry.path}: no such object"):
            place.get([entry], tmp_path)
    with pytest.raises(Missing, match=f"{store.uri}/runs/plan.json: no such object"):
        place.read("plan.json")


@pytest.mark.parametrize("content", [b"weights", LARGE], ids=["small", "large"])
def test_a_bit_that_flips_on_the_way_up_is_not_kept(
    proxy: FaultProxy, faulty_store: Bucket, tmp_path: Path, content: bytes
) -> None:
    entries = write_files(tmp_path, {"model.bin": content})
    proxy.schedule.set(
        Rule([FlippedBit(of_request=True)], operations=["PutObject", "UploadPart"], times=1)
    )
    place = place_for(faulty_store.uri)

    try:
        refused = place.publish(tmp_path, entries)
    except Transient as error:
        assert f"{faulty_store.uri}/model.bin" in str(error)
        assert faulty_store.keys() == []
    else:
        assert refused == []
        assert faulty_store.get("model.bin") == content


@pytest.mark.parametrize("content", [b"weights", LARGE], ids=["small", "large"])
def test_a_bit_that_flips_on_the_way_down_is_noticed(
    proxy: FaultProxy, faulty_store: Bucket, tmp_path: Path, content: bytes
) -> None:
    entries = write_files(tmp_path / "work", {"model.bin": content})
    place = place_for(faulty_store.uri)
    place.publish(tmp_path / "work", entries)
    proxy.schedule.set(Rule([FlippedBit()], operations=["GetObject"], times=1))
    (tmp_path / "copy").mkdir()

    place.get(entries, tmp_path / "copy")
    assert files_below(tmp_path / "copy") == {"model.bin": content}
    assert proxy.faulted() == 1


@pytest.mark.parametrize("content", [b"1", LARGE], ids=["small", "large"])
def test_a_success_whose_answer_was_lost_is_no_refusal(
    proxy: FaultProxy, faulty_store: Bucket, tmp_path: Path, content: bytes
) -> None:
    place = place_for(faulty_store.uri)
    entries = write_files(tmp_path, {"model.bin": content})
    proxy.schedule.set(
        Rule([Reset(after=True)], operations=["PutObject", "CompleteMultipartUpload"], times=1)
    )

    assert place.publish(tmp_path, entries) == []
    assert faulty_store.get("model.bin") == content
    assert proxy.faulted() == 1
    assert faulty_store.unfinished_uploads() == []


def test_a_claim_whose_answer_was_lost_is_a_success(
    proxy: FaultProxy, faulty_store: Bucket
) -> None:
    place = place_for(faulty_store.uri)
    proxy.schedule.set(Rule([Reset(after=True)], operations=["PutObject"], times=1))

    assert place.create("attempts/1.json", b"{}")
    assert not place.create("attempts/1.json", b"{}")


def test_an_upload_that_ended_well_without_telling_is_no_refusal(
    proxy: FaultProxy, faulty_store: Bucket, tmp_path: Path
) -> None:
    # Amazon forgets an upload when it completes it.
    complete, forgotten = ["CompleteMultipartUpload"], refusal(404, "NoSuchUpload")
    proxy.schedule.set(
        Rule([Reset(after=True)], operations=complete, times=1),
        Rule([forgotten], operations=complete),
    )
    entries = write_files(tmp_path, {"model.bin": LARGE})

    assert place_for(faulty_store.uri).publish(tmp_path, entries) == []
    assert faulty_store.get("model.bin") == LARGE


def test_an_upload_that_somebody_ended_is_told(
    proxy: FaultProxy, faulty_store: Bucket, tmp_path: Path
) -> None:
    forgotten = refusal(404, "NoSuchUpload")
    proxy.schedule.set(Rule([forgotten], operations=["CompleteMultipartUpload"]))

    with pytest.raises(Transient, match=f"{faulty_store.uri}/model.bin: .*by somebody else"):
        place_for(faulty_store.uri).publish(tmp_path, write_files(tmp_path, {"model.bin": LARGE}))


@pytest.mark.parametrize("content", [b"1", LARGE], ids=["small", "large"])
def test_a_conflict_of_writers_that_passes_is_tried_again(
    proxy: FaultProxy, faulty_store: Bucket, tmp_path: Path, content: bytes
) -> None:
    conflict = refusal(409, "ConditionalRequestConflict")
    ends = ["PutObject", "CompleteMultipartUpload"]
    proxy.schedule.set(Rule([conflict], operations=ends, times=2))
    entries = write_files(tmp_path, {"model.bin": content})

    assert place_for(faulty_store.uri).publish(tmp_path, entries) == []
    assert faulty_store.get("model.bin") == content
    assert faulty_store.unfinished_uploads() == []


def test_attempts_are_claimed_in_order_and_an_older_one_gives_way(store: Bucket) -> None:
    def folder() -> StageFolder:
        return StageFolder(place_for(f"{store.uri}/runs/train-abc"), "train", "abc")

    with (
        pytest.raises(Transient, match="attempt 2 has taken over from attempt 1"),
        folder().attempt() as older,
    ):
        (older.path / "weights.bin").write_bytes(b"older")
        with folder().attempt() as newer:
            assert (older.number, newer.number) == (1, 2)
            (newer.path / "weights.bin").write_bytes(b"newer")
            newer.complete(manifest())
        older.complete(manifest())

    later = folder()
    assert later.required().files[0].path == "weights.bin"
    assert (later.path / "weights.bin").read_bytes() == b"newer"
    assert store.get("runs/train-abc/weights.bin") == b"newer"
    assert sorted(store.keys()) == [
        "runs/train-abc/attempts/1.json",
        "runs/train-abc/attempts/2.json",
        "runs/train-abc/manifest.json",
        "runs/train-abc/weights.bin",
    ]


def test_attempts_claimed_at_once_have_numbers_of_their_own(store: Bucket) -> None:
    together = threading.Barrier(8)

    def claim(_: int) -> int:
        folder = StageFolder(place_for(f"{store.uri}/runs/train-abc"), "train", "abc")
        together.wait(timeout=30)
        with folder.attempt() as attempt:
            return attempt.number

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(claim, range(8))) == list(range(1, 9))


def test_of_two_attempts_that_publish_at_once_one_result_stays_and_is_whole(
    store: Bucket,
) -> None:
    ready = threading.Barrier(2)

    def work(text: bytes) -> bool:
        folder = StageFolder(place_for(f"{store.uri}/runs/train-abc"), "train", "abc")
        try:
            with folder.attempt() as attempt:
                for number in range(20):
                    (attempt.path / f"{number}.bin").write_bytes(text)
                ready.wait(timeout=30)
                attempt.complete(manifest())
        except Transient:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        finished = list(pool.map(work, (b"first", b"other")))

    assert any(finished)
    result = StageFolder(place_for(f"{store.uri}/runs/train-abc"), "train", "abc")
    assert len(result.required().files) == 20
    contents = {path.read_bytes() for path in result.path.iterdir()}
    assert len(contents) == 1


def test_half_published_files_of_a_killed_attempt_are_replaced(store: Bucket) -> None:
    store.put("train-abc/attempts/1.json", b"{}")
    store.put("train-abc/model/weights.bin", b"half")
    store.put("train-abc/stale.bin", b"of another version")
    folder = StageFolder(place_for(f"{store.uri}/train-abc"), "train", "abc")
    with folder.attempt() as work:
        (work.path / "model").mkdir()
        (work.path / "model" / "weights.bin").write_bytes(b"whole")
        work.complete(manifest())

    assert store.get("train-abc/model/weights.bin") == b"whole"
    assert store.keys("train-abc/stale") == []


@pytest.mark.parametrize("damage", ["changed", "deleted", "manifest"])
def test_a_result_that_does_not_verify_is_named_and_left_alone(store: Bucket, damage: str) -> None:
    folder = StageFolder(place_for(f"{store.uri}/train-abc"), "train", "abc")
    with folder.attempt() as work:
        (work.path / "weights.bin").write_bytes(b"weights")
        work.complete(manifest())
    before = store.keys()
    match damage:
        case "changed":
            store.put("train-abc/weights.bin", b"other weights")
        case "deleted":
            store.delete("train-abc/weights.bin")
        case "manifest":
            store.put("train-abc/manifest.json", b"{")
    fresh = StageFolder(place_for(f"{store.uri}/train-abc"), "train", "abc")

    with pytest.raises(InputError, match="move the folder away"):
        fresh.verified()
    with pytest.raises(OutputVanished):
        fresh.required()
    assert set(store.keys()) >= set(before) - {"train-abc/weights.bin"}


def test_contents_that_changed_without_changing_size_are_noticed_when_read(store: Bucket) -> None:
    folder = StageFolder(place_for(f"{store.uri}/train-abc"), "train", "abc")
    with folder.attempt() as work:
        (work.path / "weights.bin").write_bytes(b"weights")
        work.complete(manifest())
    store.put("train-abc/weights.bin", b"WEIGHTS")
    kept = folder.path
    for path in kept.iterdir():
        path.unlink()

    with pytest.raises(OutputVanished, match="what arrived"):
        StageFolder(place_for(f"{store.uri}/train-abc"), "train", "abc").required()


def test_more_files_than_one_request_can_delete_are_deleted(store: Bucket) -> None:
    place = place_for(f"{store.uri}/runs")
    folder = store.server.folder / "data" / store.name / "runs"
    folder.mkdir()
    for number in range(1005):
        (folder / str(number)).write_bytes(b"")

    place.remove(file.path for file in place.files())

    assert place.files() == []


def test_the_record_of_an_attempt_says_when_it_started(store: Bucket) -> None:
    folder = StageFolder(place_for(f"{store.uri}/train-abc"), "train", "abc")
    with folder.attempt():
        record = json.loads(store.get("train-abc/attempts/1.json"))
    assert datetime.fromisoformat(record["started"]) <= datetime.now(UTC)
