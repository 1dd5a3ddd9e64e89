from __future__ import annotations

import errno
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sparse_transfer_api.errors import AccessError, InputError, OutputVanished, Transient
from sparse_transfer_api.records import Manifest
from sparse_transfer_runner.output import StageFolder, digest_of_tree, explained, write_atomically


@pytest.fixture
def finished(tmp_path: Path) -> StageFolder:
    folder = StageFolder(tmp_path / "train-abc", "train", "abc")
    folder.claim()
    write_atomically(folder.path / "model" / "weights.bin", b"weights")
    (folder.checkpoints).mkdir()
    (folder.checkpoints / "step-1.pt").write_bytes(b"unfinished")
    folder.complete(Manifest(stage="train", key="abc", created=datetime.now(UTC), files=[]))
    return folder


def test_a_manifest_lists_the_result_and_not_the_scaffolding(finished: StageFolder) -> None:
    manifest = finished.verified()
    assert manifest is not None
    assert [entry.path for entry in manifest.files] == ["model/weights.bin"]
    assert finished.required() == manifest


def test_a_folder_without_manifest_is_unfinished(tmp_path: Path) -> None:
    folder = StageFolder(tmp_path / "train-abc", "train", "abc")
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
    folder = StageFolder(tmp_path / "train-abc", "train", "abc")
    assert [folder.claim(), folder.claim()] == [1, 2]
    folder.require_attempt(2)
    with pytest.raises(Transient, match="attempt 2 has taken over"):
        folder.require_attempt(1)


def test_a_full_disk_passes_and_a_forbidden_place_does_not(tmp_path: Path) -> None:
    with pytest.raises(Transient, match="no space left"), explained(tmp_path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(AccessError, match="choose an output"), explained(tmp_path):
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
