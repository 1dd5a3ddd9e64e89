"""What the use cases on texts share: an encoder's tokenizer, inputs, memory and files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from sparse_transfer_api.records import Plan, SplitInfo
from sparse_transfer_runner.catalog.checked import CheckedModel
from sparse_transfer_runner.catalog.hugging_face import check_text_model
from sparse_transfer_runner.data.text_rows import TextRows, read_text_rows

from . import text_model
from .protocol import Batch, DataSummary, Preprocessor
from .text_inputs import TextPreprocessor, placeholder_inputs

if TYPE_CHECKING:
    from torch import nn

    from sparse_transfer_api.spec import SparseTransferSpec


_LENGTH_ROWS = 50_000
"""More would hardly change the length."""


class CheckedSplit(Protocol):
    """A split's file, as a check of the data found it."""

    @property
    def path(self) -> Path:
        """Where it lies."""

    @property
    def rows(self) -> int:
        """How many it has."""

    @property
    def digest(self) -> str:
        """SHA-256 of its content."""


class TextUseCase:
    """Part of ``UseCase``; the rest is each one's own.

    Args:
        name: Canonical name.
    """

    family = "text"
    solves_start = True
    default_length = 128
    """Tokens, where nothing says how long rows are."""

    def __init__(self, name: str) -> None:
        self.name = str(name)

    def check(self, model: Path, *, trusted: bool) -> CheckedModel:
        """Checks a model folder; see ``catalog.hugging_face``."""
        return check_text_model(model, trusted=trusted)

    def preprocessor(self, model: Path, plan: Plan | None = None) -> TextPreprocessor:
        """Loads the tokenizer of a model folder."""
        return TextPreprocessor.load(model)

    def same_inputs(self, first: Preprocessor, second: Preprocessor) -> bool:
        """Whether both tokenizers turn every text into the same tokens."""
        return tokenizer_of(first).same_as(tokenizer_of(second))

    def preprocessing(self, model: Path, spec: SparseTransferSpec) -> None:
        """Returns None: tokenizers travel with their models."""

    def gains_from_bf16(self, model: Path) -> bool:
        """Returns True: an encoder is products of matrices."""
        return True

    def activation_bytes(self, model: Path, plan: Plan) -> int:
        """Returns the memory that a training step in fp32 keeps for its backward pass, in bytes."""
        length = plan.max_sequence_length or self.default_length
        return text_model.activation_bytes(model, plan.training.batch_size, length)

    def save(self, model: nn.Module, folder: Path) -> None:
        """Writes a model so that ``build`` reads it back."""
        text_model.save_classifier(model, folder)

    def is_head(self, parameter: str) -> bool:
        """Whether a parameter belongs to the head."""
        return text_model.is_head(parameter)

    def example_inputs(self, plan: Plan, batch: int, sequence: int | None) -> Batch:
        """Returns full rows of arbitrary tokens, the same at every call."""
        width = sequence or plan.max_sequence_length or self.default_length
        return placeholder_inputs(plan.inputs, batch, width)


def tokenizer_of(preprocessor: Preprocessor) -> TextPreprocessor:
    """Returns the preprocessor as what the ones of text use cases are.

    Raises:
        TypeError: It is another's.
    """
    if not isinstance(preprocessor, TextPreprocessor):
        raise TypeError(f"a text use case needs a TextPreprocessor, not {type(preprocessor)}")
    return preprocessor


def chosen_rows(info: SplitInfo, rows: NDArray[np.int64]) -> tuple[str, str]:
    """Returns what decides which texts are encoded: a file's content, and which of its rows."""
    return info.digest, hashlib.sha256(rows.tobytes()).hexdigest()


def rows_for_length(data: Path, summary: DataSummary) -> Iterator[TextRows]:
    """Returns training rows from which the sequence length is taken, evenly spaced."""
    train = next(split for split in summary.splits if split.name == "train")
    step = max(1, train.samples // _LENGTH_ROWS)
    return read_text_rows(
        data / train.file,
        summary.columns["text"],
        summary.columns["label"][0],
        np.arange(0, train.samples, step),
    )


def splits_in(data: Path, checked: Mapping[str, CheckedSplit]) -> list[SplitInfo]:
    """Returns what a plan records of checked splits.

    Args:
        data: The data's folder.
        checked: By the split's name.
    """
    return [
        SplitInfo(
            name=cast(Any, name),
            file=split.path.relative_to(data).as_posix(),
            samples=split.rows,
            digest=split.digest,
        )
        for name, split in checked.items()
    ]
