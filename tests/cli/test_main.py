"""The edge: exit codes, what errors look like, and what start-up costs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sparse_transfer_cli.__main__ import invoke

Write = Callable[..., Path]

_HEAVY = {
    "jinja2",
    "kubernetes",
    "matplotlib",
    "numpy",
    "onnxruntime",
    "pydantic",
    "rich",
    "torch",
    "transformers",
    "yaml",
}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["run", "--help"],
        ["catalog", "list", "-h"],
        ["submit", "--help"],
        ["status", "-h"],
        ["logs", "--help"],
        ["results", "show", "--help"],
    ],
)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    ended = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "sparse_transfer_cli", *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    imported = {line.rsplit("|", 1)[-1].strip() for line in ended.stderr.splitlines()}
    # typer itself looks at pydantic for the options of a single verb.
    heavy = _HEAVY if arguments == ["--help"] else _HEAVY - {"pydantic"}
    assert not heavy & imported
    assert "Usage: sparse-transfer" in ended.stdout


def test_help_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["--help"]) == 0
    text = capsys.readouterr().out
    for verb in (
        "run", "sparse-transfer", "validate", "upstream", "benchmark", "report", "results",
        "catalog", "examples", "submit", "status", "logs",
    ):  # fmt: skip
        assert f"\n  {verb} " in text


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["rum"], 2, "Did you mean 'run'?"),
        (["run", "--fiel", "x"], 2, "--file"),
        (["run"], 2, "Missing option"),
        (["run", "-f", "missing.yaml"], 13, "missing.yaml: there is no such file"),
        (["run", "-f", "x.yaml", "--progress", "none"], 2, "auto"),
        (["sparse-transfer", "--use-case", "sentimnt", "--data", "."], 10, "sentiment"),
        (["sparse-transfer", "--use-case", "qa", "--data", "nowhere"], 13, "hf://nowhere"),
        (["examples", "extract", "film", "--output", "x"], 2, "film-reviews"),
        (["report", "."], 13, "no finished experiment here"),
        (["benchmark", "."], 13, "no finished experiment here"),
    ],
)
def test_mistakes_end_with_their_code_and_words_and_no_traceback(
    arguments: list[str],
    code: int,
    words: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert invoke(arguments) == code
    shown = capsys.readouterr()
    assert words in shown.err
    assert "Traceback" not in shown.err
    assert shown.out == ""


@pytest.mark.parametrize(
    "arguments",
    [["submit", "-f", "x.yaml"], ["status"], ["logs", "a"], ["results", "a"]],
)
def test_verbs_of_a_cluster_say_which_extra_they_need(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "kubernetes", None)  # as if it were not installed
    assert invoke(arguments) == 2
    assert "pip install 'sparse-transfer[cluster]'" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--debug", "run"], ["run", "--debug"]])
def test_debug_shows_where_it_happened(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke([*arguments, "-f", "missing.yaml"]) == 13
    assert "Traceback" in capsys.readouterr().err


def test_every_mistake_of_an_experiment_is_listed(
    write_experiment: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_experiment("  optimLevel: 7\n  epochs: 3\n")
    assert invoke(["validate", "-f", str(path)]) == 10
    shown = capsys.readouterr().err
    assert "optimLevel" in shown
    assert "epochs" in shown


def test_the_original_arguments_can_be_shown_as_a_yaml_that_validates(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "reviews").mkdir()
    monkeypatch.chdir(tmp_path)
    arguments = ["--use-case", "sentiment", "--data", "reviews", "--optim-level", "50%"]
    assert invoke(["sparse-transfer", *arguments, "--show"]) == 0
    shown = capsys.readouterr().out
    assert "optimLevel: 0.5" in shown
    (tmp_path / "shown.yaml").write_text(shown)
    assert invoke(["validate", "-f", "shown.yaml"]) == 0
