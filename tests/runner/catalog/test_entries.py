"""The format of entries, and what the packaged ones say and do not say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from sparse_transfer_runner.catalog.models import Catalog, CatalogEntry, Source
from sparse_transfer_runner.catalog.reading import packaged_catalog, read_catalog
from sparse_transfer_runner.catalog.stubs import parse_stub
from sparse_transfer_runner.recipes import parse_recipe
from sparse_transfer_runner.storage import fetch

ENTRIES = packaged_catalog().models
SOURCES = [(e.name, s) for e in ENTRIES for s in (e.sparse, e.dense) if s is not None]
OF_ENTRY = pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)

JOB = {"model": "hf://x/y", "dataKind": "texts", "sparsity": 0.8}


def document(**changes: Any) -> dict[str, Any]:
    return {
        "name": "a",
        "family": "text",
        "size": "Medium",
        "dense": {"uri": "hf://x/y"},
        **changes,
    }


@OF_ENTRY
def test_every_entry_says_where_it_comes_from(entry: CatalogEntry) -> None:
    assert entry.provenance
    assert entry.architecture
    assert entry.sparse or entry.task or entry.upstream


@OF_ENTRY
def test_a_foundation_has_a_sparse_and_a_dense_side_or_says_how_they_are_made(
    entry: CatalogEntry,
) -> None:
    if entry.task is not None:
        assert entry.dense is not None
        return
    job = entry.upstream
    assert entry.sparse is not None or job is not None
    assert entry.dense is not None or (job is not None and job.layers is not None)


@OF_ENTRY
def test_a_job_starts_from_the_entrys_own_dense_model(entry: CatalogEntry) -> None:
    job = entry.upstream
    if job is not None and entry.dense is not None:
        assert job.model == entry.dense.address
        assert job.licence == entry.dense.licence


@OF_ENTRY
def test_a_stand_in_out_of_a_package_says_so(entry: CatalogEntry) -> None:
    addresses = [entry.upstream.model] if entry.upstream else []
    addresses += [source.uri for source in (entry.sparse, entry.dense) if source]
    packaged = any(address.startswith("package://") for address in addresses)

    assert packaged == (entry.provenance or "").startswith("A small stand-in from a package")


@OF_ENTRY
def test_a_foundation_has_recipes_and_each_keeps_its_zeros_and_quantizes(
    entry: CatalogEntry,
) -> None:
    assert bool(entry.recipes) == (entry.task is None)
    for address in set(entry.recipes.values()):
        recipe = parse_recipe(fetch(address).read_text("utf-8"), source=address)
        assert recipe.pruning is not None, address
        assert recipe.quantizes, address


def test_digests_are_known_of_what_comes_in_packages_alone() -> None:
    # Nobody could fetch the others here: an invented digest would refuse the right files.
    for name, source in SOURCES:
        assert (source.digest is not None) == source.uri.startswith("package://"), name


def test_an_identifier_stands_for_one_model_only() -> None:
    identities = [
        parse_stub(stub).identity
        for entry in ENTRIES
        for part in (entry.sparse, entry.dense, entry.upstream)
        if part is not None
        for stub in part.zoo
    ]

    assert len(identities) == len(set(identities))


@pytest.mark.parametrize(
    ("uri", "revision", "address"),
    [
        ("hf://timm/resnet50.a1_in1k", "abc", "hf://timm/resnet50.a1_in1k@abc"),
        ("hf://models/me/it", "v1", "hf://models/me/it@v1"),
        ("hf://me/it/inner/model", "v1", "hf://me/it@v1/inner/model"),
        ("hf://me/it", None, "hf://me/it"),
        ("file:///models/it", None, "file:///models/it"),
    ],
)
def test_a_revision_is_part_of_the_address(uri: str, revision: str | None, address: str) -> None:
    assert Source(uri=uri, revision=revision).address == address


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dense": None}, "expected sparse, dense or both, or upstream"),
        ({"dense": {"uri": "file:///x", "revision": "v1"}}, "only an address of a hub"),
        ({"dense": {"uri": "hf://x/y", "zoo": ["zoo:mine"]}}, "not a SparseZoo identifier"),
        ({"dense": {"uri": "hf://x/y", "zoo": ["zoo:a-b-c?recipe=d"]}}, "without its query"),
        ({"dense": {"uri": "hf://x/y", "digest": "unknown"}}, "digest"),
        ({"family": "audio"}, "family"),
        ({"licence": "MIT"}, "licence"),
        ({"ladder": "A ladder"}, "ladder"),
        ({"recipes": {"a/b": "file:///x"}}, "recipes"),
        ({"upstream": {**JOB, "sparsity": 0.2}}, "upstream.sparsity"),
        ({"upstream": {**JOB, "layers": 0}}, "upstream.layers"),
        ({"upstream": {**JOB, "epochs": 3}}, "upstream.epochs"),
        ({"upstream": {**JOB, "method": "obs"}}, "upstream.method"),
        ({"upstream": {**JOB, "pattern": "block8"}}, "upstream.pattern"),
        ({"upstream": {**JOB, "budgets": "fair"}}, "upstream.budgets"),
        ({"upstream": {"model": "hf://x/y", "sparsity": 0.8}}, "upstream.dataKind"),
    ],
)
def test_what_does_not_fit_the_format_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        CatalogEntry.model_validate(document(**changes))


def test_an_entry_survives_being_written_and_read() -> None:
    catalog = packaged_catalog()

    assert Catalog.model_validate(catalog.to_json_dict()) == catalog


def test_relative_addresses_of_jobs_and_recipes_are_relative_to_the_catalogue(
    tmp_path: Path,
) -> None:
    (tmp_path / "catalog.yaml").write_text("""
models:
  - name: mine
    family: text
    size: Medium
    upstream: {model: file://./dense, data: file://./texts.txt, dataKind: texts, sparsity: 0.8}
    recipes: {transfer: file://./recipe.yaml}
""")
    (entry,) = read_catalog(tmp_path / "catalog.yaml").models

    assert entry.upstream is not None
    assert entry.upstream.model == (tmp_path / "dense").as_uri()
    assert entry.upstream.data == (tmp_path / "texts.txt").as_uri()
    assert entry.recipes == {"transfer": (tmp_path / "recipe.yaml").as_uri()}
