"""The catalogue's verbs: what there is, whether it can be reached, adding one's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from tests.servers.hub import Hub

from sparse_transfer_api.optim_level import band_ranges
from sparse_transfer_cli.__main__ import invoke
from sparse_transfer_runner.catalog.foundation import FOUNDATION_FILE, Foundation
from sparse_transfer_runner.catalog.models import CatalogEntry
from sparse_transfer_runner.catalog.reading import packaged_catalog


@pytest.fixture
def foundation(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    record = Foundation(
        name="mine",
        family="text",
        architecture="BertModel",
        sparsity=0.8,
        method="admm",
        prunable=["encoder.weight"],
    )
    (folder / FOUNDATION_FILE).write_bytes(record.to_json())
    return folder


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert invoke(["catalog", *arguments]) == 0
    return capsys.readouterr().out


def test_the_list_names_every_model_with_its_sparsity(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "list")
    assert "bert-base-90" in text
    assert "90.0 %" in text
    assert "minilm-l6" in text


def test_machines_get_the_entries_of_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    models = json.loads(shown(capsys, "list", "--json"))["models"]
    assert [CatalogEntry.model_validate(model) for model in models] == [*packaged_catalog().models]


def test_the_levels_of_a_use_case_are_listed_with_what_they_start_from(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = shown(capsys, "list", "--use-case", "ner")
    for words in ("from 0.5, below 0.75", "MediumSparseInt8", "obert-base-90", "hf://RedHatAI/"):
        assert words in text
    text = shown(capsys, "list", "--use-case", "detection")
    assert "must be made: catalog build yolov8n-49" in text


def test_machines_get_the_levels_of_a_use_case(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(shown(capsys, "list", "--use-case", "yolo", "--json"))
    assert found["useCase"] == "cv-detection"
    assert [level["band"] for level in found["levels"]] == [b.name for _, b in band_ranges()]
    assert found["levels"][-1]["model"]["name"] == "yolov8n-49"


def test_machines_get_everything_about_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(shown(capsys, "show", "catalog:minilm-l6", "--json"))
    assert found["model"]["upstream"]["sparsity"] == 0.8
    assert found["reached"]["dense"].startswith("is here, digest")
    assert "sparse" not in found["reached"]


def test_a_model_is_shown_by_an_identifier_of_the_zoo(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "show", "zoo:yolov8-n-coco-pruned49_quantized")
    assert yaml.safe_load(text)["name"] == "yolov8n-49"
    assert "# sparse: catalog:yolov8n-49: is published nowhere and must be made first" in text


def test_a_model_that_cannot_be_reached_is_shown_with_the_ways_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = shown(capsys, "show", "bert-base-90")
    assert yaml.safe_load(text)["size"] == "Medium"
    assert "# sparse: cannot be reached: hf://" in text
    assert "spec.model.uri" in text


def test_a_model_of_a_hub_is_shown_with_its_commit_and_not_fetched(
    hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "google-bert/bert-base-uncased"
    commit = hub.add(name, {"config.json": b"{}"}).branches["main"]
    text = shown(capsys, "show", "bert-base-90")
    assert f"# dense: is on the hub, as hf://{name}@{commit}" in text
    assert hub.fetched() == {}


def test_a_recorded_revision_is_shown_beside_the_newest(
    hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    commit = hub.add("timm/resnet18.a1_in1k", {"config.json": b"{}"}).branches["main"]
    text = shown(capsys, "show", "resnet18-80")
    assert f"# dense: is on the hub, as hf://timm/resnet18.a1_in1k@{commit}; recorded is" in text


def test_an_added_model_is_the_first_choice_and_is_there(
    foundation: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    catalog = str(tmp_path / "catalog.yaml")
    added = shown(capsys, "add", str(foundation), "--catalog", catalog, "--size", "medium")
    assert "mine is now the first choice for text, medium" in added
    names = [line.split()[0] for line in shown(capsys, "list", "--catalog", catalog).splitlines()
             if " text " in line]  # fmt: skip
    assert names[0] == "mine"
    assert len(names) > 1
    assert "# sparse: is here, digest" in shown(capsys, "show", "mine", "--catalog", catalog)
    (foundation / "model.safetensors").write_bytes(b"other weights")
    assert "not the recorded one" in shown(capsys, "show", "mine", "--catalog", catalog)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["show", "bert-bas-90"], 10, "did you mean bert-base-90"),
        (["show", "minilm"], 10, "name one of minilm-l6, minilm-l4, minilm-l2"),
        (["show", "zoo:bert-base-imdb-pruned80"], 10, "nearest: catalog:bert-base-"),
        (["show", "zoo:bert"], 10, "not a SparseZoo identifier"),
        (["list", "--use-case", "nre"], 10, "did you mean ner?"),
        (["list", "--catalog", "missing.yaml"], 13, "missing.yaml"),
        (["add", ".", "--catalog", "c.yaml"], 10, FOUNDATION_FILE),
        (["add", "."], 2, "--catalog"),
        (["lst"], 2, "Did you mean 'list'?"),
    ],
)
def test_mistakes_are_explained(
    arguments: list[str],
    code: int,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert invoke(["catalog", *arguments]) == code
    assert words in capsys.readouterr().err
