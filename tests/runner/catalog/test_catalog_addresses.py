"""Catalogues that lie elsewhere: read by their address, and what is relative in them."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.runner.storage.reaching import reaching
from tests.servers.s3_server import Bucket, S3Server

from sparse_transfer_api.errors import AccessError, InputError
from sparse_transfer_api.optim_level import Size
from sparse_transfer_runner.catalog.models import CatalogEntry, Source
from sparse_transfer_runner.catalog.reading import add_entry, load_catalog

_TEXT = """
models:
  - name: mine
    family: text
    size: Medium
    sparse:
      uri: file://./mine/sparse
    dense:
      uri: s3://elsewhere/dense
    recipe: file://./mine/recipe.yaml
    teacher: file://../teacher
"""


def only_entry(where: str | Path | None = None) -> CatalogEntry:
    (entry,) = load_catalog(where).models
    return entry


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    path = tmp_path / "models" / "catalog.yaml"
    path.write_text(_TEXT)
    return path


@pytest.mark.parametrize("form", ["path", "text", "address", "environment"])
def test_a_file_is_named_by_path_or_address(
    file: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if form == "environment":
        monkeypatch.setenv("STE_CATALOG", file.as_uri())
    entry = only_entry(
        {"path": file, "text": str(file), "address": file.as_uri(), "environment": None}[form]
    )
    assert entry.sparse == Source(uri=(file.parent / "mine/sparse").as_uri())
    assert entry.dense == Source(uri="s3://elsewhere/dense")
    assert entry.recipe == (file.parent / "mine/recipe.yaml").as_uri()
    assert entry.teacher == (file.parent.parent / "teacher").as_uri()


def test_in_a_store_what_is_relative_is_relative_to_the_address(
    s3: S3Server, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("a/models/catalog.yaml", _TEXT.encode())
    with reaching(s3.endpoint, s3.environment(), tmp_path / "cache"):
        monkeypatch.setenv("STE_CATALOG", f"{bucket.uri}/a/models/catalog.yaml")
        entry = only_entry()
        assert entry.sparse == Source(uri=f"{bucket.uri}/a/models/mine/sparse")
        assert entry.recipe == f"{bucket.uri}/a/models/mine/recipe.yaml"
        assert entry.teacher == f"{bucket.uri}/a/teacher"
        bucket.put("catalog.yaml", _TEXT.encode())
        with pytest.raises(InputError, match=r"file://\.\./teacher leads out of s3://bucket"):
            load_catalog(f"{bucket.uri}/catalog.yaml")
        with pytest.raises(AccessError, match="nothing is there"):
            load_catalog(f"{bucket.uri}/catalogue.yaml")
        with pytest.raises(AccessError, match="cannot be read"):
            load_catalog(f"{bucket.uri}/a/models/")


def test_on_a_claim_what_is_relative_is_on_the_claim(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STE_PVC_MOUNT", str(file.parent.parent.parent))
    claim = file.parent.parent.name
    file.write_text(_TEXT.replace("file://../teacher", "file://./teacher"))
    entry = only_entry(f"pvc://{claim}/models/catalog.yaml")
    assert entry.sparse == Source(uri=f"pvc://{claim}/models/mine/sparse")


def test_a_store_s_catalogue_is_not_added_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    entry = CatalogEntry(name="a", family="text", size=Size.MEDIUM, dense=Source(uri="file:///a"))
    with pytest.raises(InputError, match="a file of this machine"):
        add_entry(Path("s3://bucket/catalog.yaml"), entry)
    assert list(tmp_path.iterdir()) == []
