"""Unlabelled sentences for upstream work, tokenized and batched by length."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sparse_transfer_api.errors import AccessError, InputError
from sparse_transfer_runner.training.batches import length_bucketed, sorted_by_length


@dataclass(frozen=True)
class Sentences:
    """Tokenized sentences.

    Args:
        token_ids: Of each sentence, special tokens included.
        padding: The tokenizer's padding id.
    """

    token_ids: Sequence[Sequence[int]]
    padding: int

    def __len__(self) -> int:
        return len(self.token_ids)

    def split(self, count: int) -> tuple[Sentences, Sentences]:
        """Returns the first ``count`` sentences, and the rest."""
        return (
            Sentences(self.token_ids[:count], self.padding),
            Sentences(self.token_ids[count:], self.padding),
        )

    def batches(self, size: int, limit: int | None = None) -> list[dict[str, Tensor]]:
        """Returns the first ``limit`` sentences in batches of similar length."""
        chosen = self.token_ids[:limit]
        rows = sorted_by_length([len(ids) for ids in chosen], size)
        return [self._padded(each) for each in rows]

    def stream(self, size: int, seed: int) -> Iterator[dict[str, Tensor]]:
        """Yields shuffled batches without end, each of similar lengths."""
        lengths = [len(ids) for ids in self.token_ids]
        epoch = 0
        while True:
            for rows in length_bucketed(lengths, size, seed=seed, epoch=epoch):
                yield self._padded(rows)
            epoch += 1

    def _padded(self, rows: Sequence[int]) -> dict[str, Tensor]:
        chosen = [self.token_ids[row] for row in rows]
        longest = max(map(len, chosen))
        return {
            "input_ids": torch.tensor(
                [[*ids, *[self.padding] * (longest - len(ids))] for ids in chosen]
            ),
            "attention_mask": torch.tensor(
                [[1] * len(ids) + [0] * (longest - len(ids)) for ids in chosen]
            ),
        }


def read_sentences(
    path: Path, tokenizer: Any, *, max_length: int, seed: int, needed: int, useful: int
) -> Sentences:
    """Reads, shuffles and tokenizes unlabelled sentences.

    Args:
        path: A ``.txt`` file with a sentence a line, or ``.jsonl`` with the field ``text``.
        tokenizer: The parent's.
        max_length: Tokens; longer sentences are cut.
        seed: Of the order.
        needed: The fewest sentences that suffice.
        useful: The most that will be looked at; a random choice of so many is kept.

    Raises:
        InputError: The file is broken, or holds too few sentences.
        AccessError: It cannot be read.
    """
    if path.suffix not in (".txt", ".jsonl"):
        raise InputError(
            f"{path}: unlabelled text is a .txt file with a sentence a line, or a .jsonl file "
            'with lines such as {"text": "…"}'
        )
    try:
        with path.open(encoding="utf-8") as file:
            texts = [
                text for number, line in enumerate(file, 1) if (text := _text(path, number, line))
            ]
    except OSError as error:
        raise AccessError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 (byte {error.start})") from error
    if len(texts) < needed:
        raise InputError(
            f"{path}: {len(texts)} sentences, but {needed} are needed (calibration, one batch of "
            "recovery, and held-out rows for the quality record); give more text, or fewer "
            "calibration rows"
        )
    random.Random(seed).shuffle(texts)
    encoded = tokenizer(texts[: max(needed, useful)], truncation=True, max_length=max_length)
    return Sentences(encoded["input_ids"], tokenizer.pad_token_id or 0)


def _text(path: Path, number: int, line: str) -> str:
    if path.suffix == ".txt":
        return line.strip()
    if not line.strip():
        return ""
    try:
        text = json.loads(line)["text"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f'{path}:{number}: expected a JSON object with the string "text" ({error})'
        ) from error
    if not isinstance(text, str):
        raise InputError(f'{path}:{number}: "text" is {type(text).__name__}, expected a string')
    return text.strip()
