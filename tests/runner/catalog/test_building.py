"""Making what is published nowhere: fewer layers, the command's arguments, the entry for it."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from tests.runner.tiny_models import tiny_config, write_tiny_encoder
from transformers import AutoModel, BertForMaskedLM

from sparse_transfer_api.errors import InputError
from sparse_transfer_api.optim_level import Size
from sparse_transfer_runner.catalog.building import Build
from sparse_transfer_runner.catalog.foundation import FOUNDATION_FILE, Foundation, Parent
from sparse_transfer_runner.catalog.hugging_face import load_encoder
from sparse_transfer_runner.catalog.models import (
    Budgets,
    Catalog,
    CatalogEntry,
    Method,
    Pattern,
    Source,
    UpstreamJob,
)
from sparse_transfer_runner.catalog.reading import packaged_catalog
from sparse_transfer_runner.digests import digest_of_tree
from sparse_transfer_runner.sparsity import patterns
from sparse_transfer_runner.upstream import UpstreamOptions
from sparse_transfer_runner.upstream.depth import keep_lowest_layers
from sparse_transfer_runner.upstream.options import BUDGETS, METHODS


def entry_from(model: Path, *, layers: int | None = None) -> CatalogEntry:
    job = UpstreamJob(
        model=model.as_uri(), layers=layers, data_kind="texts", sparsity=0.7, licence="MIT",
        recovery_steps=0, zoo=("zoo:tiny-imdb-pruned70",),
    )  # fmt: skip
    dense = Source(uri=model.as_uri(), licence="MIT", zoo=("zoo:tiny-imdb-base",))
    return CatalogEntry(
        name="tiny",
        family="text",
        size=Size.SMALLEST,
        dense=dense if layers is None else None,
        upstream=job,
    )


def test_the_lowest_layers_are_those_of_the_deeper_model(tmp_path: Path) -> None:
    deep = write_tiny_encoder(tmp_path / "deep", layers=4)

    keep_lowest_layers(deep, tmp_path / "shallow", 2)

    first, second = (AutoModel.from_pretrained(tmp_path / name) for name in ("deep", "shallow"))
    assert second.config.num_hidden_layers == 2
    kept = second.state_dict()
    for name, weight in first.state_dict().items():
        if name in kept:
            assert torch.equal(weight, kept[name]), name
    assert {name for name in kept if "layer.2" in name} == set()
    assert (tmp_path / "shallow" / "tokenizer.json").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep", "shallow"]


@pytest.mark.parametrize("layers", [0, 2, 3])
def test_only_a_deeper_model_can_lose_layers(tmp_path: Path, layers: int) -> None:
    model = write_tiny_encoder(tmp_path / "model", layers=2)

    with pytest.raises(InputError, match=f"has 2 layers; fewer.*not {layers}"):
        keep_lowest_layers(model, tmp_path / "shallow", layers)

    assert not (tmp_path / "shallow").exists()


def test_a_folder_that_is_no_model_cannot_lose_layers(tmp_path: Path) -> None:
    model = write_tiny_encoder(tmp_path / "model", layers=2)
    (model / "model.safetensors").unlink()

    with pytest.raises(InputError, match="no weights here"):
        keep_lowest_layers(model, tmp_path / "shallow", 1)


def write_language_model(folder: Path) -> BertForMaskedLM:
    """Writes a model as those that are pre-trained lie on hubs: a pickle, and no pooler."""
    write_tiny_encoder(folder)
    (folder / "model.safetensors").unlink()
    model = BertForMaskedLM(tiny_config())
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    return model


def test_the_encoder_of_a_pickled_language_model_is_read_always_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    written = write_language_model(folder).state_dict()

    (first, tokenizer), (second, _) = (load_encoder(folder) for _ in range(2))

    for name, weight in first.state_dict().items():
        assert torch.equal(weight, second.state_dict()[name]), name
        if "pooler" not in name:
            assert torch.equal(weight, written[f"bert.{name}"]), name
    assert tokenizer("a film")["input_ids"]


def test_an_encoder_that_lacks_weights_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    weights = write_language_model(folder).state_dict()
    del weights["bert.encoder.layer.1.output.dense.weight"]
    torch.save(weights, folder / "pytorch_model.bin")

    with pytest.raises(InputError, match=r"1 weights .*layer\.1\.output\.dense\.weight"):
        load_encoder(folder)


def test_the_arguments_are_those_of_the_entry(tmp_path: Path) -> None:
    model = write_tiny_encoder(tmp_path / "dense")
    build = Build(entry_from(model), tmp_path / "tiny")

    build.take_off_layers(Catalog())

    assert build.arguments(Catalog(), "texts.txt") == [
        "--model", model.as_uri(),
        "--data", "texts.txt",
        "--output", str(tmp_path / "tiny" / "sparse"),
        "--name", "tiny",
        "--sparsity", "0.7",
        "--method", "admm",
        "--pattern", "unstructured",
        "--recovery-steps", "0",
        "--licence", "MIT",
    ]  # fmt: skip
    assert not build.dense.exists()


def test_fewer_layers_are_made_once_and_pruned_in_the_models_place(tmp_path: Path) -> None:
    model = write_tiny_encoder(tmp_path / "dense", layers=3)
    build = Build(entry_from(model, layers=1), tmp_path / "tiny")

    for _ in range(2):
        build.take_off_layers(Catalog())

    assert build.arguments(Catalog(), "x")[:2] == ["--model", (tmp_path / "tiny/dense").as_uri()]
    assert (build.dense / "config.json").is_file()


@pytest.mark.parametrize("layers", [None, 1])
def test_the_entry_of_what_was_made_has_both_sides_with_their_digests(
    tmp_path: Path, layers: int | None
) -> None:
    model = write_tiny_encoder(tmp_path / "dense", layers=2)
    build = Build(entry_from(model, layers=layers), tmp_path / "tiny")
    build.take_off_layers(Catalog())
    parent = build.dense if layers else model
    write_tiny_encoder(build.sparse)
    record = Foundation(
        name="tiny", family="text", architecture="BertModel", sparsity=0.7, method="admm",
        parent=Parent(uri=parent.as_uri(), digest=digest_of_tree(parent)), prunable=[],
        licence="MIT",
    )  # fmt: skip
    assert not build.is_made
    (build.sparse / FOUNDATION_FILE).write_bytes(record.to_json())

    made = build.made_entry()

    assert build.is_made
    assert made.sparse is not None
    assert made.dense is not None
    assert (made.sparse.uri, made.sparse.digest) == (
        build.sparse.as_uri(),
        digest_of_tree(build.sparse),
    )
    assert (made.dense.uri, made.dense.digest) == (parent.as_uri(), digest_of_tree(parent))
    assert (made.sparse.sparsity, made.sparse.licence, made.dense.licence) == (0.7, "MIT", "MIT")
    assert made.shares_parent
    assert made.dense.zoo == (("zoo:tiny-imdb-base",) if layers is None else ())
    assert made.upstream == build.entry.upstream


EVERY_OPTION: dict[str, Any] = {
    "sparsity": 0.85, "method": "gradual", "pattern": "block4", "budgets": "layer-error",
    "calibration_rows": 96, "refine_rounds": 0, "block_steps": 0, "gradual_steps": 40,
    "prune_every": 8, "initial_sparsity": 0.4, "recovery_steps": 60, "batch_size": 16,
    "precision": "fp32", "max_length": 48, "image_size": 64, "seed": 3, "licence": "MIT",
}  # fmt: skip
PLACED = {"model", "data", "output", "name", "trust_pickle"}
"""Options that are not the job's alone."""


def understood(words: list[str]) -> UpstreamOptions:
    """Returns the options of a command's words."""
    given = dict(zip(words[::2], words[1::2], strict=True))
    options: dict[str, Any] = {
        name.removeprefix("--").replace("-", "_"): value for name, value in given.items()
    }
    kinds: dict[str, Any] = {name: type(value) for name, value in EVERY_OPTION.items()}
    kinds |= {"data": Path, "output": Path}
    return UpstreamOptions(**{name: kinds.get(name, str)(value) for name, value in options.items()})


def test_a_job_has_every_option_of_the_work() -> None:
    options = {field.name for field in fields(UpstreamOptions)} - PLACED

    assert options == set(EVERY_OPTION)
    assert options <= set(UpstreamJob.model_fields)


@pytest.mark.parametrize(
    ("choices", "known"),
    [(Method, METHODS), (Pattern, tuple(patterns.Pattern)), (Budgets, BUDGETS)],
)
def test_a_job_chooses_among_what_the_work_knows(choices: Any, known: tuple[str, ...]) -> None:
    assert get_args(choices) == known


def test_every_option_of_a_job_is_one_of_the_command(tmp_path: Path) -> None:
    job = UpstreamJob(model="file:///dense", data_kind="texts", **EVERY_OPTION)
    entry = CatalogEntry(name="tiny", family="text", size=Size.SMALLEST, upstream=job)

    options = understood(Build(entry, tmp_path).arguments(Catalog(), "x.txt"))

    assert {name: getattr(options, name) for name in EVERY_OPTION} == EVERY_OPTION
    options.check()


@pytest.mark.parametrize(
    "entry",
    [entry for entry in packaged_catalog().models if entry.upstream is not None],
    ids=lambda entry: entry.name,
)
def test_upstream_understands_what_a_packaged_entry_asks_for(
    entry: CatalogEntry, tmp_path: Path
) -> None:
    understood(Build(entry, tmp_path).arguments(packaged_catalog(), "data.txt")).check()


def test_what_is_published_needs_no_making(tmp_path: Path) -> None:
    entry = CatalogEntry(name="a", family="text", size=Size.LARGEST, sparse=Source(uri="hf://x/y"))

    with pytest.raises(InputError, match="there is nothing to make"):
        Build(entry, tmp_path).arguments(Catalog(), "x")


def test_nothing_made_is_no_entry(tmp_path: Path) -> None:
    build = Build(entry_from(write_tiny_encoder(tmp_path / "dense")), tmp_path / "tiny")

    with pytest.raises(InputError, match=r"no foundation\.json with a parent; build it again"):
        build.made_entry()
