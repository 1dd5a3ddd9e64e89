"""What the documents name exists: links, fields, options, exit codes, parts of the report."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from tests.docs.pages import (
    DOCS,
    LINKED,
    ROOT,
    WRITTEN,
    anchors,
    code,
    experiments,
    links,
    name_of,
)

from sparse_transfer_api.contract import ExitCode
from sparse_transfer_api.optim_level import BANDS_BELOW, DENSE_BAND, LAST_BAND
from sparse_transfer_api.schema import inlined
from sparse_transfer_api.spec import SparseTransferExperiment, parse_experiment
from sparse_transfer_cli.app import app

_FIELD = re.compile(r"\bspec(?:\.[a-zA-Z0-9]+)+")
_OPTION = re.compile(r"(?<!\S)(--[a-z][a-z-]+)")


@pytest.mark.parametrize("page", LINKED, ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in links(page):
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{page}: {target}"
        assert ROOT in linked.parents, f"{page}: {target} leads out of the repository"
        if anchor:
            assert anchor in anchors(linked), f"{page}: {target}"


def test_the_map_leads_to_every_page() -> None:
    linked = {(DOCS / target.partition("#")[0]).resolve() for target in links(DOCS / "index.md")}
    assert set(WRITTEN) - linked == {DOCS / "index.md"}


@pytest.mark.parametrize("page", WRITTEN, ids=name_of)
def test_every_experiment_of_a_page_is_valid(page: Path) -> None:
    for experiment in experiments(page):
        parse_experiment(experiment.document, f"{page}:{experiment.line}")


@pytest.mark.parametrize("page", WRITTEN, ids=name_of)
def test_every_field_that_a_page_names_exists(page: Path) -> None:
    named = {field for text in code(page) for field in _FIELD.findall(text)}
    for field in named:
        node: dict[str, Any] = inlined(SparseTransferExperiment)
        for name in field.split("."):
            assert name in node.get("properties", {}), f"{page}: {field}"
            node = node["properties"][name]


def options() -> set[str]:
    """Returns every option of every verb."""
    from typer.main import get_command

    pending: list[Any] = [get_command(app)]
    found = set()
    while pending:
        command = pending.pop()
        found |= {name for parameter in command.params for name in parameter.opts}
        pending += getattr(command, "commands", {}).values()
    return found | {"--help"}


@pytest.mark.parametrize("page", WRITTEN, ids=name_of)
def test_every_option_that_a_page_names_exists(page: Path) -> None:
    named = {
        option
        for text in code(page)
        if text.startswith(("--", "sparse-transfer"))
        for option in _OPTION.findall(text.partition("|")[0])
    }
    assert named <= options()


def test_every_exit_code_has_its_way_out() -> None:
    text = (DOCS / "troubleshooting.md").read_text("utf-8")
    for each in ExitCode:
        assert re.search(rf"^\| {each.value} \|", text, re.MULTILINE), each


def test_every_band_is_explained() -> None:
    text = (DOCS / "how-to/choose-a-level.md").read_text("utf-8")
    for band in (DENSE_BAND, *(band for _, band in BANDS_BELOW), LAST_BAND):
        assert f"`{band.name}`" in text


def test_every_part_of_the_report_is_explained() -> None:
    template = ROOT / "runner/sparse_transfer_runner/report/templates/report.html.j2"
    titles = re.findall(r"<h2[^>]*>(.+?)</h2>", template.read_text("utf-8"))
    assert titles
    text = (DOCS / "how-to/read-the-report.md").read_text("utf-8")
    for title in titles:
        assert f"| {title} |" in text
