"""What a use case must say about its data and its model; text today, images by the same protocol.

Adding a use case is one module that implements ``UseCase``, and one line in the registry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from sparse_transfer_api.records import Plan, SplitInfo

if TYPE_CHECKING:
    from sparse_transfer_api.spec import SparseTransferSpec
    from torch import nn

Batch = dict[str, NDArray[Any]]
"""Model inputs by name, batch first; the same names go to torch and to every engine."""


@dataclass(frozen=True)
class DataSummary:
    """What ``inspect`` found in data without errors.

    Args:
        problem_type: Such as ``single_label_classification``.
        columns: Role (``text``, ``label``) to the columns that play it.
        labels: Label names in the order of the model's outputs; one name for regression.
        splits: The splits, each with its file, rows and digest.
        digest: SHA-256 over all splits.
        warnings: What a user should know, though nothing is wrong.
    """

    problem_type: str
    columns: Mapping[str, Sequence[str]]
    labels: Sequence[str]
    splits: Sequence[SplitInfo]
    digest: str
    warnings: Sequence[str] = ()


class Preprocessor(Protocol):
    """Turns raw inputs into model inputs; travels with the model (a tokenizer, image transforms)."""

    def save(self, folder: Path) -> None:
        """Writes its files into a model folder."""


class EncodedSplit(Protocol):
    """A split ready for training: random access to features, and their targets.

    ``features[i]`` maps input names to 1-D integer lists (text) or arrays; ``targets`` is int64
    ``[rows]`` for single-label, float32 ``[rows, labels]`` for multi-label, float32 ``[rows]`` for
    regression.
    """

    features: Sequence[Mapping[str, Any]]
    targets: NDArray[Any]

    def __len__(self) -> int: ...

    def collate(self, rows: Sequence[int], *, pad_to: int | None = None) -> Batch:
        """Returns the rows as one padded batch (to the longest row, or to ``pad_to``)."""


class UseCase(Protocol):
    """One kind of task."""

    name: str
    """Canonical name, such as ``nlp-sentiment_analysis``."""
    family: str
    """``text`` or ``image``: which catalogue entries and default recipes fit."""

    def inspect(self, data: Path, spec: SparseTransferSpec) -> DataSummary:
        """Checks all of the data in constant memory.

        Raises:
            InputError: With every problem found (bounded), each with file and line.
        """

    def preprocessor(self, model: Path) -> Preprocessor:
        """Loads the preprocessor from a model folder."""

    def natural_length(
        self, data: Path, summary: DataSummary, preprocessor: Preprocessor
    ) -> tuple[int, float] | None:
        """Returns the sequence length by the design's rule, and the share of rows it truncates.

        None where inputs have no length.
        """

    def load(self, data: Path, plan: Plan, split: str, preprocessor: Preprocessor) -> EncodedSplit:
        """Reads and encodes one split; ``maxTrainSamples`` and ``maxEvalSamples`` are applied."""

    def build(self, model: Path, plan: Plan) -> nn.Module:
        """Loads the model safely and gives it a head for the plan's labels.

        The head keeps the folder's weights when its labels are the plan's, else it is new. The
        module's forward takes the names of a ``Batch`` as keywords and returns an object with
        ``logits`` ``[batch, labels]``.
        """

    def is_head(self, parameter: str) -> bool:
        """Whether the named parameter belongs to the head rather than to the foundation."""

    def primary_metric(self, plan: Plan) -> str:
        """Returns the name of the primary metric; higher is better."""

    def metrics(
        self, logits: NDArray[Any], targets: NDArray[Any], plan: Plan
    ) -> dict[str, float]:
        """Returns every metric by name for float32 logits ``[rows, labels]``."""

    def example_inputs(self, plan: Plan, batch: int, sequence: int | None) -> Batch:
        """Returns inputs of the given shape for tracing and for latency measurements."""


def softmax(logits: NDArray[Any]) -> NDArray[Any]:
    """Returns probabilities along the last axis."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)
