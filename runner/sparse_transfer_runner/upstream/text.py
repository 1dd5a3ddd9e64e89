"""The text family: a Hugging Face encoder, and unlabelled sentences to prune it on."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sparse_transfer_api.errors import AccessError, InputError
from sparse_transfer_runner.catalog.hugging_face import load_encoder
from sparse_transfer_runner.digests import sha256_of
from sparse_transfer_runner.sparsity.walk import Inputs
from sparse_transfer_runner.training.batches import length_bucketed, sorted_by_length
from sparse_transfer_runner.training.distillation import hidden_state_errors

from .family import Opened
from .options import UpstreamOptions

FAMILY = "text"
_LEARNING_RATE = 5e-4
_BATCH = 64
"""Rows of a batch that nothing is trained on."""
_HELD_OUT_ROWS = 256
"""Rows that neither pruning nor training sees; the quality record is measured on them."""


def open_text(source: Path, options: UpstreamOptions, device: torch.device) -> Opened:
    """Opens a dense encoder and its sentences.

    Args:
        source: A Hugging Face folder.
        options: The user's.
        device: Where to work.

    Raises:
        InputError: The model or the text cannot be used.
        AccessError: The text cannot be read.
    """
    model, tokenizer = load_encoder(source, trusted=options.trust_pickle)
    parent = model.eval()
    sentences = read_sentences(
        options.data,
        tokenizer,
        max_length=options.max_length,
        seed=options.seed,
        needed=options.calibration_rows + options.batch_size + _HELD_OUT_ROWS,
        useful=options.calibration_rows + options.steps * options.batch_size + _HELD_OUT_ROWS,
    )

    def save(model: Any, folder: Path) -> None:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)

    material = TextMaterial(sentences, options, device)
    digest = sha256_of(options.data)
    return Opened(FAMILY, parent.to(device), material, save, digest, _LEARNING_RATE)


class TextMaterial:
    """Sentences, and the error of an encoder's hidden states on them.

    Args:
        sentences: All that were read; the first ones are held out.
        options: The user's.
        device: Where batches go.
    """

    def __init__(
        self, sentences: Sentences, options: UpstreamOptions, device: torch.device
    ) -> None:
        self._held_out, self._rest = sentences.split(_HELD_OUT_ROWS)
        self._options = options
        self._device = device

    def calibration(self) -> list[Inputs]:
        """Returns the sentences that pruning looks at, in batches of similar length."""
        return self._moved(self._rest.batches(_BATCH, limit=self._options.calibration_rows))

    def held_out(self) -> list[Inputs]:
        """Returns sentences that neither pruning nor training sees."""
        return self._moved(self._held_out.batches(_BATCH))

    def step(self, number: int) -> Inputs:
        """Returns the batch of a training step."""
        batch = self._rest.step(number, self._options.batch_size, self._options.seed)
        return self._moved([batch])[0]

    def error(self, model: nn.Module, parent: nn.Module, inputs: Inputs) -> Tensor:
        """Returns the mean relative squared error of the hidden states, all layers alike."""
        with torch.no_grad():
            wanted = parent(**inputs, output_hidden_states=True).hidden_states
        own = model(**inputs, output_hidden_states=True).hidden_states
        valid = inputs["attention_mask"].bool()
        return hidden_state_errors(own[1:], wanted[1:], valid).mean()

    def facts(self) -> dict[str, float]:
        """Returns the numbers of rows."""
        return {
            "calibrationRows": min(self._options.calibration_rows, len(self._rest)),
            "heldOutRows": len(self._held_out),
        }

    def _moved(self, batches: Sequence[Inputs]) -> list[Inputs]:
        return [
            {name: values.to(self._device) for name, values in batch.items()} for batch in batches
        ]


@dataclass(frozen=True)
class Sentences:
    """Tokenized sentences.

    Args:
        token_ids: Of each sentence, special tokens included.
        padding: The tokenizer's padding id.
    """

    token_ids: Sequence[Sequence[int]]
    padding: int
    _epochs: dict[tuple[int, int, int], list[list[int]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

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

    def step(self, number: int, size: int, seed: int) -> dict[str, Tensor]:
        """Returns the batch of a training step: shuffled in every epoch, each of similar lengths.

        Args:
            number: Of the step, from 0 on without end.
            size: Rows of a batch.
            seed: Of the order.
        """
        epoch, index = divmod(number, -(-len(self.token_ids) // size))
        if (epoch, size, seed) not in self._epochs:
            self._epochs.clear()
            lengths = [len(ids) for ids in self.token_ids]
            self._epochs[epoch, size, seed] = length_bucketed(lengths, size, seed=seed, epoch=epoch)
        return self._padded(self._epochs[epoch, size, seed][index])

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
