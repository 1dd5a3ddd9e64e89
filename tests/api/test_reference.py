from __future__ import annotations

import re
from pathlib import Path

import pytest

from sparse_transfer_api import reference
from sparse_transfer_api.schema import inlined
from sparse_transfer_api.spec import SparseTransferSpec
from sparse_transfer_api.use_cases import ALL_NAMES

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = reference.page()


def test_the_page_is_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--check", "--directory", str(REPOSITORY / "docs" / "reference")]
    assert reference.main(arguments) == 0, capsys.readouterr().err


def test_every_block_of_the_spec_is_there() -> None:
    headings = set(re.findall(r"^## (.+)$", PAGE, re.MULTILINE))
    for name, field in inlined(SparseTransferSpec)["properties"].items():
        assert "properties" not in field or f"spec.{name}" in headings


def test_every_use_case_and_alias_is_there() -> None:
    assert all(f"`{name}`" in PAGE for name in ALL_NAMES)


def test_every_link_leads_to_a_heading_and_no_heading_is_there_twice() -> None:
    headings = re.findall(r"^## (.+)$", PAGE, re.MULTILINE)
    anchors = [re.sub(r"[^a-z0-9_-]", "", heading.lower()) for heading in headings]
    assert len(anchors) == len(set(anchors))
    assert set(re.findall(r"\(#([^)]+)\)", PAGE)) <= set(anchors)


def test_every_row_has_the_columns_of_its_table() -> None:
    for table in re.findall(r"(?:^\|.*\n)+", PAGE, re.MULTILINE):
        widths = {line.count("|") for line in table.splitlines()}
        assert len(widths) == 1, table
