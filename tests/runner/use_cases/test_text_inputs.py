"""Tokens, lengths and batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tests.runner.tiny_models import write_tiny_encoder

from sparse_transfer_api.errors import InputError
from sparse_transfer_runner.digests import digest_of_tree
from sparse_transfer_runner.use_cases.text_inputs import (
    TextPreprocessor,
    sequence_length,
    text_arrays,
    text_of,
)


@pytest.fixture
def preprocessor(tmp_path: Path) -> TextPreprocessor:
    return TextPreprocessor.load(write_tiny_encoder(tmp_path / "model"))


def test_the_length_is_the_99th_percentile_rounded_up_to_8() -> None:
    lengths = np.array([20] * 990 + [500] * 10)

    assert sequence_length(lengths, 512, None) == (24, 0.01)


def test_the_length_is_at_most_the_models() -> None:
    assert sequence_length(np.array([100, 600]), 512, None) == (512, 0.5)


def test_a_stated_length_is_taken() -> None:
    assert sequence_length(np.array([100, 600]), 512, 128) == (128, 0.5)


def test_more_than_the_model_can_take_is_refused() -> None:
    with pytest.raises(InputError, match="1024 is more than the model's 512"):
        sequence_length(np.array([100]), 512, 1024)


@given(lengths=arrays(np.int64, st.integers(1, 300), elements=st.integers(2, 2000)))
def test_at_most_one_in_a_hundred_is_truncated_where_the_model_allows(
    lengths: np.ndarray,
) -> None:
    length, truncated = sequence_length(lengths, 4096, None)

    assert length % 8 == 0
    assert truncated <= 0.01


def test_the_models_limit_is_the_smaller_of_positions_and_tokenizer(
    preprocessor: TextPreprocessor,
) -> None:
    assert preprocessor.max_length == 32


def test_batches_are_padded_and_pairs_are_told_apart(preprocessor: TextPreprocessor) -> None:
    texts = ["the film was good", "bad"], ["it is great", "never"]
    encoded = preprocessor.encode(texts, 12)

    split = text_of(text_arrays(encoded, np.array([1, 0]), pairs=True), 0)
    batch = split.collate([1, 0])

    assert len(split) == len(split.features) == 2
    assert split.lengths.tolist() == [10, 5]
    assert [v.shape for v in batch.values()] == [(2, 10)] * 3
    assert batch["attention_mask"].sum(axis=1).tolist() == [5, 10]
    assert batch["input_ids"][0, 5:].tolist() == [0] * 5
    assert batch["token_type_ids"][1].tolist() == [0] * 6 + [1] * 4
    assert split.features[0]["input_ids"].tolist() == batch["input_ids"][1].tolist()
    assert {name: len(row) for name, row in split.features[1].items()} == {
        "input_ids": 5,
        "attention_mask": 5,
        "token_type_ids": 5,
    }


def test_a_batch_can_be_padded_further_but_not_cut(preprocessor: TextPreprocessor) -> None:
    encoded = preprocessor.encode((["the film was good"],), None)
    split = text_of(text_arrays(encoded, np.array([1]), pairs=False), 0)

    assert split.collate([0], pad_to=16)["input_ids"].shape == (1, 16)
    assert split.collate([0]).keys() == {"input_ids", "attention_mask"}
    with pytest.raises(ValueError, match="more than pad_to=4"):
        split.collate([0], pad_to=4)


def test_long_texts_are_cut(preprocessor: TextPreprocessor) -> None:
    encoded = preprocessor.encode((["good " * 100],), 8)

    assert len(encoded["input_ids"][0]) == 8


def test_vocab_txt_alone_makes_the_same_tokens(
    preprocessor: TextPreprocessor, tmp_path: Path
) -> None:
    folder = write_tiny_encoder(tmp_path / "bare")
    for path in folder.glob("tokenizer*.json"):
        path.unlink()

    assert preprocessor.same_as(TextPreprocessor.load(folder))


def test_a_tokenizer_is_saved_alike_whatever_it_encoded(
    preprocessor: TextPreprocessor, tmp_path: Path
) -> None:
    preprocessor.save(tmp_path / "before")
    preprocessor.encode((["good " * 100],), 8)
    preprocessor.save(tmp_path / "after")
    assert digest_of_tree(tmp_path / "after") == digest_of_tree(tmp_path / "before")


def test_a_saved_tokenizer_makes_the_same_tokens(
    preprocessor: TextPreprocessor, tmp_path: Path
) -> None:
    folder = write_tiny_encoder(tmp_path / "saved")
    for path in (*folder.glob("tokenizer*.json"), folder / "vocab.txt"):
        path.unlink()
    preprocessor.save(folder)

    assert preprocessor.same_as(TextPreprocessor.load(folder))


def test_another_vocabulary_is_not_the_same(preprocessor: TextPreprocessor, tmp_path: Path) -> None:
    folder = write_tiny_encoder(tmp_path / "other")
    for path in folder.glob("tokenizer*.json"):
        path.unlink()
    words = (folder / "vocab.txt").read_text().split("\n")
    (folder / "vocab.txt").write_text("\n".join([*words[:5], *reversed(words[5:])]))

    assert not preprocessor.same_as(TextPreprocessor.load(folder))


def test_a_broken_tokenizer_is_said(tmp_path: Path) -> None:
    folder = write_tiny_encoder(tmp_path / "model")
    (folder / "tokenizer.json").write_text("{")

    with pytest.raises(InputError, match="its tokenizer cannot be read"):
        TextPreprocessor.load(folder)
