"""From tagged words to a model's inputs: pieces of words, and which piece answers for a word.

A word's first piece carries its tag; its other pieces and the tokenizer's own tokens carry none. A
word beyond the longest sequence, or one of which the tokenizer leaves nothing (zero-width
characters), has no piece: no model answers for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparse_transfer_api.errors import InputError

from .feature_files import mapped_features
from .protocol import IGNORED, Batch
from .text_inputs import INPUT_IDS, EncodedText, TextPreprocessor, offsets_of

UNSEEN = -1
"""The position of a word that has no piece."""
_WORDS_AT_ONCE = 1 << 14
"""Whose outputs are copied at a time."""


def load_word_tokenizer(model: Path) -> TextPreprocessor:
    """Loads the tokenizer of a model folder so that it takes words.

    Raises:
        InputError: There is none, it cannot be read, or it cannot tell which word a piece is of.
    """
    loaded = TextPreprocessor.load(model)
    if not loaded.tokenizer.is_fast:
        raise InputError(
            f"{model}: its tokenizer cannot tell the words apart; expected one with tokenizer.json"
        )
    if getattr(loaded.tokenizer, "add_prefix_space", None) is False:
        # Of such tokenizers a word has other pieces at the beginning of a text than within it.
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(
            model, local_files_only=True, trust_remote_code=False, add_prefix_space=True
        )
        loaded = replace(loaded, tokenizer=tokenizer)
    _put_space_before_words(loaded.tokenizer.backend_tokenizer)
    return loaded


def _put_space_before_words(backend: Any) -> None:
    """Gives words the pieces that they have within a text, where those carry the space before.

    transformers hands ``add_prefix_space`` to some tokenizers only; others just remember it.
    """
    from tokenizers import normalizers, pre_tokenizers

    if backend.pre_tokenizer is None:
        return
    text = "a a" if backend.normalizer is None else backend.normalizer.normalize_str("a a")
    parts = [part for part, _ in backend.pre_tokenizer.pre_tokenize_str(text)]
    if parts[0] == parts[-1]:
        return
    if isinstance(backend.pre_tokenizer, pre_tokenizers.ByteLevel):
        backend.pre_tokenizer.add_prefix_space = True
        return
    # Behind others, ByteLevel would put a space before all that they have cut a word into.
    known = [] if backend.normalizer is None else [backend.normalizer]
    backend.normalizer = normalizers.Sequence([*known, normalizers.Prepend(" ")])


@dataclass(frozen=True)
class Pieces:
    """Rows of words as a tokenizer sees them.

    Args:
        tokens: Of each row.
        words: Of each row the word that each token is a piece of, None for the tokenizer's own.
    """

    tokens: Sequence[Sequence[int]]
    words: Sequence[Sequence[int | None]]


def pieces_of(
    tokenizer: TextPreprocessor, rows: Sequence[Sequence[str]], max_length: int | None
) -> Pieces:
    """Cuts words into pieces.

    Args:
        tokenizer: One that takes words.
        rows: Words of each row.
        max_length: Tokens to cut rows at; None cuts nothing.
    """
    encoded = tokenizer.tokenizer(
        list(map(list, rows)),
        is_split_into_words=True,
        truncation=max_length is not None,
        max_length=max_length,
        return_attention_mask=False,
        return_token_type_ids=False,
        verbose=False,
    )
    return Pieces(encoded[INPUT_IDS], [encoded.word_ids(row) for row in range(len(rows))])


@dataclass(frozen=True)
class EncodedTags:
    """A split as tokens with tags.

    Args:
        text: The tokens; its targets are integers ``[rows, longest row]``, a tag's place or
            ``IGNORED``.
        gold: int32 ``[words]``, row after row: each word's tag, those of unseen words too.
        positions: int32 ``[words]``: the token in the row that answers for a word, or ``UNSEEN``.
        offsets: int64 ``[rows + 1]``, where each row's words begin.
    """

    text: EncodedText
    gold: NDArray[np.int32]
    positions: NDArray[np.int32]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.text)

    @property
    def targets(self) -> NDArray[Any]:
        """Of each token, ``[rows, longest row]``."""
        return self.text.targets

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each row."""
        return self.text.lengths

    def collate(self, rows: Sequence[int], *, pad_to: int | None = None) -> Batch:
        """Returns rows as one padded batch; see ``EncodedText``."""
        return self.text.collate(rows, pad_to=pad_to)

    @property
    def seen(self) -> NDArray[np.bool_]:
        """Which words a model answers for, ``[words]``."""
        return self.positions != UNSEEN

    def by_row(self, values: NDArray[Any]) -> list[NDArray[Any]]:
        """Returns values ``[words]`` as one array a row."""
        return np.split(values, self.offsets[1:-1])

    def answers(self, outputs: NDArray[Any], unseen: int) -> NDArray[np.int64]:
        """Returns the tag that a model gives each word, ``[words]``.

        Args:
            outputs: Logits ``[rows, positions, tags]``.
            unseen: What unseen words get.
        """
        rows = np.repeat(np.arange(len(self)), np.diff(self.offsets))
        found = np.full(len(self.gold), unseen, dtype=np.int64)
        seen = np.flatnonzero(self.seen)
        for begin in range(0, len(seen), _WORDS_AT_ONCE):
            part = seen[begin : begin + _WORDS_AT_ONCE]
            found[part] = outputs[rows[part], self.positions[part]].argmax(axis=-1)
        return found


Chunks = Iterable[tuple[Pieces, Sequence[Sequence[int]]]]
"""Of each chunk of rows the pieces, and each word's tag by its place."""


def mapped_tags(
    chunks: Callable[[], Chunks], padding: int, *, made_of: Sequence[object]
) -> EncodedTags:
    """Puts chunks of rows together in files; see ``feature_files``.

    Args:
        chunks: Yields them; not called where the same was encoded before.
        padding: The padding token.
        made_of: All that decides the rows, their tokens and their tags.
    """
    found = mapped_features(
        ["tagged words", *made_of], lambda: (tag_arrays(pieces, tags) for pieces, tags in chunks())
    )
    return tags_of(found, padding)


def tags_of(found: Mapping[str, NDArray[Any]], padding: int) -> EncodedTags:
    """Returns the split that ``tag_arrays`` gave arrays of."""
    lengths, words = found["lengths"], found["words"]
    targets = np.full((len(lengths), int(lengths.max())), IGNORED, dtype=np.int16)
    seen = found["positions"] != UNSEEN
    rows = np.repeat(np.arange(len(words)), words)
    targets[rows[seen], found["positions"][seen]] = found["gold"][seen]
    return EncodedTags(
        EncodedText(found["tokens"], None, offsets_of(lengths), targets, padding),
        found["gold"],
        found["positions"],
        offsets_of(words),
    )


def tag_arrays(pieces: Pieces, tags: Sequence[Sequence[int]]) -> dict[str, NDArray[Any]]:
    """Returns a chunk's tokens and words, row after row, and how many each row has."""
    positions = [
        _first_pieces(row, len(their)) for row, their in zip(pieces.words, tags, strict=True)
    ]
    return {
        "tokens": np.concatenate([np.asarray(row, dtype=np.int32) for row in pieces.tokens]),
        "lengths": np.asarray([len(row) for row in pieces.tokens], dtype=np.int64),
        "gold": np.concatenate([np.asarray(row, dtype=np.int32) for row in tags]),
        "positions": np.concatenate(positions),
        "words": np.asarray([len(row) for row in tags], dtype=np.int64),
    }


def _first_pieces(words: Sequence[int | None], count: int) -> NDArray[np.int32]:
    """Returns the position of each word's first piece, or ``UNSEEN``."""
    found = np.full(count, UNSEEN, dtype=np.int32)
    # From the end on, so that the first piece has the last word.
    for position in range(len(words) - 1, -1, -1):
        word = words[position]
        if word is not None:
            found[word] = position
    return found
