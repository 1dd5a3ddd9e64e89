"""Taggers are built with the right head from every kind of folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.runner.tiny_models import random_batch, write_tiny_encoder

from sparse_transfer_api.errors import InputError
from sparse_transfer_runner.use_cases.text_model import build_classifier, save_classifier
from sparse_transfer_runner.use_cases.token_model import build_tagger, has_head

TAGS = ["B-x", "I-x", "O"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tiny_encoder(tmp_path / "model")


def test_every_token_gets_logits_from_a_head_of_the_seed_alone(folder: Path) -> None:
    torch.manual_seed(1)
    first = build_tagger(folder, TAGS, seed=7)
    torch.manual_seed(2)
    second = build_tagger(folder, TAGS, seed=7)

    batch = random_batch(0, rows=4, tokens=6)
    assert first(**batch).logits.shape == (4, 6, 3)
    assert torch.equal(first(**batch).logits, second(**batch).logits)
    assert first.config.id2label == dict(enumerate(TAGS))


def test_a_saved_tagger_is_read_back_with_its_head(folder: Path, tmp_path: Path) -> None:
    model = build_tagger(folder, TAGS, seed=7)
    save_classifier(model, tmp_path / "saved")

    again = build_tagger(tmp_path / "saved", TAGS, seed=8)

    assert not has_head(folder, TAGS)
    assert has_head(tmp_path / "saved", TAGS)
    assert not has_head(tmp_path / "saved", [*TAGS[1:], "B-y"])
    assert torch.equal(model(**random_batch(0)).logits, again(**random_batch(0)).logits)


def test_the_head_of_a_classifier_of_texts_is_none_of_a_tagger(
    folder: Path, tmp_path: Path
) -> None:
    classifier = build_classifier(folder, TAGS, "single_label_classification", seed=7)
    save_classifier(classifier, tmp_path / "saved")

    built = build_tagger(tmp_path / "saved", TAGS, seed=8)

    assert not has_head(tmp_path / "saved", TAGS)
    assert not torch.equal(
        built.get_parameter("classifier.weight"), classifier.get_parameter("classifier.weight")
    )


def test_a_model_that_cannot_tag_is_refused(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "vit"}')

    with pytest.raises(InputError, match="a vit cannot tag tokens"):
        build_tagger(folder, TAGS, seed=0)
