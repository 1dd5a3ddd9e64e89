"""What a use case must say about its data and its model; texts and pictures by one protocol.

Adding a use case is one module that implements ``UseCase``, and one line in the registry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from sparse_transfer_api.records import AnswerRule, Plan, SplitInfo, WordMarks

from .scores import Scored

if TYPE_CHECKING:
    from torch import nn

    from sparse_transfer_api.spec import SparseTransferSpec
    from sparse_transfer_runner.catalog.checked import CheckedModel
    from sparse_transfer_runner.recipes import Recipe

IGNORED = -100
"""Target of a position that has no label."""

PADDING_LOGIT = -1e4
"""In training, the logits of padding where an answer is a span: next to nothing in a softmax."""

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
        answers: Of question answering, what an answer may be.
        marks: Of tagged words, what they begin and end with.
    """

    problem_type: str
    columns: Mapping[str, Sequence[str]]
    labels: Sequence[str]
    splits: Sequence[SplitInfo]
    digest: str
    warnings: Sequence[str] = ()
    answers: AnswerRule | None = None
    marks: WordMarks | None = None


class Preprocessor(Protocol):
    """Turns raw inputs into a model's, with which it travels: a tokenizer, image transforms."""

    def save(self, folder: Path) -> None:
        """Writes its files into a model folder."""


class EncodedSplit(Protocol):
    """A split ready for training: random access to inputs, and their targets."""

    @property
    def targets(self) -> NDArray[Any]:
        """What ``training.distillation`` has a loss for.

        int64 ``[rows]`` for single-label, float32 ``[rows, labels]`` for multi-label, float32
        ``[rows]`` for regression; integers ``[rows, positions]`` where each position has a label,
        ``IGNORED`` for those that have none; int64 ``[rows, 2]``, first and last position, where an
        answer is a span.
        """

    @property
    def lengths(self) -> Sequence[int] | NDArray[Any]:
        """Of each row, in tokens; equal where inputs have no length. Never reads the inputs."""

    def __len__(self) -> int: ...

    def collate(self, rows: Sequence[int], *, pad_to: int | None = None) -> Batch:
        """Returns the rows as one padded batch (to the longest row, or to ``pad_to``)."""


@runtime_checkable
class AugmentedSplit(Protocol):
    """A split whose rows look different in every epoch of training, such as pictures."""

    def augmented(self, rows: Sequence[int], *, seed: int, epoch: int) -> Batch:
        """Returns the rows as training sees them: a pure function of the arguments.

        So a resumed run sees what an unstopped one would have seen.
        """


@runtime_checkable
class ReducedSplit(Protocol):
    """A split whose outputs are too large to be kept as they are, such as a detector's."""

    def reduced(self, outputs: NDArray[Any]) -> NDArray[np.float32]:
        """Returns what is kept of a batch's outputs, batch first, of the same size at each call."""

    def rows_at_once(self) -> int:
        """Returns how many rows a model may be asked about at once, 1 or more."""


@runtime_checkable
class DigestsSplits(Protocol):
    """A use case whose splits are more than one file, or one folder of pictures."""

    def split_digest(self, data: Path, name: str) -> str | None:
        """Returns a split's digest as ``inspect`` has it; None where the split is gone."""


@runtime_checkable
class TrainsItself(Protocol):
    """A use case whose models are trained in another loop than ``training.loop``."""

    loop_licences: Mapping[str, str]
    """Of what trains them, by its name."""

    def require_recipe(self, recipe: Recipe) -> None:
        """Makes sure that its loop honours a recipe.

        Raises:
            InputError: It does not; names what.
        """

    def training_run(self, **run: Any) -> Any:
        """Returns a run in the place of ``training.loop.TrainingRun``.

        Args:
            **run: Its arguments but ``backoff``: no other loop takes batches apart.
        """


class UseCase(Protocol):
    """One kind of task."""

    name: str
    """Canonical name, such as ``nlp-sentiment_analysis``."""
    family: str
    """``text`` or ``image``: which catalogue entries and default recipes fit."""
    program: str
    """Which program is deployed with its models: ``classify_texts``, ``classify_images``."""
    default_batch_size: int
    """Rows of an optimizer step where the experiment states none."""
    solves_start: bool
    """Whether the least-squares start can solve its models: stacks of encoder blocks."""

    def inspect(self, data: Path, spec: SparseTransferSpec) -> DataSummary:
        """Checks all of the data in constant memory.

        Raises:
            InputError: With every problem found (bounded), each with file and line.
        """

    def check(self, model: Path, *, trusted: bool) -> CheckedModel:
        """Checks that a model folder is whole, healthy and safe to load; measures its sparsity.

        Raises:
            InputError: It is not; or it would execute code.
        """

    def preprocessor(self, model: Path, plan: Plan | None = None) -> Preprocessor:
        """Loads the preprocessor from a model folder, with what the plan decided of it."""

    def same_inputs(self, first: Preprocessor, second: Preprocessor) -> bool:
        """Whether both make the same of every input: a teacher must see what its student sees."""

    def input_names(self, summary: DataSummary, preprocessor: Preprocessor) -> list[str]:
        """Returns the names of the model's inputs, as batches will have them."""

    def natural_length(
        self,
        data: Path,
        summary: DataSummary,
        preprocessor: Preprocessor,
        asked: int | None = None,
    ) -> tuple[int, float] | None:
        """Returns the sequence length, as asked or by the design's rule, and the truncated share.

        None where inputs have no length.

        Raises:
            InputError: More is asked for than the model can take.
        """

    def preprocessing(self, model: Path, spec: SparseTransferSpec) -> dict[str, Any] | None:
        """Returns what the plan records of the transforms of inputs, settings applied.

        None where the model folder says it all, as a tokenizer does.

        Raises:
            InputError: The model cannot take such inputs.
        """

    def load(self, data: Path, plan: Plan, split: str, preprocessor: Preprocessor) -> EncodedSplit:
        """Reads and encodes one split.

        Args:
            data: The data's folder.
            plan: What prepare decided; its limits of samples are applied.
            split: ``train``, ``val``, ``test``; or ``choice``, the rows on which choices are made:
                val where there is a test split, else rows held out of train.
            preprocessor: The student's.
        """

    def build(self, model: Path, plan: Plan) -> nn.Module:
        """Loads the model safely and gives it a head for the plan's labels.

        The head keeps the folder's weights when its labels are the plan's, else it is new. The
        module's forward takes the names of a ``Batch`` as keywords and returns an object with
        ``logits``: ``[batch, labels]``, ``[batch, positions, labels]`` where each position has a
        label, or ``[batch, positions, 2]``, for the first and the last one, where an answer is a
        span.
        """

    def has_head(self, model: Path, labels: Sequence[str], problem_type: str) -> bool:
        """Whether a model folder already answers with these labels, so that ``build`` keeps it."""

    def activation_bytes(self, model: Path, plan: Plan) -> int:
        """Returns the memory that a training step in fp32 keeps for its backward pass, in bytes."""

    def gains_from_bf16(self, model: Path) -> bool:
        """Whether a CPU that multiplies bf16 trains a model faster in it than in fp32."""

    def save(self, model: nn.Module, folder: Path) -> None:
        """Writes a model so that ``build`` reads it back, into a new folder."""

    def is_head(self, parameter: str) -> bool:
        """Whether the named parameter belongs to the head rather than to the foundation."""

    def metric_names(self, problem_type: str, labels: Sequence[str]) -> Sequence[str]:
        """Returns the metrics that can be the primary one, the default first; higher is better."""

    def primary_metric(self, plan: Plan) -> str:
        """Returns the name of the default primary metric."""

    def score(self, outputs: NDArray[Any], rows: EncodedSplit, plan: Plan) -> Scored:
        """Scores a model's float32 outputs for all rows of a split, as ``Outputs`` gathers them."""

    def constant_metric(self, metric: str, rows: EncodedSplit, plan: Plan) -> float:
        """Returns a metric of the best answer that ignores its input."""

    def same_answers(
        self,
        outputs: NDArray[Any],
        reference: NDArray[Any],
        rows: EncodedSplit,
        plan: Plan,
    ) -> float:
        """Returns the share of answers, 0 to 1, that two models' outputs have in common."""

    def example_inputs(self, plan: Plan, batch: int, sequence: int | None) -> Batch:
        """Returns inputs of the given shape for tracing and for latency measurements."""
