"""What results say of how they were made: the revision of the code, inputs, seeds, hardware."""

from __future__ import annotations

import getpass
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sparse_transfer_api.contract import ENV_IMAGE, ENV_REVISION, MANIFEST, Stage
from sparse_transfer_api.records import Manifest, StageResult
from sparse_transfer_api.spec import parse_experiment
from sparse_transfer_runner.output import StageFolder
from sparse_transfer_runner.provenance import missing_from, provenance, stage_provenance
from sparse_transfer_runner.revision import UNCHECKED, revision, revision_of

_EXPERIMENT = parse_experiment(
    {
        "apiVersion": "sparsetransfer.dev/v1alpha1",
        "kind": "SparseTransferExperiment",
        "metadata": {"name": "film-reviews"},
        "spec": {
            "useCase": "sentiment",
            "data": {"uri": "s3://bucket/reviews/"},
            "training": {"seed": 7},
        },
    },
    "test",
)


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-c", "user.name=n", "-c", "user.email=e@example.org", *arguments],
        cwd=folder,
        env={name: text for name, text in os.environ.items() if not name.startswith("GIT_")},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    (folder / "code.py").write_text("a = 1\n")
    git(folder, "add", "code.py")
    git(folder, "commit", "-q", "-m", "Begin")
    return folder


@pytest.fixture
def without_git(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], None]:
    return lambda: monkeypatch.setenv("PATH", str(tmp_path / "no-programs"))


def test_a_checkout_is_named_by_its_commit_and_edited_code_is_marked(checkout: Path) -> None:
    commit = git(checkout, "rev-parse", "HEAD")
    git(checkout, "tag", "-a", "v1", "-m", "a tag stands for no revision")
    assert revision_of(checkout) == commit
    (checkout / "code.py").write_text("a = 2\n")
    assert revision_of(checkout) == f"{commit}-dirty"


@pytest.mark.parametrize("kept", ["loose", "packed", "detached", "worktree"])
def test_the_commit_is_found_without_git(
    checkout: Path, tmp_path: Path, kept: str, without_git: Callable[[], None]
) -> None:
    commit = git(checkout, "rev-parse", "HEAD")
    if kept == "packed":
        git(checkout, "pack-refs", "--all")
    if kept == "detached":
        git(checkout, "checkout", "-q", "--detach")
    if kept == "worktree":
        git(checkout, "worktree", "add", "-q", "-b", "other", str(tmp_path / "other"))
        checkout = tmp_path / "other"
    without_git()
    assert revision_of(checkout) == f"{commit}{UNCHECKED}"


def test_a_checkout_whose_files_tell_nothing_has_no_revision(
    checkout: Path, without_git: Callable[[], None]
) -> None:
    (checkout / ".git" / "HEAD").unlink()
    without_git()
    assert revision_of(checkout) is None


def test_a_hook_of_another_repository_does_not_lead_astray(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = git(checkout, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    assert revision_of(checkout) == commit


def test_an_image_says_its_revision_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENV_REVISION, "abc")
    monkeypatch.setenv(ENV_IMAGE, "registry.example.org/runner:1")
    assert revision() == "abc"
    assert provenance()["image"] == "registry.example.org/runner:1"


def test_accelerators_are_named_once_they_are_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert provenance()["hardware"]["accelerators"] == []
    device = SimpleNamespace(name="H200", total_memory=10)
    cuda = SimpleNamespace(
        is_available=lambda: True,
        device_count=lambda: 1,
        get_device_properties=lambda _: device,
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    assert provenance()["hardware"]["accelerators"] == [{"name": "H200", "memoryBytes": 10}]


def earlier(root: Path, stage: Stage, digests: dict[str, str]) -> StageFolder:
    key = "a" * 10
    folder = root / f"{stage}-{key}"
    folder.mkdir()
    result = StageResult(
        stage=stage, key=key, outcome="Succeeded", reason="Completed", digests=digests
    )
    manifest = Manifest(stage=stage, key=key, created=datetime.now(UTC), files=[], result=result)
    (folder / MANIFEST).write_bytes(manifest.to_json())
    return StageFolder.on_disk(folder, stage, key)


def test_every_stage_says_what_it_was_made_from(tmp_path: Path) -> None:
    prepare = earlier(tmp_path, Stage.PREPARE, {"data": "d", "model": "m"})
    train = earlier(tmp_path, Stage.TRAIN, {"weights": "w"})
    first = stage_provenance(_EXPERIMENT, {}, {"data": "d", "model": "m"})
    last = stage_provenance(_EXPERIMENT, {Stage.PREPARE: prepare, Stage.TRAIN: train})
    assert first["inputs"] == {"data": "d", "model": "m"}
    assert last["inputs"] == {"data": "d", "model": "m", "weights": "w"}
    assert last["earlier"] == {"prepare": "a" * 10, "train": "a" * 10}
    assert last["seeds"] == {"training": 7}
    assert missing_from(first, Stage.PREPARE) == []
    assert missing_from(last, Stage.TRAIN) == []
    assert missing_from(last, Stage.PACKAGE) == ["engines", "isa"]
    assert missing_from(first, Stage.TRAIN) == ["earlier.prepare"]
    assert "inputs.data" in missing_from({}, Stage.PREPARE)


def test_neither_the_machine_nor_its_user_is_named() -> None:
    said = set(texts(stage_provenance(_EXPERIMENT, {})))
    assert not said & {socket.gethostname(), getpass.getuser()}
    for folder in (Path.home(), Path.cwd(), Path(sys.prefix)):
        assert not [text for text in said if str(folder) in text]


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        value = list(value.values())
    for each in value if isinstance(value, list) else ():
        yield from texts(each)
    if isinstance(value, str):
        yield value
