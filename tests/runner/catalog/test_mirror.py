"""Mirroring models: whole copies with digests, nothing twice, nothing replaced, many at once."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from tests.runner.storage.reaching import files_below, reaching, write_files
from tests.servers.fault_proxy import FaultProxy
from tests.servers.faults import PASSING, Rule, refusal
from tests.servers.hub import Hub
from tests.servers.s3_server import Bucket, S3Server

from sparse_transfer_api.contract import Stage
from sparse_transfer_api.errors import AccessError, InputError, Stopped
from sparse_transfer_api.optim_level import Size, band_of
from sparse_transfer_runner.catalog.mirror import CATALOG, Mirroring, Outcome, State
from sparse_transfer_runner.catalog.models import Catalog, CatalogEntry, Source, UpstreamJob
from sparse_transfer_runner.catalog.reading import load_catalog
from sparse_transfer_runner.catalog.resolution import resolve_model
from sparse_transfer_runner.digests import digest_of_tree
from sparse_transfer_runner.progress import Reporter
from sparse_transfer_runner.storage import fetch, place_for
from sparse_transfer_runner.storage.file import FilePlace
from sparse_transfer_runner.storage.protocol import Place
from sparse_transfer_runner.storage.settings import settings, using

FILES = {
    "config.json": b"{}",
    "model.safetensors": bytes(range(256)),
    ".gitattributes": b"hidden, and part of the digest",
    "1_Pooling/config.json": b"{}",
    "empty": b"",
}


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Folders of models, and a recipe."""
    for name in ("a-sparse", "a-dense", "b-dense", "teacher"):
        write_files(tmp_path / "models" / name, {**FILES, "name": name.encode()})
    # One model has a file that goes up in parts.
    (tmp_path / "models" / "a-sparse" / "model.safetensors").write_bytes(bytes(9 << 20))
    (tmp_path / "models" / "transfer.yaml").write_text("modifiers: []\n")
    return tmp_path / "models"


@pytest.fixture
def catalog(models: Path) -> Catalog:
    """Two entries: one with everything, one with a dense model alone."""
    sparse = models / "a-sparse"
    return Catalog(
        models=(
            CatalogEntry(
                name="model-a",
                family="text",
                size=Size.MEDIUM,
                shares_parent=True,
                sparse=Source(
                    uri=sparse.as_uri(),
                    sparsity=0.8,
                    licence="MIT",
                    digest=digest_of_tree(sparse),
                    zoo=("zoo:mine-imdb-pruned80",),
                ),
                dense=Source(uri=(models / "a-dense").as_uri(), licence="Apache-2.0"),
                recipe=(models / "transfer.yaml").as_uri(),
                teacher=(models / "teacher").as_uri(),
            ),
            CatalogEntry(
                name="model-b",
                family="text",
                size=Size.SMALLEST,
                dense=Source(uri=(models / "b-dense").as_uri()),
                teacher="catalog:elsewhere",
            ),
        )
    )


@pytest.fixture(params=["folder", "claim", "bucket"])
def place(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    """A mirror of each kind."""
    if request.param == "bucket":
        s3: S3Server = request.getfixturevalue("s3")
        bucket: Bucket = request.getfixturevalue("bucket")
        with reaching(s3.endpoint, s3.environment(), tmp_path / "cache"):
            yield place_for(f"{bucket.uri}/mirror")
        return
    monkeypatch.setenv("STE_PVC_MOUNT", str(tmp_path / "claims"))
    (tmp_path / "claims" / "models").mkdir(parents=True)
    folder = FilePlace(tmp_path / "mirror")
    yield folder if request.param == "folder" else place_for("pvc://models/mirror")


def mirrored(
    catalog: Catalog, place: Place, *names: str, reporter: Reporter | None = None
) -> list[Outcome]:
    entries = [entry for entry in catalog.models if not names or entry.name in names]
    mirroring = Mirroring(catalog, entries, place)
    return list(mirroring.run(reporter or Reporter(Stage.PREPARE, lambda _: None)))


def states(outcomes: list[Outcome]) -> dict[str, State]:
    return {outcome.part.path: outcome.state for outcome in outcomes}


ALL = ("model-a/sparse", "model-a/dense", "model-a/recipe", "model-a/teacher", "model-b/dense")


def test_the_copies_are_whole_and_their_catalogue_leads_to_them(
    catalog: Catalog, place: Place, models: Path
) -> None:
    outcomes = mirrored(catalog, place)
    assert states(outcomes) == dict.fromkeys(ALL, State.COPIED)

    copies = load_catalog(f"{place.uri}/{CATALOG}")
    assert copies.extends is None
    assert [entry.name for entry in copies.models] == ["model-a", "model-b"]
    first, second = copies.models
    assert first.sparse is not None and first.dense is not None and second.dense is not None
    assert (first.sparse.licence, first.sparse.zoo) == ("MIT", ("zoo:mine-imdb-pruned80",))
    assert (first.sparse.sparsity, first.shares_parent) == (0.8, True)
    for source, name in ((first.sparse, "a-sparse"), (first.dense, "a-dense")):
        assert source.digest == digest_of_tree(models / name)
        assert files_below(fetch(source.uri)) == files_below(models / name)
    assert fetch(first.recipe or "").read_text() == "modifiers: []\n"
    assert files_below(fetch(first.teacher or "")) == files_below(models / "teacher")
    assert second.teacher == "catalog:elsewhere"
    assert Mirroring(catalog, catalog.models, place).dangling() == ["elsewhere"]


def test_a_model_that_is_one_file_and_recipes_by_type_are_mirrored(
    place: Place, models: Path
) -> None:
    weights = models / "yolo.pt"
    weights.write_bytes(b"weights")
    digest = digest_of_tree(weights)
    recipe = (models / "transfer.yaml").as_uri()
    packaged = "package://sparse_transfer_runner/catalog/recipes/text-transfer.yaml"
    entry = CatalogEntry(
        name="yolo",
        family="detection",
        size=Size.MEDIUM,
        dense=Source(uri=weights.as_uri(), digest=digest),
        recipes={"transfer_learn": recipe, "transfer": packaged},
    )

    for state in (State.COPIED, State.THERE):
        outcomes = mirrored(Catalog(models=(entry,)), place)
        assert states(outcomes) == dict.fromkeys(
            ("yolo/dense", "yolo/recipes/transfer_learn"), state
        )

    (copy,) = load_catalog(f"{place.uri}/{CATALOG}").models
    assert copy.dense is not None
    assert copy.dense.uri.endswith("/yolo/dense/yolo.pt")
    assert copy.dense.digest == digest == digest_of_tree(fetch(copy.dense.uri))
    assert copy.recipes["transfer"] == packaged
    assert fetch(copy.recipes["transfer_learn"]).read_text() == "modifiers: []\n"


def test_what_must_be_made_is_no_part_and_its_job_starts_from_the_copy(
    place: Place, models: Path
) -> None:
    dense = Source(uri=(models / "b-dense").as_uri())
    job = UpstreamJob(model=dense.uri, data_kind="texts", sparsity=0.8)
    with_dense = CatalogEntry(
        name="half", family="text", size=Size.MEDIUM, dense=dense, upstream=job
    )
    without = CatalogEntry(name="none", family="text", size=Size.SMALLEST, upstream=job)

    outcomes = mirrored(Catalog(models=(with_dense, without)), place)

    assert states(outcomes) == {"half/dense": State.COPIED}
    (copy,) = load_catalog(f"{place.uri}/{CATALOG}").models
    assert copy.dense is not None
    assert copy.upstream is not None
    assert copy.upstream.model == copy.dense.uri
    assert copy.must_be_made


def test_a_revision_is_mirrored_and_then_told_by_its_digest(hub: Hub, place: Place) -> None:
    commit = hub.add("me/it", FILES).branches["main"]
    source = Source(uri="hf://me/it", revision=commit)
    entry = CatalogEntry(name="it", family="text", size=Size.MEDIUM, dense=source)

    (outcome,) = mirrored(Catalog(models=(entry,)), place)

    assert outcome.record is not None
    assert outcome.record.source == f"hf://me/it@{commit}"
    (copy,) = load_catalog(f"{place.uri}/{CATALOG}").models
    assert copy.dense is not None
    assert (copy.dense.revision, copy.dense.digest) == (None, outcome.record.digest)


def test_an_experiment_starts_from_a_mirrored_model(catalog: Catalog, place: Place) -> None:
    mirrored(catalog, place)
    resolved = resolve_model(
        None,
        family="text",
        band=band_of(0.5),
        use_case="sentiment",
        catalog=load_catalog(f"{place.uri}/{CATALOG}"),
    )
    resolved.require_digest(digest_of_tree(resolved.folder))
    assert resolved.uri == f"{place.uri}/model-a/sparse"
    assert resolved.digest is not None
    assert resolved.shares_parent


def test_a_folder_of_copies_can_be_moved(catalog: Catalog, tmp_path: Path) -> None:
    mirrored(catalog, FilePlace(tmp_path / "mirror"))
    (tmp_path / "mirror").rename(tmp_path / "moved")
    (first, _) = load_catalog(tmp_path / "moved" / CATALOG).models
    assert first.sparse is not None
    assert digest_of_tree(fetch(first.sparse.uri)) == first.sparse.digest


def test_what_is_there_is_not_even_looked_at_again(
    catalog: Catalog, place: Place, models: Path
) -> None:
    mirrored(catalog, place)
    before = place.files()
    models.rename(models.with_name("gone"))
    assert states(mirrored(catalog, place)) == dict.fromkeys(ALL, State.THERE)
    assert place.files() == before


def test_models_are_added_to_a_mirror_in_the_order_of_their_catalogue(
    catalog: Catalog, place: Place
) -> None:
    def names() -> list[str]:
        return [entry.name for entry in load_catalog(f"{place.uri}/{CATALOG}").models]

    mirrored(catalog, place, "model-b")
    assert names() == ["model-b"]
    mirrored(catalog, place, "model-a")
    assert names() == ["model-a", "model-b"]
    reversed_catalog = Catalog(models=tuple(reversed(catalog.models)))
    mirrored(reversed_catalog, place, "model-a")
    assert names() == ["model-b", "model-a"]


def test_an_interrupted_mirror_goes_on_where_it_stopped(
    catalog: Catalog, proxy: FaultProxy, faulty_store: Bucket
) -> None:
    place = place_for(faulty_store.uri)
    proxy.schedule.set(
        Rule([refusal(403, "AccessDenied")], operations=["PutObject"], key="*/dense/*")
    )
    with pytest.raises(AccessError, match="s3:PutObject"):
        mirrored(catalog, place)
    assert {"model-a/sparse.json", CATALOG} & {*faulty_store.keys()} == {"model-a/sparse.json"}
    before = len(proxy.calls)
    proxy.schedule.set()
    found = states(mirrored(catalog, place))
    assert found == dict.fromkeys(ALL, State.COPIED) | {"model-a/sparse": State.THERE}
    again = [call.request.key for call in proxy.calls[before:]]
    assert not [key for key in again if key.startswith("model-a/sparse/")]
    assert load_catalog(f"{place.uri}/{CATALOG}").models[0].name == "model-a"


def test_only_what_is_missing_is_copied(catalog: Catalog, place: Place) -> None:
    mirrored(catalog, place)
    place.remove(["model-a/sparse.json", "model-a/sparse/config.json"])
    place.remove(["model-a/dense/.gitattributes", "model-b/dense/empty"])
    found = states(mirrored(catalog, place))
    assert found["model-a/sparse"] == State.COPIED
    assert found["model-a/dense"] == State.COPIED
    assert found["model-b/dense"] == State.COPIED
    assert found["model-a/teacher"] == State.THERE
    for entry in load_catalog(f"{place.uri}/{CATALOG}").models:
        assert entry.dense is not None
        assert digest_of_tree(fetch(entry.dense.uri)) == entry.dense.digest


def test_a_mirror_stops_when_it_is_asked_to(catalog: Catalog, tmp_path: Path) -> None:
    asked = threading.Event()

    def raise_if_stopped() -> None:
        if asked.is_set():
            raise Stopped("asked to")

    place = FilePlace(tmp_path / "mirror")
    reporter = Reporter(
        Stage.PREPARE, lambda progress: asked.set() if progress.activity == ALL[1] else None
    )
    with (
        using(replace(settings(), raise_if_stopped=raise_if_stopped)),
        pytest.raises(Stopped),
    ):
        mirrored(catalog, place, reporter=reporter)
    assert place.below("model-a").read("sparse.json")
    assert not list((tmp_path / "mirror").glob(".mirroring-*"))
    assert states(mirrored(catalog, place))[ALL[0]] == State.THERE


def test_many_mirrors_at_once_do_each_other_no_harm(catalog: Catalog, place: Place) -> None:
    together = threading.Barrier(4)

    def run(number: int) -> set[State]:
        together.wait(timeout=30)
        # Two mirror everything, one each of the models.
        names = ([], [], ["model-a"], ["model-b"])[number]
        return set(states(mirrored(catalog, place, *names)).values())

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(run, range(4)))
    assert set().union(*found) <= {State.COPIED, State.THERE}
    entries = load_catalog(f"{place.uri}/{CATALOG}").models
    assert [entry.name for entry in entries] == ["model-a", "model-b"]
    for entry in entries:
        assert entry.dense is not None
        assert digest_of_tree(fetch(entry.dense.uri)) == entry.dense.digest


def test_a_bad_connection_is_got_over(
    catalog: Catalog, proxy: FaultProxy, faulty_store: Bucket
) -> None:
    proxy.schedule.set(Rule(PASSING, share=0.2))
    place = place_for(faulty_store.uri)
    assert states(mirrored(catalog, place)) == dict.fromkeys(ALL, State.COPIED)
    proxy.schedule.set()
    (first, _) = load_catalog(f"{place.uri}/{CATALOG}").models
    assert first.sparse is not None
    assert digest_of_tree(fetch(first.sparse.uri)) == first.sparse.digest


def with_dense(catalog: Catalog, **update: object) -> Catalog:
    """Returns the catalogue with another dense model of its last entry."""
    *others, last = catalog.models
    assert last.dense is not None
    dense = last.dense.model_copy(update=update)
    return Catalog(models=(*others, last.model_copy(update={"dense": dense})))


def test_what_cannot_be_read_keeps_nothing_else_from_being_mirrored(
    catalog: Catalog, models: Path, tmp_path: Path
) -> None:
    first, second = catalog.models
    assert first.dense is not None
    gone = first.dense.model_copy(update={"uri": (models / "nowhere").as_uri()})
    broken = Catalog(models=(first.model_copy(update={"dense": gone}), second))
    place = FilePlace(tmp_path / "mirror")
    outcomes = mirrored(broken, place)
    assert states(outcomes) == dict.fromkeys(ALL, State.COPIED) | {"model-a/dense": State.FAILED}
    assert "no such file or folder" in str(outcomes[1].error)
    # An entry that lacks a part would be taken for something else than it is.
    assert [entry.name for entry in load_catalog(tmp_path / "mirror" / CATALOG).models] == [
        "model-b"
    ]
    assert states(mirrored(catalog, place)) == dict.fromkeys(ALL, State.THERE) | {
        "model-a/dense": State.COPIED
    }


@pytest.mark.parametrize(
    ("source", "digest", "words"),
    [
        ("b-dense", "a" * 64, "but aaaaaaaaaaaa… is recorded"),
        ("transfer.yaml", None, "expected a model's folder"),
        ("nothing", None, "an empty folder"),
    ],
)
def test_what_is_no_model_is_not_mirrored(
    catalog: Catalog, models: Path, tmp_path: Path, source: str, digest: str | None, words: str
) -> None:
    (models / "nothing").mkdir()
    wrong = with_dense(catalog, uri=(models / source).as_uri(), digest=digest)
    (outcome,) = mirrored(wrong, FilePlace(tmp_path / "mirror"), "model-b")
    assert outcome.state == State.FAILED
    assert words in str(outcome.error)
    assert not (tmp_path / "mirror" / CATALOG).exists()


def test_a_copy_of_another_version_is_never_replaced(
    catalog: Catalog, place: Place, models: Path
) -> None:
    mirrored(catalog, place)
    before = place.files()
    (models / "b-dense" / "config.json").write_text('{"new": 1}')
    newer = with_dense(catalog, digest=digest_of_tree(models / "b-dense"))
    (outcome,) = mirrored(newer, place, "model-b")
    assert outcome.state == State.FAILED
    assert f"{place.uri}/model-b/dense: holds file://" in str(outcome.error)
    assert "move the folder and dense.json beside it away" in str(outcome.error)
    assert place.files() == before


@pytest.mark.parametrize(
    ("path", "content", "finished", "words"),
    [
        ("config.json", b"{ }", True, "config.json in it was changed"),
        ("config.json", b"{ }", False, "a file in it differs"),
        ("notes.txt", b"mine", False, "holds notes.txt, which file://"),
    ],
)
def test_what_is_in_the_way_is_named_and_kept(
    catalog: Catalog, place: Place, path: str, content: bytes, finished: bool, words: str
) -> None:
    mirrored(catalog, place)
    dense = place.below("model-b").below("dense")
    dense.put(path, lambda file: file.write_bytes(content) and None)
    if not finished:
        place.remove(["model-b/dense.json"])
    (outcome,) = mirrored(catalog, place, "model-b")
    assert words in str(outcome.error)
    assert dense.read(path) == content


def test_a_record_that_cannot_be_read_is_named(catalog: Catalog, tmp_path: Path) -> None:
    place = FilePlace(tmp_path)
    place.create("model-b/dense.json", b"{")
    (outcome,) = mirrored(catalog, place, "model-b")
    assert "its record dense.json cannot be read" in str(outcome.error)


def test_a_catalogue_of_the_user_is_never_replaced(catalog: Catalog, tmp_path: Path) -> None:
    own = yaml.safe_dump(catalog.to_json_dict())
    (tmp_path / CATALOG).write_text(own)
    with pytest.raises(InputError, match="not a mirror's"):
        mirrored(catalog, FilePlace(tmp_path))
    with pytest.raises(InputError, match="not a mirror's"):
        list(Mirroring(catalog, catalog.models, FilePlace(tmp_path)).planned())
    assert (tmp_path / CATALOG).read_text() == own
    assert not (tmp_path / "model-a").exists()


def test_a_plan_copies_nothing(catalog: Catalog, place: Place, models: Path) -> None:
    mirrored(catalog, place, "model-b")
    before = place.files()
    (models / "transfer.yaml").unlink()
    planned = list(Mirroring(catalog, catalog.models, place).planned())
    assert states(planned) == {
        **dict.fromkeys(ALL, State.PLANNED),
        "model-a/recipe": State.FAILED,
        "model-b/dense": State.THERE,
    }
    assert place.files() == before


def test_models_of_a_hub_are_mirrored_at_a_commit(hub: Hub, catalog: Catalog, place: Place) -> None:
    repository = hub.add("owner/model", {**FILES, "name": b"of the hub"})
    commit = repository.branches["main"]
    there = with_dense(catalog, uri="hf://owner/model")
    (outcome,) = mirrored(there, place, "model-b")
    assert outcome.record is not None
    assert outcome.record.pinned == f"hf://owner/model@{commit}"
    repository.commit({**FILES, "name": b"of tomorrow"})
    asked = hub.asked()
    (again,) = mirrored(there, place, "model-b")
    assert again.state == State.THERE
    assert hub.asked() == asked
    (second,) = (e for e in load_catalog(f"{place.uri}/{CATALOG}").models if e.name == "model-b")
    assert second.dense is not None
    assert (fetch(second.dense.uri) / "name").read_bytes() == b"of the hub"


def test_from_one_store_to_another(catalog: Catalog, bucket: Bucket, s3: S3Server) -> None:
    with reaching(s3.endpoint, s3.environment()):
        mirrored(catalog, place_for(f"{bucket.uri}/first"))
        first = load_catalog(f"{bucket.uri}/first/{CATALOG}")
        second = place_for(f"{bucket.uri}/second")
        assert states(mirrored(first, second)) == dict.fromkeys(ALL, State.COPIED)
        copies = load_catalog(f"{second.uri}/{CATALOG}").models
    assert [entry.dense.digest for entry in copies if entry.dense] == [
        entry.dense.digest for entry in first.models if entry.dense
    ]


def test_what_a_killed_mirror_left_long_ago_is_cleared(catalog: Catalog, tmp_path: Path) -> None:
    old, new = tmp_path / ".mirroring-old", tmp_path / ".mirroring-new"
    for folder in (old, new):
        folder.mkdir()
    os.utime(old, (0, 0))
    mirrored(catalog, FilePlace(tmp_path))
    assert (old.exists(), new.exists()) == (False, True)
