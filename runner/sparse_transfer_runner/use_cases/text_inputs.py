"""From text to a model's inputs: the tokenizer, sequence lengths, and encoded splits."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from sparse_transfer_api.errors import InputError
from sparse_transfer_runner.catalog.hugging_face import (
    quiet_transformers,
    read_config,
    require_tokenizer,
)
from sparse_transfer_runner.digests import digest_of_tree

from .feature_files import mapped_features
from .protocol import Batch

LENGTH_STEP = 8
"""Sequence lengths are multiples of it: kernels are fastest there."""

LENGTH_PERCENTILE = 99
_SENSIBLE_LENGTH = 1 << 20
"""A tokenizer that knows no limit states an astronomical one."""

_OFFSET_POSITIONS = ("roberta", "xlm-roberta", "camembert", "mpnet", "longformer")
"""Models whose positions start after the padding token's, so that they have fewer than stated."""

INPUT_IDS, ATTENTION_MASK, TOKEN_TYPE_IDS = "input_ids", "attention_mask", "token_type_ids"


@dataclass(frozen=True)
class TextPreprocessor:
    """A tokenizer, and what the model behind it can take.

    Args:
        tokenizer: transformers' own.
        max_length: Tokens of the longest sequence.
        knows_pairs: The model has an input that tells the texts of a pair apart.
    """

    tokenizer: Any
    max_length: int
    knows_pairs: bool

    @classmethod
    def load(cls, model: Path) -> TextPreprocessor:
        """Loads the tokenizer of a model folder; ``vocab.txt`` alone is enough for a BERT.

        Raises:
            InputError: There is none, or it cannot be read.
        """
        config = read_config(model)
        require_tokenizer(model)
        quiet_transformers()
        from transformers import AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(
                model, local_files_only=True, trust_remote_code=False
            )
        except (ValueError, OSError, KeyError, TypeError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"{model}: its tokenizer cannot be read ({reason})") from error
        return cls(
            tokenizer,
            _max_length(config, tokenizer),
            TOKEN_TYPE_IDS in tokenizer.model_input_names
            and getattr(config, "type_vocab_size", 0) > 1,
        )

    def save(self, folder: Path) -> None:
        """Writes the tokenizer's files into a model folder, whatever was encoded before."""
        self._forget_requests()
        self.tokenizer.save_pretrained(folder)

    def _forget_requests(self) -> Any:
        """Returns the tokenizer behind, without what the last call asked for; each asks anew."""
        fast = getattr(self.tokenizer, "backend_tokenizer", None)
        if fast is not None:
            fast.no_truncation()
            fast.no_padding()
        return fast

    def same_as(self, other: TextPreprocessor) -> bool:
        """Whether both turn every text into the same tokens."""
        ours, theirs = self.tokenizer, other.tokenizer
        return (
            ours.get_vocab() == theirs.get_vocab()
            and ours.special_tokens_map == theirs.special_tokens_map
            and ours(_PROBE)[INPUT_IDS] == theirs(_PROBE)[INPUT_IDS]
        )

    @cached_property
    def identity(self) -> str:
        """SHA-256 of all that decides which tokens it makes."""
        special = sorted(self.tokenizer.special_tokens_map.items())
        whole = hashlib.sha256(repr([special, self.tokenizer.truncation_side]).encode())
        fast = self._forget_requests()
        if fast is not None:
            whole.update(fast.to_str().encode())
            return whole.hexdigest()
        with tempfile.TemporaryDirectory() as folder:
            self.tokenizer.save_vocabulary(folder)
            whole.update(type(self.tokenizer).__name__.encode())
            # How it reads texts is not in its vocabulary.
            options = sorted(self.tokenizer.init_kwargs.items())
            whole.update(repr([each for each in options if not _is_path(each[0])]).encode())
            whole.update(digest_of_tree(Path(folder)).encode())
        return whole.hexdigest()

    def encode(self, texts: Sequence[list[str]], max_length: int | None) -> Mapping[str, Any]:
        """Returns token lists of one or two columns of texts.

        Args:
            texts: One list of texts, or two of a pair.
            max_length: Tokens to cut at; None cuts nothing.
        """
        encoded: Mapping[str, Any] = self.tokenizer(
            *texts,
            truncation=max_length is not None,
            max_length=max_length,
            return_attention_mask=False,
            return_token_type_ids=self.knows_pairs and len(texts) > 1,
            verbose=False,
        )
        return encoded


def _is_path(option: str) -> bool:
    return option.endswith(("_file", "_path"))


_PROBE = ["Ünïcode, CASE & 12.5% 'quotes' don't\tmatter? 漢字 🙂"]


def _max_length(config: Any, tokenizer: Any) -> int:
    positions = getattr(config, "max_position_embeddings", None) or _SENSIBLE_LENGTH
    if config.model_type in _OFFSET_POSITIONS:
        positions -= (config.pad_token_id or 0) + 1
    return int(min(positions, tokenizer.model_max_length))


def sequence_length(lengths: NDArray[Any], max_length: int, asked: int | None) -> tuple[int, float]:
    """Returns the sequence length, and the share of rows that it truncates.

    Args:
        lengths: Tokens of the training rows, special ones counted.
        max_length: The model's.
        asked: ``spec.training.maxSequenceLength``; by default the 99th percentile of the lengths,
            rounded up to 8, at most the model's.

    Raises:
        InputError: More is asked for than the model can take.
    """
    if asked is not None and asked > max_length:
        raise InputError(
            f"spec.training.maxSequenceLength: {asked} is more than the model's {max_length}; "
            "expected at most that"
        )
    percentile = int(np.percentile(lengths, LENGTH_PERCENTILE, method="inverted_cdf"))
    natural = -(-percentile // LENGTH_STEP) * LENGTH_STEP
    length = asked or min(natural, max_length)
    return length, float((lengths > length).mean())


_PLACEHOLDERS = (5, 20)
"""Example inputs use these tokens: every vocabulary has them, and none of them is special."""


def placeholder_inputs(names: Sequence[str], batch: int, tokens: int) -> Batch:
    """Returns full rows of arbitrary tokens, the same at every call.

    Args:
        names: Of the inputs.
        batch: Rows.
        tokens: Of each row.
    """
    random = np.random.default_rng(0)
    inputs = {
        INPUT_IDS: random.integers(*_PLACEHOLDERS, (batch, tokens), dtype=np.int64),
        ATTENTION_MASK: np.ones((batch, tokens), dtype=np.int64),
        TOKEN_TYPE_IDS: np.zeros((batch, tokens), dtype=np.int64),
    }
    return {name: inputs[name] for name in names}


@dataclass(frozen=True)
class EncodedText:
    """A split as tokens: all rows in one array, which may lie on the disk.

    Args:
        tokens: int32 ``[tokens]``, row after row.
        types: int8 ``[tokens]``, which text of the pair a token belongs to; None for single texts.
        offsets: int64 ``[rows + 1]``, where each row begins.
        targets: See the protocol.
        padding: Token that fills a batch's shorter rows.
    """

    tokens: NDArray[np.int32]
    types: NDArray[np.int8] | None
    offsets: NDArray[np.int64]
    targets: NDArray[Any]
    padding: int

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def features(self) -> Sequence[Mapping[str, NDArray[Any]]]:
        """Each row's inputs by name, 1-D arrays."""
        return _Features(self)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each row."""
        return np.diff(self.offsets)

    def collate(self, rows: Sequence[int], *, pad_to: int | None = None) -> Batch:
        """Returns rows as one batch of int64 arrays ``[rows, tokens]``.

        Args:
            rows: Which, in the batch's order.
            pad_to: Tokens of every row; by default those of the longest.

        Raises:
            ValueError: A row is longer than ``pad_to``.
        """
        spans = [(int(self.offsets[row]), int(self.offsets[row + 1])) for row in rows]
        longest = max(end - start for start, end in spans)
        width = longest if pad_to is None else pad_to
        if longest > width:
            raise ValueError(f"a row has {longest} tokens, more than pad_to={width}")
        batch = {
            INPUT_IDS: np.full((len(spans), width), self.padding, dtype=np.int64),
            ATTENTION_MASK: np.zeros((len(spans), width), dtype=np.int64),
        }
        if self.types is not None:
            batch[TOKEN_TYPE_IDS] = np.zeros((len(spans), width), dtype=np.int64)
        for position, (start, end) in enumerate(spans):
            batch[INPUT_IDS][position, : end - start] = self.tokens[start:end]
            batch[ATTENTION_MASK][position, : end - start] = 1
            if self.types is not None:
                batch[TOKEN_TYPE_IDS][position, : end - start] = self.types[start:end]
        return batch


class _Features(Sequence[Mapping[str, NDArray[Any]]]):
    """A view of the rows; nothing is copied."""

    def __init__(self, encoded: EncodedText) -> None:
        self._encoded = encoded

    def __len__(self) -> int:
        return len(self._encoded)

    @overload
    def __getitem__(self, row: int) -> Mapping[str, NDArray[Any]]: ...
    @overload
    def __getitem__(self, row: slice) -> Sequence[Mapping[str, NDArray[Any]]]: ...
    def __getitem__(
        self, row: int | slice
    ) -> Mapping[str, NDArray[Any]] | Sequence[Mapping[str, NDArray[Any]]]:
        if isinstance(row, slice):
            return [self[index] for index in range(*row.indices(len(self)))]
        start, end = self._encoded.offsets[row], self._encoded.offsets[row + 1]
        found = {
            INPUT_IDS: self._encoded.tokens[start:end],
            ATTENTION_MASK: np.ones(end - start, dtype=np.int8),
        }
        if self._encoded.types is not None:
            found[TOKEN_TYPE_IDS] = self._encoded.types[start:end]
        return found


Parts = Iterable[tuple[Mapping[str, Any], NDArray[Any]]]
"""Of each chunk of rows what ``TextPreprocessor.encode`` returned, and the targets."""


def mapped_text(
    parts: Callable[[], Parts], padding: int, *, pairs: bool, made_of: Sequence[object]
) -> EncodedText:
    """Puts encoded chunks of rows together in files; see ``feature_files``.

    Args:
        parts: Yields the chunks; not called where the same was encoded before.
        padding: The padding token.
        pairs: Keep which text of the pair a token belongs to.
        made_of: All that decides the rows, their tokens and their targets.
    """
    found = mapped_features(
        [*made_of, pairs], lambda: (text_arrays(*part, pairs=pairs) for part in parts())
    )
    return text_of(found, padding)


def text_arrays(
    encoded: Mapping[str, Any], targets: NDArray[Any], *, pairs: bool
) -> dict[str, NDArray[Any]]:
    """Returns a chunk of rows as arrays, each row's tokens after the last one's.

    Args:
        encoded: Token lists, as ``TextPreprocessor.encode`` returns them.
        targets: One for each row.
        pairs: Keep which text of the pair a token belongs to.
    """
    rows = encoded[INPUT_IDS]
    found = {
        "tokens": _flat(rows, np.int32),
        "lengths": np.fromiter(map(len, rows), dtype=np.int64, count=len(rows)),
        "targets": targets,
    }
    if pairs:
        found["types"] = _flat(encoded[TOKEN_TYPE_IDS], np.int8)
    return found


def text_of(found: Mapping[str, NDArray[Any]], padding: int) -> EncodedText:
    """Returns the split that ``text_arrays`` gave arrays of."""
    return EncodedText(
        found["tokens"],
        found.get("types"),
        offsets_of(found["lengths"]),
        found["targets"],
        padding,
    )


def offsets_of(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns where parts of these lengths begin that lie one after another, and the end."""
    return np.concatenate([[0], np.cumsum(lengths)])


def _flat(rows: Sequence[Sequence[int]], kind: Any) -> NDArray[Any]:
    return np.concatenate([np.asarray(row, dtype=kind) for row in rows])
