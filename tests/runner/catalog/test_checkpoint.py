"""Weights are read whole or refused, and nothing in a file is ever executed."""

from __future__ import annotations

import argparse
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from sparse_transfer_api.errors import InputError
from sparse_transfer_runner.catalog.checkpoint import PICKLE, SAFETENSORS, find_checkpoint

WEIGHTS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4)}


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return exec, (f"open({str(self.path)!r}, 'w')",)


def read(folder: Path, *, trusted: bool = False) -> dict[str, torch.Tensor]:
    return dict(find_checkpoint(folder, trusted=trusted).tensors())


def write_safetensors(folder: Path) -> None:
    save_file(WEIGHTS, folder / "model.safetensors")


def write_safetensors_shards(folder: Path) -> None:
    for name, tensor in WEIGHTS.items():
        save_file({name: tensor}, folder / f"model-{name}.safetensors")
    index = {"weight_map": {name: f"model-{name}.safetensors" for name in WEIGHTS}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def write_bin(folder: Path) -> None:
    torch.save(WEIGHTS, folder / "pytorch_model.bin")


def write_old_bin(folder: Path) -> None:
    torch.save(WEIGHTS, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)


def write_bin_shards(folder: Path) -> None:
    for name, tensor in WEIGHTS.items():
        torch.save({name: tensor}, folder / f"pytorch_model-{name}.bin")
    index = {"weight_map": {name: f"pytorch_model-{name}.bin" for name in WEIGHTS}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("write", "form"),
    [
        (write_safetensors, SAFETENSORS),
        (write_safetensors_shards, SAFETENSORS),
        (write_bin, PICKLE),
        (write_old_bin, PICKLE),
        (write_bin_shards, PICKLE),
    ],
)
def test_every_format_gives_the_same_weights(
    tmp_path: Path, write: Callable[[Path], None], form: str
) -> None:
    write(tmp_path)

    found = read(tmp_path)

    assert find_checkpoint(tmp_path).format == form
    assert found.keys() == WEIGHTS.keys()
    assert all(torch.equal(found[name], WEIGHTS[name]) for name in WEIGHTS)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("trusted", [True, False])
def test_a_pickle_that_would_execute_code_is_refused_by_name(
    tmp_path: Path, zipped: bool, trusted: bool
) -> None:
    sprung = tmp_path / "sprung"
    content = {**WEIGHTS, "trap": Trap(sprung)}
    torch.save(content, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)

    with pytest.raises(InputError, match=r"asks for (builtins\.)?exec, .*nothing was executed"):
        read(tmp_path, trusted=trusted)

    assert not sprung.exists()


def test_a_bare_pickle_is_not_executed_either(tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps(Trap(sprung)))

    with pytest.raises(InputError):
        read(tmp_path, trusted=True)

    assert not sprung.exists()


def test_trust_allows_harmless_globals_and_no_others(tmp_path: Path) -> None:
    content = {**WEIGHTS, "args": argparse.Namespace(lr=1e-4), "best": np.float64(0.9)}
    torch.save(content, tmp_path / "pytorch_model.bin")

    with pytest.raises(InputError, match=r"argparse\.Namespace.*trust: Pickle or .*--trust-pickle"):
        read(tmp_path)

    assert read(tmp_path, trusted=True).keys() == WEIGHTS.keys()


def cut(name: str, size: int) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / name
        path.write_bytes(path.read_bytes()[:size])

    return damage


def put(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(content) and None


DAMAGES = {
    "truncated safetensors": (write_safetensors, cut("model.safetensors", -10), "cut short"),
    "truncated header": (write_safetensors, cut("model.safetensors", 20), "cut short"),
    "empty safetensors": (write_safetensors, cut("model.safetensors", 0), "is empty"),
    "no safetensors": (write_safetensors, put("model.safetensors", b"<html>" * 9), "damaged"),
    "a Git LFS pointer": (
        write_safetensors,
        put("model.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
        "git lfs pull",
    ),
    "truncated bin": (write_bin, cut("pytorch_model.bin", -40), "cut short"),
    "truncated old bin": (write_old_bin, cut("pytorch_model.bin", -8), "cut short"),
    "no bin": (write_bin, put("pytorch_model.bin", b"<html>" * 9), "begins with b'<html>"),
    "a bin without weights": (
        lambda folder: torch.save({"epoch": 3}, folder / "pytorch_model.bin"),
        lambda folder: None,
        "no named weights, but epoch",
    ),
    "a bare tensor": (
        lambda folder: torch.save(torch.ones(2), folder / "pytorch_model.bin"),
        lambda folder: None,
        "holds a Tensor instead of named weights",
    ),
    "a missing shard": (
        write_safetensors_shards,
        lambda folder: (folder / "model-b.safetensors").unlink(),
        "1 of 2 shards are missing, such as model-b.safetensors",
    ),
    "an index that is none": (
        write_bin_shards,
        put("pytorch_model.bin.index.json", b"{}"),
        "not an index of shards",
    ),
    "an index that leads away": (
        write_bin_shards,
        put("pytorch_model.bin.index.json", b'{"weight_map": {"a": "../../etc/passwd"}}'),
        "not a file of this folder",
    ),
    "no weights at all": (
        lambda folder: None,
        put("tf_model.h5", b"x"),
        "no weights here; expected model.safetensors or .*found tf_model.h5",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_said(tmp_path: Path, name: str) -> None:
    write, damage, message = DAMAGES[name]
    write(tmp_path)
    damage(tmp_path)

    with pytest.raises(InputError, match=message):
        read(tmp_path)
