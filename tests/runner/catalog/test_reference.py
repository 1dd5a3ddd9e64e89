"""The catalogue's reference is what its entries say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sparse_transfer_runner.catalog import reference
from sparse_transfer_runner.catalog.reading import packaged_catalog

REPOSITORY = Path(__file__).resolve().parents[3]
PAGE = reference.page()


def test_the_page_is_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--check", "--directory", str(REPOSITORY / "docs" / "reference")]
    assert reference.main(arguments) == 0, capsys.readouterr().err


def test_every_entry_and_every_identifier_is_there() -> None:
    for entry in packaged_catalog().models:
        assert f"### {entry.name}\n" in PAGE or f"`catalog:{entry.name}`" in PAGE
        for part in (entry.sparse, entry.dense, entry.upstream):
            assert all(f"`{name}`" in PAGE for name in (part.zoo if part else ()))


def test_every_link_leads_to_a_heading_and_no_heading_is_there_twice() -> None:
    headings = re.findall(r"^##+ (.+)$", PAGE, re.MULTILINE)
    anchors = [
        re.sub(r"[^a-z0-9_-]", "", heading.lower().replace(" ", "-")) for heading in headings
    ]
    assert len(anchors) == len(set(anchors))
    assert set(re.findall(r"\(#([^)]+)\)", PAGE)) <= set(anchors)


def test_every_row_has_the_columns_of_its_table() -> None:
    for table in re.findall(r"(?:^\|.*\n)+", PAGE, re.MULTILINE):
        widths = {line.count("|") for line in table.splitlines()}
        assert len(widths) == 1, table


def test_the_dense_model_teaches_where_the_packaged_recipe_distils() -> None:
    for entry in packaged_catalog().models:
        if entry.task is None:
            details = PAGE.partition(f"### {entry.name}\n")[2].partition("\n#")[0]
            nobody = "- teacher: none, as the packaged recipe does not distil" in details
            assert nobody == (entry.family in ("detection", "segmentation"))
            assert "the dense model, trained as the baseline" in details


def test_what_is_not_known_is_said_to_be_unknown() -> None:
    assert "`hf://google-bert/bert-large-uncased`, licence: Apache-2.0, digest: unknown" in PAGE
    assert "upstream-pretrained-dense`, licence: not stated" in PAGE
