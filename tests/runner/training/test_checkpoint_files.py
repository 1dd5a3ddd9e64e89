from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest
import torch
from tests.runner.training.small_run import checkpoint_folder, claimed, in_folder

from sparse_transfer_api.errors import Transient
from sparse_transfer_api.records import FileEntry
from sparse_transfer_runner.storage.file import FilePlace
from sparse_transfer_runner.storage.protocol import Place, StoredFile
from sparse_transfer_runner.training.checkpoint_files import (
    CheckpointFolder,
    CheckpointRecord,
    Position,
)

SECOND = "step-00000002-attempt-1"


def step(number: int) -> Position:
    return Position("step", number)


def save(folder: CheckpointFolder, *numbers: int) -> None:
    for number in numbers:
        folder.write(step(number), {"step": number, "weights": torch.ones(1000)})


def found(folder: CheckpointFolder) -> Position | None:
    saved = folder.newest()
    return saved.position if saved is not None else None


def test_the_newest_checkpoint_wins_and_old_ones_are_pruned(tmp_path: Path) -> None:
    folder = in_folder(tmp_path)
    assert folder.newest() is None
    save(folder, 5, 10, 100)
    newest = folder.newest()
    assert newest is not None
    assert newest.position == step(100)
    assert newest.state["step"] == 100
    assert torch.equal(newest.state["weights"], torch.ones(1000))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"step-{number:08d}-attempt-1{suffix}"
        for number in (10, 100)
        for suffix in (".json", ".pt")
    ]


def test_training_comes_after_the_start(tmp_path: Path) -> None:
    folder = in_folder(tmp_path)
    folder.write(Position("start", 12), {})
    save(folder, 1)
    assert found(folder) == step(1)


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize("suffix", [".pt", ".json"])
@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda content: content[: len(content) // 2], id="truncated"),
        pytest.param(lambda content: b"", id="empty"),
        pytest.param(lambda content: b"\x00" * len(content), id="zeros"),
    ],
)
def test_a_broken_checkpoint_is_passed_over_with_a_warning(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[bytes], bytes],
    suffix: str,
) -> None:
    folder = in_folder(tmp_path)
    save(folder, 1, 2)
    broken = tmp_path / f"{SECOND}{suffix}"
    broken.write_bytes(damage(broken.read_bytes()))
    with caplog.at_level(logging.WARNING):
        assert found(folder) == step(1)
    assert f"{SECOND}.pt: passed over" in caplog.text


def test_one_flipped_bit_is_noticed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = in_folder(tmp_path)
    save(folder, 1, 2)
    state = tmp_path / f"{SECOND}.pt"
    state.write_bytes(flipped(state.read_bytes()))
    with caplog.at_level(logging.WARNING):
        assert found(folder) == step(1)
    assert "differs from what was recorded" in caplog.text


class Exploit:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_a_checkpoint_that_would_execute_code_is_passed_over(tmp_path: Path) -> None:
    folder = in_folder(tmp_path / "checkpoints")
    save(folder, 1, 2)
    state = tmp_path / "checkpoints" / f"{SECOND}.pt"
    torch.save({"step": Exploit(tmp_path / "owned")}, state)
    record = state.with_suffix(".json")
    vouched = CheckpointRecord.model_validate_json(record.read_bytes()).model_copy(
        update={"sha256": hashlib.sha256(state.read_bytes()).hexdigest()}
    )
    record.write_bytes(vouched.to_json())
    assert found(folder) == step(1)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("half", [f".{SECOND}.pt.x7f", f"{SECOND}.pt", f"{SECOND}.json"])
def test_a_half_written_checkpoint_is_never_read_and_soon_removed(
    tmp_path: Path, half: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = in_folder(tmp_path)
    save(folder, 1)
    (tmp_path / half).write_bytes(b"half")
    assert found(folder) == step(1)
    assert not caplog.text
    save(folder, 3)
    assert not (tmp_path / f"{SECOND}.pt").exists()
    assert not (tmp_path / f"{SECOND}.json").exists()


@pytest.mark.parametrize(
    ("then", "now", "said"),
    [
        ({"batch_size": 32}, {"batch_size": 16}, "batch_size 32, now 16"),
        ({"recipe": "a", "seed": 0}, {"recipe": "b", "seed": 1}, "recipe 'a', now 'b'; seed 0"),
        ({}, {"precision": "bf16"}, "precision None, now 'bf16'"),
    ],
)
def test_a_checkpoint_of_other_settings_is_passed_over_and_says_which(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    then: dict[str, object],
    now: dict[str, object],
    said: str,
) -> None:
    save(in_folder(tmp_path, 1, **then), 500)
    later = in_folder(tmp_path, 2, **now)
    assert later.newest() is None
    assert said in caplog.text
    # With a smaller batch steps are other steps: what fits counts as newer, though it is at less.
    save(later, 7, 8)
    assert found(later) == step(8)


def test_a_checkpoint_of_another_layout_is_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = in_folder(tmp_path)
    save(folder, 1, 2)
    record = tmp_path / f"{SECOND}.json"
    newer = CheckpointRecord.model_validate_json(record.read_bytes())
    record.write_bytes(newer.model_copy(update={"layout": 99}).to_json())
    assert found(folder) == step(1)
    assert "layout 99" in caplog.text


def test_an_older_attempt_neither_writes_nor_removes_anything(tmp_path: Path) -> None:
    older, newer = claimed(tmp_path), claimed(tmp_path)
    save(checkpoint_folder(newer), 3)
    with pytest.raises(Transient, match="attempt 2 has taken over from attempt 1"):
        save(checkpoint_folder(older), 9)
    assert found(checkpoint_folder(newer)) == step(3)


def test_attempts_never_write_one_file_and_the_later_one_counts(tmp_path: Path) -> None:
    unaware, later = in_folder(tmp_path, 1), in_folder(tmp_path, 2)
    save(later, 4)
    save(unaware, 4, 5)
    assert found(later) == step(4)
    assert {path.name.split("-attempt-")[1] for path in tmp_path.iterdir()} == {
        "1.pt",
        "1.json",
        "2.pt",
        "2.json",
    }


def test_what_a_later_attempt_is_writing_is_left_alone(tmp_path: Path) -> None:
    unfinished = tmp_path / "step-00000009-attempt-2.pt"
    unfinished.write_bytes(b"its record follows")
    save(in_folder(tmp_path, 1), 1, 2, 3)
    assert unfinished.exists()


class FarPlace:
    """A folder that is out of reach, and counts what is fetched from it."""

    folder = None

    def __init__(self, near: FilePlace) -> None:
        self._near = near
        self.uri = near.uri
        self.fetched: list[str] = []

    def below(self, name: str) -> Place:
        return FarPlace(self._near.below(name))

    def files(self) -> list[StoredFile]:
        return self._near.files()

    def read(self, path: str) -> bytes:
        self.fetched.append(path)
        return self._near.read(path)

    def create(self, path: str, content: bytes) -> bool:
        return self._near.create(path, content)

    def put(self, path: str, write: Callable[[Path], None]) -> None:
        self._near.put(path, write)

    def publish(self, source: Path, files: Sequence[FileEntry]) -> list[FileEntry]:
        return self._near.publish(source, files)

    def get(self, files: Sequence[FileEntry], target: Path) -> None:
        self.fetched += (file.path for file in files)
        self._near.get(files, target)

    def remove(self, paths: Iterable[str]) -> None:
        self._near.remove(paths)

    def sweep(self) -> None:
        self._near.sweep()


def test_from_far_away_only_what_is_used_is_fetched_and_once(tmp_path: Path) -> None:
    place = FarPlace(FilePlace(tmp_path))
    folder = CheckpointFolder(place, 1, {"seed": 1}, lambda: None)
    save(folder, 1, 2)
    assert place.fetched == []
    saved = folder.newest()
    assert saved is not None
    assert torch.equal(saved.state["weights"], torch.ones(1000))
    assert place.fetched == [f"{SECOND}.json", f"{SECOND}.pt"]

    place.fetched.clear()
    assert CheckpointFolder(place, 2, {"seed": 2}, lambda: None).newest() is None
    assert [path for path in place.fetched if path.endswith(".pt")] == []
