"""The catalogue that the documents show is one."""

from __future__ import annotations

import re
from pathlib import Path

from sparse_transfer_runner.catalog.reading import load_catalog

PAGE = (Path(__file__).parents[3] / "docs" / "catalogue.md").read_text("utf-8")


def test_the_catalogue_in_the_documents_is_one(tmp_path: Path) -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "catalog.yaml").write_text(block, encoding="utf-8")

    catalog = load_catalog(tmp_path / "catalog.yaml")

    assert catalog.models[0].name == "reviews-base-80"
    assert "obert-base-90" in {entry.name for entry in catalog.models}
