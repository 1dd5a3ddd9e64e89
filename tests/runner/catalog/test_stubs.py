"""SparseZoo identifiers: both grammars, what they stand for, and what they ask for."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparse_transfer_api.errors import InputError
from sparse_transfer_runner.catalog.models import Catalog, CatalogEntry, Source
from sparse_transfer_runner.catalog.reading import packaged_catalog
from sparse_transfer_runner.catalog.stub_lookup import find_stub, recipe_of_type
from sparse_transfer_runner.catalog.stubs import parse_stub
from sparse_transfer_runner.recipes import parse_recipe
from sparse_transfer_runner.storage import fetch

KNOWN = [
    line.split("\t")
    for line in (Path(__file__).parent / "zoo_stubs.tsv").read_text("utf-8").splitlines()
]
"""Identifiers that occur in public documents, each with what it stands for or what is near."""

CATALOG = packaged_catalog()
WORD = st.text("abcdefghijklmnopqrstuvwxyz0123456789_.", min_size=1, max_size=12)
NLP = "zoo:nlp/masked_language_modeling/obert-base/pytorch/huggingface/wikipedia_bookcorpus"


def outcome_of(stub: str) -> str:
    """Returns what an identifier leads to, in the words of the table."""
    try:
        found = find_stub(CATALOG, stub)
    except InputError as error:
        near = str(error).partition("nearest: catalog:")[2].partition(" ")[0]
        return f"nearest {near}" if near else "nothing near"
    try:
        recipe = found.recipe
    except InputError:
        return f"{found.entry.name} {found.side}, without that recipe"
    name = f" with {Path(recipe).name}" if recipe is not None else ""
    return f"{found.entry.name} {found.side}{name}"


@pytest.mark.parametrize(("stub", "outcome"), KNOWN, ids=lambda text: text[:120])
def test_every_identifier_of_public_documents_is_known_or_has_a_neighbour(
    stub: str, outcome: str
) -> None:
    assert outcome_of(stub) == outcome


@pytest.mark.parametrize(
    ("stub", "kind", "dataset", "sparsity", "recipe"),
    [
        ("zoo:bert-base-wikipedia_bookcorpus-pruned90?recipe=transfer_question",
         "bert-base", "wikipedia_bookcorpus", 0.9, "transfer_question"),
        ("zoo:yolov8-n-coco-base", "yolov8-n", "coco", 0.0, None),
        ("zoo:distilbert-sst2_wikipedia_bookcorpus-pruned80_quantized",
         "distilbert", "sst2_wikipedia_bookcorpus", 0.8, None),
        ("zoo:llama2-7b-gsm8k-llama2_pretrain-pruned60_quantized",
         "llama2-7b", "gsm8k_llama2_pretrain", 0.6, None),
        (f"{NLP}/pruned90-none?recipe=a&recipe_type=b",
         "obert-base", "wikipedia_bookcorpus", 0.9, "b"),
        (f"{NLP}/pruned90-none/original", "obert-base", "wikipedia_bookcorpus", 0.9, "original"),
        (f"{NLP}/pruned90-none/", "obert-base", "wikipedia_bookcorpus", 0.9, None),
        ("zoo:cv/detection/yolov5-l/pytorch/ultralytics/coco/pruned-aggressive_98",
         "yolov5-l", "coco", 0.98, None),
        ("zoo:cv/classification/mobilenet_v1-1.0/pytorch/sparseml/imagenet/pruned-moderate",
         "mobilenet_v1-1.0", "imagenet", None, None),
    ],
)  # fmt: skip
def test_both_grammars_are_read(
    stub: str, kind: str, dataset: str, sparsity: float | None, recipe: str | None
) -> None:
    found = parse_stub(stub)

    assert (found.kind, found.dataset, found.sparsity) == (kind, dataset, sparsity)
    assert found.recipe_type == recipe


@pytest.mark.parametrize(
    "stub",
    [
        "obert-base",
        "zoo:",
        "zoo:obert",
        "zoo:obert-base",
        "zoo:a-b-c-d-e-f",
        "zoo:nlp/x",
        "zoo:cv//resnet_v1-50/pytorch/sparseml/imagenet/base-none",
        "zoo:obert-base-sst2-base none",
        f"{NLP}/pruned90-none?recipe_type",
        f"{NLP}/pruned90-none?",
        f"{NLP}/pruned90-none?a=b?c=d",
        f"{NLP}/pruned90-none?recipe_type=",
    ],
)
def test_what_is_no_identifier_is_refused_with_the_grammar(stub: str) -> None:
    with pytest.raises(InputError, match="expected"):
        parse_stub(stub)


@given(architecture=WORD, sub=st.none() | WORD, dataset=WORD, tag=WORD)
def test_a_model_has_one_identity_in_both_grammars(
    architecture: str, sub: str | None, dataset: str, tag: str
) -> None:
    kind = architecture if sub is None else f"{architecture}-{sub}"
    first = parse_stub(f"zoo:cv/classification/{kind}/pytorch/sparseml/{dataset}/{tag}-none")
    second = parse_stub(
        f"zoo:{architecture}-{sub}-{dataset}-{tag}"
        if sub is not None
        else f"zoo:{architecture}-{dataset}-{tag}"
    )

    assert first.identity == second.identity


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("zoo:cv/classification/resnet_v1-50/pytorch/sparseml/imagenet/pruned85_quant-none-vnni",
         "zoo:resnet_v1-50-imagenet-pruned85.4block_quantized"),
        ("zoo:nlp/question_answering/bert-base/pytorch/huggingface/squad/pruned95_obs_quant-none",
         "zoo:bert-base-squad_wikipedia_bookcorpus-pruned95.obs_quantized"),
        ("zoo:nlp/sentiment_analysis/distilbert-none/pytorch/huggingface/sst2/base-none",
         "zoo:distilbert-sst2_wikipedia_bookcorpus-base"),
        ("zoo:cv/detection/yolo_v3-spp/pytorch/ultralytics/coco/pruned-aggressive_97",
         "zoo:cv/detection/yolo_v3-spp/pytorch/ultralytics/coco/pruned-aggressive-97"),
    ],
)  # fmt: skip
def test_different_spellings_of_one_model_are_the_same(first: str, second: str) -> None:
    assert parse_stub(first).identity == parse_stub(second).identity


@pytest.mark.parametrize(
    ("stub", "name", "side"),
    [
        ("zoo:cv/detection/yolov8-m/pytorch/ultralytics/coco/pruned80_quant-none",
         "yolov8m-80", "sparse"),
        ("zoo:yolov8-l-coco-pruned85_quantized", "yolov8l-85", "sparse"),
        ("zoo:yolov8-n-coco-pruned49_quantized", "yolov8n-49", "sparse"),
        ("zoo:obert-base-wikipedia_bookcorpus-pruned90_quantized", "obert-base-90", "sparse"),
        ("zoo:yolov5-s-coco-pruned75", "yolov5s-75", "sparse"),
        ("zoo:bert-base-wikipedia_bookcorpus-pruned80.4block", "bert-base-80-block4", "sparse"),
        ("zoo:cv/detection/yolov5-s/pytorch/ultralytics/coco/base_quant-none",
         "yolov5s-75", "dense"),
    ],
)  # fmt: skip
def test_a_quantized_model_is_the_same_start_as_the_one_before(
    stub: str, name: str, side: str
) -> None:
    found = find_stub(CATALOG, stub)

    assert (found.entry.name, found.side) == (name, side)


def test_other_words_of_a_tag_are_not_left_out_with_quant() -> None:
    tags = ("pruned95", "pruned95_uniform_quant", "pruned95_obs_quantized", "pruned95_quantity")
    identities = {parse_stub(f"zoo:resnet_v1-50-imagenet-{tag}").identity for tag in tags}

    assert len(identities) == len(tags)


def test_models_of_other_frameworks_are_not_the_same() -> None:
    stub = "zoo:cv/classification/resnet_v1-50/keras/sparseml/imagenet/pruned95-none"

    with pytest.raises(InputError, match=r"not in the catalogue.*nearest: catalog:resnet50-95"):
        find_stub(CATALOG, stub)


def test_models_of_another_task_are_not_the_same() -> None:
    stub = "zoo:cv/segmentation/yolov8-n/pytorch/ultralytics/coco/pruned49-none"

    with pytest.raises(InputError, match=r"not in the catalogue.*nearest: catalog:yolov8n-seg-49"):
        find_stub(CATALOG, stub)


def test_both_grammars_lead_to_the_same_entry() -> None:
    second = find_stub(CATALOG, "zoo:obert-base-wikipedia_bookcorpus-pruned90")

    assert second.entry == find_stub(CATALOG, f"{NLP}/pruned90-none").entry
    assert (second.entry.name, second.side) == ("obert-base-90", "sparse")


@pytest.mark.parametrize(
    ("wanted", "file"),
    [
        ("transfer-text_classification", "text-transfer.yaml"),
        ("Transfer_Text-Classification", "text-transfer.yaml"),
        ("transfer_question", "text-transfer-squad.yaml"),
        ("transfer-SQuAD", "text-transfer-squad.yaml"),
    ],
)
def test_a_recipe_is_asked_for_by_its_type_or_by_what_it_begins_with(
    wanted: str, file: str
) -> None:
    address = find_stub(CATALOG, f"{NLP}/pruned90-none?recipe={wanted}").recipe

    assert address is not None
    assert fetch(address).name == file


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ("transfer", "'transfer' names several recipes"),
        ("original", "'original' names a recipe that is not known"),
    ],
)
def test_a_recipe_that_is_not_known_is_not_replaced_in_silence(wanted: str, words: str) -> None:
    found = find_stub(CATALOG, f"{NLP}/pruned90-none?recipe_type={wanted}")

    with pytest.raises(InputError, match=words) as caught:
        assert found.recipe

    for part in ("catalog:obert-base-90 has transfer-text_classification", "spec.recipe.inline"):
        assert part in str(caught.value)


def test_an_entry_without_recipes_says_so() -> None:
    entry = CatalogEntry(name="a", family="text", size="Medium", dense=Source(uri="hf://x/y"))

    with pytest.raises(InputError, match="catalog:a has none"):
        recipe_of_type(entry, "transfer", "zoo:a-b-c")


def test_the_published_recipes_are_what_the_zoo_transferred_with() -> None:
    folder = files("sparse_transfer_runner.catalog") / "recipes"
    for name, temperature in (("text-transfer.yaml", 2.0), ("text-transfer-squad.yaml", 5.0)):
        recipe = parse_recipe((folder / name).read_text("utf-8"), {}, {}, name)
        assert (recipe.epochs, recipe.learning_rate_at(0)) == (13, 1.5e-4)
        assert recipe.quantization is not None
        assert recipe.quantization.start_epoch == pytest.approx(8)
        assert recipe.quantization.disable_quantization_observer_epoch == pytest.approx(12)
        assert recipe.distillation is not None
        assert (recipe.distillation.hardness, recipe.distillation.temperature) == (1, temperature)


def test_an_empty_catalogue_has_no_neighbours() -> None:
    with pytest.raises(InputError, match="nothing in it is near"):
        find_stub(Catalog(), "zoo:gpt-2-webtext-pruned50")


def test_a_mirror_without_the_identifiers_model_is_told_which_one_is_missing() -> None:
    with pytest.raises(InputError, match="sparse-transfer catalog mirror obert-base-90 --to"):
        find_stub(Catalog(), f"{NLP}/pruned90-none")
