"""``results verify``: what it says, and how it ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.runner.audit.recorded_experiment import Written, write_results, write_unfinished
from tests.runner.storage.reaching import reaching
from tests.servers.s3_server import Bucket, S3Server

from sparse_transfer_api.contract import ENV_PVC_MOUNT, ENV_REVISION
from sparse_transfer_cli.__main__ import invoke
from sparse_transfer_runner.storage import place_for
from sparse_transfer_runner.storage.file import FilePlace


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, from which paths are typed."""
    monkeypatch.setenv(ENV_REVISION, "f" * 40)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def written(folder: Path) -> Written:
    return write_results(FilePlace(folder / "runs"))


def test_whole_results_are_said_to_be_whole_and_what_was_checked(
    written: Written, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["results", "verify", "runs"]) == 0
    text = capsys.readouterr().out
    for stage in ("prepare", "teacher", "train", "package"):
        (row,) = (line for line in text.splitlines() if f"/{stage}-" in line)
        assert row.split()[-5:] == ["ok"] * 5
    assert "checked      4 finished stages: 8 files, 2" in text
    assert "kB read to the end and compared with the recorded SHA-256" in text
    assert "manifest 4 of 4, contents 4 of 4, records 4 of 4, key 4 of 4, provenance 4 of 4" in text
    assert "whole        everything that was checked is as it was recorded" in text


def test_damage_is_listed_with_what_to_do_and_ends_with_10(
    written: Written, capsys: pytest.CaptureFixture[str]
) -> None:
    (written.folder("train") / "masks.safetensors").write_bytes(b"maskt")
    (written.folder("train") / "model" / "config.json").unlink()
    write_unfinished(FilePlace(Path.cwd() / "runs"))
    assert invoke(["results", "verify", "runs/default"]) == 10
    text = capsys.readouterr().out
    lines = [line for line in text.splitlines() if line.startswith("damaged ")]
    assert "masks.safetensors: its content has SHA-256" in lines[0] + lines[1]
    assert "model/config.json: listed in the manifest, but missing" in lines[0] + lines[1]
    assert f"move train-{written.train.key} away and run the experiment again" in lines[0]
    assert lines[2] == "damaged      2 problems, named above; nothing was changed"
    assert "damaged (2)" in text
    assert "unfinished" in text
    assert "not checked: 1 unfinished stage" in text


def test_many_notes_are_counted(written: Written, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(25):
        (written.folder("train") / f"mine-{number}").write_text("")
    assert invoke(["results", "verify", "runs"]) == 0
    assert "note         5 more; --json lists them all" in capsys.readouterr().out


@pytest.mark.parametrize("damaged", [False, True])
def test_machines_get_one_document(
    written: Written, damaged: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    if damaged:
        (written.folder("train") / "masks.safetensors").unlink()
    assert invoke(["results", "verify", "runs", "--json"]) == (10 if damaged else 0)
    shown = capsys.readouterr()
    document = json.loads(shown.out)
    assert document["verdict"] == ("Damaged" if damaged else "Whole")
    assert [folder["stage"] for folder in document["folders"]] == [
        "package", "prepare", "teacher", "train",
    ]  # fmt: skip
    train = document["folders"][3]
    assert train["checks"]["contents"] == ("Failed" if damaged else "Passed")
    assert [each["where"].rpartition("/")[2] for each in train["findings"]] == (
        ["masks.safetensors"] if damaged else []
    )
    assert shown.err == ""


@pytest.mark.parametrize("named", ["folder", "manifest", "file address", "claim"])
def test_a_stage_is_found_however_it_is_named(
    written: Written, named: str, folder: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv(ENV_PVC_MOUNT, str(folder))
    stage = f"default/film-reviews/prepare-{written.prepare.key}"
    uri = {
        "folder": f"runs/{stage}",
        "manifest": f"runs/{stage}/manifest.json",
        "file address": f"file://{folder}/runs/{stage}/",
        "claim": f"pvc://runs/{stage}",
    }[named]
    assert invoke(["results", "verify", uri]) == 0
    assert "1 finished stage: 1 file" in capsys.readouterr().out


def test_an_experiment_leads_to_its_results(
    written: Written, write_experiment: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_experiment("")
    assert invoke(["results", "verify", "-f", str(path)]) == 0
    assert "4 finished stages" in capsys.readouterr().out


def test_where_nothing_has_finished_there_is_nothing_to_check(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_unfinished(FilePlace(folder / "runs"))
    assert invoke(["results", "verify", "runs"]) == 13
    shown = capsys.readouterr()
    assert "2 attempts" in shown.out
    assert "no stage has finished here" in shown.err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "give the address of results"),
        (["nowhere"], 13, "no such file or folder"),
        (["."], 13, "is empty; give the folder of a stage"),
        (["hf://owner/model"], 10, "nothing can be written to hf://"),
        (["-f", "missing.yaml"], 13, "there is no such file"),
    ],
)
def test_mistakes_are_explained(
    arguments: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["results", "verify", *arguments]) == code
    assert words in capsys.readouterr().err


def test_results_in_a_store_are_verified_as_their_experiment_reaches_it(
    s3: S3Server,
    bucket: Bucket,
    write_experiment: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    with reaching(s3.endpoint, s3.environment()):
        stages = _write(bucket)
    path = write_experiment(
        f"  output: {{uri: '{bucket.uri}/runs'}}\n"
        f"  storage: {{s3: {{endpoint: '{s3.endpoint}', pathStyle: true}}}}\n"
    )
    with reaching(s3.endpoint, s3.environment()):
        assert invoke(["results", "verify", "-f", str(path)]) == 0
        assert "4 of 4 passed" in capsys.readouterr().out
        bucket.delete(f"runs/default/film-reviews/train-{stages.train.key}/model/model.safetensors")
        assert invoke(["results", "verify", "-f", str(path), f"{bucket.uri}/runs/"]) == 10
        assert "model.safetensors: listed in the manifest, but missing" in capsys.readouterr().out
        assert invoke(["results", "verify", "-f", str(path), f"{bucket.uri}/elsewhere"]) == 13
        assert invoke(["results", "verify", "-f", str(path), "s3://no-such-bucket/"]) == 13
        assert "has no such bucket" in capsys.readouterr().err
    with reaching(s3.endpoint, s3.environment(s3.user())):
        assert invoke(["results", "verify", "-f", str(path)]) == 13
        assert "s3:ListBucket" in capsys.readouterr().err


def _write(bucket: Bucket) -> Written:
    return write_results(place_for(f"{bucket.uri}/runs"))
