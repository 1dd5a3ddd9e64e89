"""Which piece of which word carries a tag."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.runner.tiny_models import WORDS, write_tiny_encoder
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    ModernBertConfig,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaTokenizerFast,
)

from sparse_transfer_runner.use_cases.protocol import IGNORED
from sparse_transfer_runner.use_cases.tagged_text import (
    UNSEEN,
    EncodedTags,
    load_word_tokenizer,
    pieces_of,
    tag_arrays,
    tags_of,
)
from sparse_transfer_runner.use_cases.text_inputs import TextPreprocessor

ZERO_WIDTH = "\u200b"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> TextPreprocessor:
    return load_word_tokenizer(write_tiny_encoder(tmp_path_factory.mktemp("tokenizer") / "model"))


def encoded(
    tokenizer: TextPreprocessor, rows: list[tuple[list[str], list[int]]], length: int = 32
) -> EncodedTags:
    pieces = pieces_of(tokenizer, [words for words, _ in rows], length)
    return tags_of(tag_arrays(pieces, [tags for _, tags in rows]), 0)


def test_the_first_piece_of_a_word_carries_its_tag(tokenizer: TextPreprocessor) -> None:
    split = encoded(tokenizer, [(["the", "good.", "film"], [3, 1, 2]), (["bad"], [0])])

    assert split.collate([0])["input_ids"].tolist() == [
        [WORDS.index(word) for word in ("[CLS]", "the", "good", ".", "film", "[SEP]")]
    ]
    assert split.targets.tolist() == [
        [IGNORED, 3, 1, IGNORED, 2, IGNORED],
        [IGNORED, 0, IGNORED, IGNORED, IGNORED, IGNORED],
    ]
    assert split.positions.tolist() == [1, 2, 4, 1]
    assert [row.tolist() for row in split.by_row(split.gold)] == [[3, 1, 2], [0]]
    assert split.lengths.tolist() == [6, 3]


@pytest.mark.parametrize("nothing", ["", " ", ZERO_WIDTH])
def test_a_word_without_pieces_has_a_tag_and_no_position(
    tokenizer: TextPreprocessor, nothing: str
) -> None:
    split = encoded(tokenizer, [(["the", nothing, "film"], [0, 1, 2]), ([nothing], [1])])

    assert split.positions.tolist() == [1, UNSEEN, 2, UNSEEN]
    assert split.gold.tolist() == [0, 1, 2, 1]
    assert 1 not in split.targets


def test_words_beyond_the_longest_sequence_are_counted_and_not_seen(
    tokenizer: TextPreprocessor,
) -> None:
    split = encoded(tokenizer, [(["the", "good", "film", "is", "bad"], [0, 1, 2, 3, 4])], length=4)

    assert split.lengths.tolist() == [4]
    assert split.seen.tolist() == [True, True, False, False, False]
    assert len(split.gold) == 5


@given(
    rows=st.lists(
        st.lists(st.sampled_from([*WORDS[5:], "good.film", ZERO_WIDTH]), min_size=1, max_size=12),
        min_size=1,
        max_size=5,
    ),
    length=st.integers(3, 20),
)
def test_answers_that_are_the_targets_are_right_for_every_word_that_is_seen(
    tokenizer: TextPreprocessor, rows: list[list[str]], length: int
) -> None:
    random_tags = random.Random(0)
    tagged = [(words, random_tags.choices(range(5), k=len(words))) for words in rows]
    split = encoded(tokenizer, tagged, length)
    outputs = np.eye(5)[np.where(split.targets == IGNORED, 0, split.targets)]

    answers = split.answers(outputs, unseen=7)

    assert np.array_equal(answers[split.seen], split.gold[split.seen])
    assert set(answers[~split.seen].tolist()) <= {7}
    assert (split.targets != IGNORED).sum() == split.seen.sum()


def test_a_vocabulary_alone_is_tokenizer_enough(tmp_path: Path) -> None:
    folder = write_tiny_encoder(tmp_path / "model")
    whole = load_word_tokenizer(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (folder / name).unlink(missing_ok=True)

    alone = load_word_tokenizer(folder)

    rows = [["the", "good.", ZERO_WIDTH, "film"]]
    assert pieces_of(alone, rows, 8) == pieces_of(whole, rows, 8)


def test_a_word_has_the_same_pieces_wherever_it_stands(tmp_path: Path) -> None:
    names = ("<s>", "<pad>", "</s>", "<unk>", "<mask>", "Ġ", "a", "b", "Ġa", "ab")
    RobertaTokenizerFast(
        vocab={name: place for place, name in enumerate(names)}, merges=[("Ġ", "a"), ("a", "b")]
    ).save_pretrained(tmp_path)
    RobertaConfig(vocab_size=10).save_pretrained(tmp_path)

    pieces = pieces_of(load_word_tokenizer(tmp_path), [["ab", "ab"]], None)

    assert pieces.tokens[0][1:3] == pieces.tokens[0][3:5]
    assert pieces.words[0] == [None, 0, 0, 1, 1, None]


def byte_level(**more: bool) -> pre_tokenizers.ByteLevel:
    return pre_tokenizers.ByteLevel(add_prefix_space=False, **more)


SPACED = {
    "ModernBERT's": byte_level(),
    "behind a split": pre_tokenizers.Sequence([pre_tokenizers.Digits(), byte_level()]),
    "SentencePiece's": pre_tokenizers.Metaspace(prepend_scheme="never"),
}


@pytest.mark.parametrize("cut", SPACED.values(), ids=SPACED)
def test_words_have_the_pieces_that_they_have_within_a_text(
    tmp_path: Path, cut: pre_tokenizers.PreTokenizer
) -> None:
    names = ("<unk>", "<pad>", "a", "1", "Ġ", "▁", "Ġa", "▁a")
    tokenizer = Tokenizer(
        models.BPE(
            vocab={name: place for place, name in enumerate(names)},
            merges=[("Ġ", "a"), ("▁", "a")],
            unk_token="<unk>",
        )
    )
    tokenizer.pre_tokenizer = cut
    saved = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<pad>"
    )
    saved.save_pretrained(tmp_path)
    ids = {"bos_token_id": 0, "eos_token_id": 0, "cls_token_id": 0, "sep_token_id": 0}
    ModernBertConfig(vocab_size=len(names), pad_token_id=1, **ids).save_pretrained(tmp_path)

    loaded = load_word_tokenizer(tmp_path)
    pieces = pieces_of(loaded, [["a1", "a1"]], None)
    loaded.save(tmp_path)

    assert pieces.tokens == [saved("x a1 a1")["input_ids"][1:]]
    assert pieces.words == [[0, 0, 1, 1]]
    assert pieces_of(load_word_tokenizer(tmp_path), [["a1", "a1"]], None) == pieces
    deployed = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert [deployed.encode(["a1", "a1"], is_pretokenized=True).ids] == pieces.tokens
