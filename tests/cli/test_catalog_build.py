"""``catalog build``: real, tiny models made as their entries say, once, and then used by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from sparse_transfer_cli.__main__ import invoke
from sparse_transfer_runner.catalog.models import Catalog
from sparse_transfer_runner.catalog.reading import load_catalog

pytest.importorskip("torch", reason="pip install 'sparse-transfer[runner]'")

_JOB = """
    upstream:
      model: file://./dense
      dataKind: texts without labels
      sparsity: 0.75
      calibrationRows: 16
      recoverySteps: 0
      maxLength: 8
      licence: MIT
"""
_CATALOG = f"""
models:
  - name: tiny-l2
    family: text
    size: Largest
    ladder: tiny
    dense: {{uri: file://./dense, licence: MIT}}{_JOB}      data: file://./texts.txt
  - name: tiny-l1
    family: text
    size: Smallest
    ladder: tiny{_JOB}      layers: 1
  - name: there
    family: text
    size: Medium
    sparse: {{uri: file://./sparse}}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a catalogue, a dense model and texts."""
    from tests.runner.tiny_models import WORDS, write_tiny_encoder

    monkeypatch.chdir(tmp_path)
    write_tiny_encoder(tmp_path / "dense")
    count = len(WORDS)
    lines = (
        " ".join(WORDS[5 + (row * step + row // 7) % (count - 5)] for step in range(1, 9))
        for row in range(400)
    )
    (tmp_path / "texts.txt").write_text("\n".join(lines))
    (tmp_path / "catalog.yaml").write_text(_CATALOG)
    return tmp_path


def build(*arguments: str) -> int:
    return invoke(["catalog", "build", "--catalog", "catalog.yaml", "--output", "m", *arguments])


def made() -> Catalog:
    return load_catalog("m/catalog.yaml")


def test_a_ladder_is_made_by_its_name_and_found_in_the_new_catalogue(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build("tiny", "--data", "texts.txt") == 0

    errors = capsys.readouterr().err
    assert f"$ sparse-transfer upstream --model {folder.as_uri()}/dense --data texts.txt" in errors
    assert (
        "made: catalog:tiny-l2, catalog:tiny-l1; use them with --catalog m/catalog.yaml" in errors
    )
    deep, shallow = (
        next(entry for entry in made().models if entry.name == name)
        for name in ("tiny-l2", "tiny-l1")
    )
    for entry in (deep, shallow):
        assert entry.sparse is not None
        assert entry.dense is not None
        assert entry.sparse.sparsity == pytest.approx(0.75, abs=0.01)
        assert entry.sparse.uri == f"{folder.as_uri()}/m/{entry.name}/sparse"
        assert not entry.must_be_made
    assert deep.dense is not None
    assert deep.dense.uri == f"{folder.as_uri()}/dense"
    assert shallow.dense is not None
    assert shallow.dense.uri == f"{folder.as_uri()}/m/tiny-l1/dense"
    capsys.readouterr()
    assert invoke(["catalog", "show", "tiny-l1", "--catalog", "m/catalog.yaml"]) == 0
    shown = capsys.readouterr().out
    assert "# sparse: is here, digest" in shown
    assert "# dense: is here, digest" in shown


def test_a_model_is_made_by_the_options_of_its_entry(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    catalog = folder / "catalog.yaml"
    options = (
        "method: gradual, pattern: block4, budgets: layer-error, gradualSteps: 4, pruneEvery: 2, "
        "initialSparsity: 0.5, batchSize: 8, seed: 3"
    )
    document = yaml.safe_load(catalog.read_text())
    document["models"][0]["upstream"] |= yaml.safe_load(f"{{{options}}}")
    catalog.write_text(yaml.safe_dump(document))

    assert build("tiny-l2") == 0

    command = next(line for line in capsys.readouterr().err.splitlines() if line.startswith("$ "))
    assert (
        "--method gradual --pattern block4 --budgets layer-error --calibration-rows 16 "
        "--gradual-steps 4 --prune-every 2 --initial-sparsity 0.5 --recovery-steps 0 "
        "--batch-size 8 --max-length 8 --seed 3"
    ) in command
    record = json.loads((folder / "m/tiny-l2/sparse/foundation.json").read_bytes())
    assert (record["method"], record["pattern"], record["budgets"]) == (
        "gradual",
        "block4",
        "layer-error",
    )
    assert record["quality"]["gradualSteps"] == 4
    (entry,) = (entry for entry in made().models if entry.name == "tiny-l2")
    assert entry.sparse is not None
    assert entry.sparse.pattern == "block4"
    assert entry.upstream is not None
    assert (entry.upstream.seed, entry.upstream.initial_sparsity) == (3, 0.5)


def test_what_is_made_is_not_made_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert build("tiny-l2") == 0
    weights = folder / "m" / "tiny-l2" / "sparse" / "model.safetensors"
    before = weights.stat().st_mtime_ns

    assert build("tiny-l2") == 0

    assert "tiny-l2: was there" in capsys.readouterr().err
    assert weights.stat().st_mtime_ns == before


def test_a_dry_run_prints_the_commands_and_does_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build("tiny", "--data", "texts.txt", "--dry-run") == 0

    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("$ ")]
    assert [line.split()[3:5] for line in lines] == [
        ["--model", f"{folder.as_uri()}/dense"],
        ["--model", f"{folder.as_uri()}/m/tiny-l1/dense"],
    ]
    assert not (folder / "m").exists()


def test_what_was_made_can_be_mirrored_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    mirror = ["catalog", "mirror", "--to", "copy"]
    assert invoke([*mirror, "tiny-l1", "--catalog", "catalog.yaml"]) == 10
    assert "catalog build tiny-l1 --data DATA --output models" in capsys.readouterr().err
    assert build("tiny-l1", "--data", "texts.txt") == 0
    assert invoke([*mirror, "tiny-l1", "--catalog", "m/catalog.yaml"]) == 0
    document = yaml.safe_load(Path("copy/catalog.yaml").read_text())
    assert [model["name"] for model in document["models"]] == ["tiny-l1"]
    capsys.readouterr()
    assert invoke(["catalog", "show", "tiny-l2", "--catalog", "copy/catalog.yaml"]) == 10
    assert "did you mean tiny-l1?" in capsys.readouterr().err


def test_a_mirror_tells_of_what_must_be_made(capsys: pytest.CaptureFixture[str]) -> None:
    catalog = Path("catalog.yaml")
    catalog.write_text(_CATALOG.replace("file://./sparse", "file://./dense"))
    arguments = ["--all", "--catalog", "catalog.yaml", "--to", "copy", "--progress", "bar"]

    assert invoke(["catalog", "mirror", *arguments]) == 0

    text = capsys.readouterr().out
    assert "mirrored: tiny-l2, there" in text
    for name in ("tiny-l2", "tiny-l1"):
        assert f"note: without a sparse model: catalog:{name}: is published nowhere" in text
    copies = load_catalog("copy/catalog.yaml").models
    assert [entry.name for entry in copies] == ["tiny-l2", "there"]
    job = copies[0].upstream
    assert job is not None
    assert job.model == Path("copy/tiny-l2/dense").resolve().as_uri()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["tiny-l1"], 2, "catalog:tiny-l1: give its data with --data: texts without labels"),
        (["there"], 10, "catalog:there: there is nothing to make"),
        (["tinny"], 10, "did you mean tiny?"),
        (["tiny-l1", "--data", "missing.txt"], 13, "missing.txt"),
        ([], 2, "NAME"),
    ],
)
def test_mistakes_are_explained(
    arguments: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build(*arguments) == code
    assert words in capsys.readouterr().err


def test_a_failing_upstream_leaves_no_entry(folder: Path) -> None:
    (folder / "texts.txt").write_text("too few\n")

    assert build("tiny-l2") == 10

    assert not (folder / "m" / "catalog.yaml").exists()
