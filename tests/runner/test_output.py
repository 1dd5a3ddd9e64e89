from __future__ import annotations

import errno
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sparse_transfer_api.errors import AccessError, InputError, OutputVanished, Transient
from sparse_transfer_api.records import Manifest
from sparse_transfer_runner.digests import digest_of_tree
from sparse_transfer_runner.disk import explained, write_atomically
from sparse_transfer_runner.output import StageFolder


@pytest.fixture
def finished(tmp_path: Path) -> StageFolder:
    folder = StageFolder.on_disk(tmp_path / "train-abc", "train", "abc")
    with folder.attempt() as work:
        write_atomically(work.path / "model" / "weights.bin", b"weights")
        work.checkpoints.create("step-1.pt", b"unfinished")
        work.complete(manifest())
    return folder


def manifest() -> Manifest:
    return Manifest(stage="train", key="abc", created=datetime.now(UTC), files=[])


def test_a_manifest_lists_the_result_and_not_the_scaffolding(finished: StageFolder) -> None:
    recorded = finished.verified()
    assert recorded is not None
    assert [entry.path for entry in recorded.files] == ["model/weights.bin"]
    assert finished.required() == recorded
    left = sorted(path.name for path in finished.path.rglob("*") if path.is_file())
    assert left == ["1.json", "manifest.json", "weights.bin"]


def test_what_an_attempt_left_that_was_killed_after_its_manifest_is_removed(
    finished: StageFolder,
) -> None:
    left = ["checkpoints/step-1.pt", ".attempt-1/model/weights.bin", "model/.weights.bin.part"]
    for path in left:
        write_atomically(finished.path / path, b"unfinished")
    assert finished.tidied() == finished.verified()
    assert [path for path in left if (finished.path / path).exists()] == []
    assert (finished.path / "model" / "weights.bin").exists()


def test_a_folder_without_manifest_is_unfinished(tmp_path: Path) -> None:
    folder = StageFolder.on_disk(tmp_path / "train-abc", "train", "abc")
    assert folder.verified() is None
    with pytest.raises(OutputVanished, match="run it again"):
        folder.required()


@pytest.mark.parametrize("damage", ["changed", "same size", "deleted", "manifest"])
def test_a_result_that_does_not_verify_is_named_and_left_alone(
    finished: StageFolder, damage: str
) -> None:
    weights = finished.path / "model" / "weights.bin"
    match damage:
        case "changed":
            weights.write_bytes(b"other weights")
        case "same size":
            weights.write_bytes(b"stranger"[:7])
        case "deleted":
            weights.unlink()
        case "manifest":
            (finished.path / "manifest.json").write_text("{")
    with pytest.raises(InputError, match="move the folder away"):
        finished.verified()
    with pytest.raises(OutputVanished):
        finished.required()
    assert (finished.path / "manifest.json").exists()


def test_attempts_are_numbered_and_an_older_one_gives_way(tmp_path: Path) -> None:
    folder = StageFolder.on_disk(tmp_path / "train-abc", "train", "abc")
    with (
        pytest.raises(Transient, match="attempt 2 has taken over from attempt 1"),
        folder.attempt() as older,
    ):
        (older.path / "weights.bin").write_bytes(b"older")
        with folder.attempt() as newer:
            assert (older.number, newer.number) == (1, 2)
            (newer.path / "weights.bin").write_bytes(b"newer")
            newer.complete(manifest())
        older.complete(manifest())
    assert (folder.path / "weights.bin").read_bytes() == b"newer"
    assert folder.verified() is not None


def test_what_goes_wrong_in_an_overtaken_attempt_is_put_down_to_that(tmp_path: Path) -> None:
    folder = StageFolder.on_disk(tmp_path / "train-abc", "train", "abc")
    with pytest.raises(Transient, match="attempt 2 has taken over"), folder.attempt() as older:
        with folder.attempt():
            pass
        (older.path / "weights.bin").write_bytes(b"its folder is gone")


def test_half_published_files_of_a_killed_attempt_are_replaced(tmp_path: Path) -> None:
    folder = StageFolder.on_disk(tmp_path / "train-abc", "train", "abc")
    write_atomically(folder.path / "model" / "weights.bin", b"half")
    write_atomically(folder.path / "stale.bin", b"of another version")
    with folder.attempt() as work:
        write_atomically(work.path / "model" / "weights.bin", b"whole")
        work.complete(manifest())
    assert (folder.path / "model" / "weights.bin").read_bytes() == b"whole"
    assert not (folder.path / "stale.bin").exists()


def test_a_full_disk_passes_and_a_forbidden_place_does_not(tmp_path: Path) -> None:
    with pytest.raises(Transient, match="no space left"), explained(tmp_path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(AccessError, match="choose another output"), explained(tmp_path):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(tmp_path))


def test_a_real_full_device_is_transient() -> None:
    with pytest.raises(Transient, match="no space left"), explained(Path("/dev/full")):
        Path("/dev/full").write_bytes(b"x")


@pytest.mark.parametrize("error", [RuntimeError, ValueError])
def test_a_full_disk_is_seen_through_a_librarys_own_error(
    tmp_path: Path, error: type[Exception]
) -> None:
    with pytest.raises(Transient, match="no space left"), explained(tmp_path):
        raise error("I/O error: No space left on device (os error 28)")
    with pytest.raises(error, match="something else"), explained(tmp_path):
        raise error("something else")


def test_a_digest_depends_on_names_and_contents(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    for root, name in ((first, "x"), (second, "y")):
        root.mkdir()
        (root / name).write_bytes(b"1")
    assert digest_of_tree(first) != digest_of_tree(second)
    (second / "y").rename(second / "x")
    assert digest_of_tree(first) == digest_of_tree(second)
