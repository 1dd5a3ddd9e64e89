"""The operator's command: what it needs, and what it says when that is missing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sparse_transfer_api.contract import ExitCode


def _run(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sparse_transfer_operator", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PATH": os.environ["PATH"], "HOME": str(folder)},
    )


@pytest.mark.parametrize(
    ("settings", "arguments", "code", "said"),
    [
        ("image: 7", [], ExitCode.INPUT, "image"),
        ("colour: blue", [], ExitCode.INPUT, "colour"),
        ("", [], ExitCode.ACCESS, "--kubeconfig"),
        ("", ["--kubeconfig", "missing"], ExitCode.ACCESS, "missing"),
    ],
)
def test_what_is_wrong_is_the_last_line_of_the_log(
    settings: str, arguments: list[str], code: ExitCode, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(settings)
    done = _run("--settings", str(path), *arguments, folder=tmp_path)
    assert done.returncode == code
    *_, line = done.stderr.splitlines()
    document = json.loads(line)
    assert document["level"] == "error"
    assert said in document["message"]


def test_help_names_the_arguments(tmp_path: Path) -> None:
    done = _run("--help", folder=tmp_path)
    assert done.returncode == 0
    assert "--settings" in done.stdout
    assert "--kubeconfig" in done.stdout
