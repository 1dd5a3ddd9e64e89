"""``catalog mirror``: what it says, how it ends, and that a copied catalogue is used."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import pytest
import yaml
from tests.runner.storage.reaching import reaching
from tests.servers.s3_server import Bucket, S3Server

from sparse_transfer_cli.__main__ import invoke

_CATALOG = """
models:
  - name: whole
    family: text
    size: Medium
    dense: {uri: file://./model, licence: MIT}
    teacher: catalog:elsewhere
  - name: partly
    family: text
    size: Smallest
    sparse: {uri: file://./nowhere}
    dense: {uri: file://./model}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a catalogue of a model that is there and one that is not."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "models" / "model").mkdir(parents=True)
    (tmp_path / "models" / "model" / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "models" / "catalog.yaml").write_text(_CATALOG)
    return tmp_path


def mirror(*arguments: str) -> int:
    return invoke(["catalog", "mirror", "--catalog", "models/catalog.yaml", *arguments])


def test_what_was_mirrored_is_said_to_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert mirror("whole", "--to", "copy", "--progress", "bar") == 0
    text = capsys.readouterr().out
    assert "whole   dense   1       7 bytes   copied" in text
    assert f"use them with --catalog {Path.cwd().as_uri()}/copy/catalog.yaml" in text
    assert "note: the teacher catalog:elsewhere is not in the mirror" in text
    assert mirror("whole", "--to", "copy", "--progress", "bar") == 0
    assert "was there" in capsys.readouterr().out


def test_machines_get_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert mirror("whole", "--to", "copy") == 0
    shown = capsys.readouterr()
    *progress, last = map(json.loads, shown.out.splitlines())
    assert {line["type"] for line in progress} == {"progress"}
    assert last["type"] == "mirrored"
    (part,) = last["parts"]
    assert (part["model"], part["part"], part["state"]) == ("whole", "dense", "Copied")
    assert (part["files"], part["sizeBytes"]) == (1, 7)
    assert last["catalog"].endswith("/copy/catalog.yaml")
    assert "mirrored: whole" in shown.err


def test_what_failed_is_said_and_the_rest_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    assert mirror("--all", "--to", "copy", "--progress", "bar") == 13
    text = capsys.readouterr().out
    assert "failed: partly/sparse: file://" in text
    assert "no such file or folder" in text
    assert "not mirrored: partly; the same command goes on with them" in text
    assert "mirrored: whole" in text
    written = yaml.safe_load(Path("copy/catalog.yaml").read_text())
    assert [model["name"] for model in written["models"]] == ["whole"]


def test_a_dry_run_says_what_it_would_do_and_writes_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert mirror("--all", "--to", "copy", "--dry-run", "--progress", "bar") == 13
    text = capsys.readouterr().out
    assert text.count("would be copied") == 2
    assert f"whole/dense: from {Path.cwd().as_uri()}/models/model" in text
    assert "failed: partly/sparse" in text
    assert "nothing was copied" in text
    assert not Path("copy").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--to", "copy"], 2, "name the models to mirror"),
        (["whole", "--all", "--to", "copy"], 2, "name the models to mirror"),
        (["whole"], 2, "--to"),
        (["hole", "--to", "copy"], 10, "did you mean whole?"),
        (["whole", "--to", "models"], 10, "not a mirror's"),
        (["whole", "--to", "hf://owner/name"], 10, "nothing can be written to hf://"),
        (["whole", "--to", "pvc://nowhere/x"], 13, "claim nowhere is not mounted"),
    ],
)
def test_mistakes_are_explained(
    arguments: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mirror(*arguments) == code
    assert words in capsys.readouterr().err


def test_a_mirror_in_a_store_is_the_catalogue_of_a_cluster(
    s3: S3Server,
    bucket: Bucket,
    write_experiment: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    reach = str(
        write_experiment(f"  storage: {{s3: {{endpoint: '{s3.endpoint}', pathStyle: true}}}}\n")
    )
    with reaching(s3.endpoint, {**s3.environment(), "AWS_ENDPOINT_URL_S3": s3.endpoint}):
        assert mirror("whole", "--to", f"{bucket.uri}/models", "-f", reach) == 0
        assert bucket.keys() == [
            "models/catalog.yaml",
            "models/whole/dense.json",
            "models/whole/dense/model.safetensors",
            "models/whole/entry.json",
        ]
        uri = f"{bucket.uri}/models/catalog.yaml"
        capsys.readouterr()
        assert invoke(["catalog", "list", "--catalog", uri]) == 0
        assert "whole" in capsys.readouterr().out
        with patch.dict(os.environ, {"STE_CATALOG": uri}):
            assert invoke(["catalog", "show", "whole"]) == 0
        assert "# dense: is here, digest" in capsys.readouterr().out
    with reaching(s3.endpoint, s3.environment(s3.user())):
        assert mirror("whole", "--to", f"{bucket.uri}/models", "-f", reach) == 13
        assert "the right s3:" in capsys.readouterr().err
