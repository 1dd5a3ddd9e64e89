"""The JSON documents that stages write: plan, manifest, stage result, progress."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from .base import Part, Ratio, Record
from .contract import Stage
from .results import Artifact, Resolved, Results
from .termination import document_of, message_of, refuse_unstorable


def _encodable(text: str) -> str:
    """Returns a text that UTF-8 can hold: file names may bring bytes that it cannot."""
    return text.encode("utf-8", "replace").decode()


class ModelSource(Part):
    """A model that prepare resolved and checked."""

    uri: str
    digest: str = Field(description="SHA-256 over the model's files.")
    format: str = Field(description="Such as huggingface-safetensors.")
    architecture: str
    sparsity: Ratio = Field(description="Zeros / prunable weights at the start.")
    parameters: int
    licence: str | None = None


class SplitInfo(Part):
    """One split of the data, as checked by prepare."""

    name: Literal["train", "val", "test"]
    file: str = Field(description="Path below the data's root.")
    samples: int
    digest: str = Field(description="SHA-256 of the file.")


class AnswerRule(Part):
    """What an answer to a question may be, as the data says it."""

    may_be_none: bool = Field(description="Whether some questions have no answer.")
    max_tokens: int = Field(description="Tokens of the longest answer that is looked for.")


class WordMarks(Part):
    """Punctuation and symbols that the data's words begin or end with, one of them each."""

    before: str = Field(description="Such as $, where the data has $5 as a word.")
    after: str = Field(description="Such as %, where the data has 5% as a word.")


class TrainingSettings(Part):
    """Everything that decides one training run, resolved: no setting is left to a default."""

    epochs: float
    learning_rate: float
    batch_size: int
    seed: int
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    max_train_samples: int | None = None
    recipe: str = Field(description="The resolved recipe's YAML text, variables substituted.")
    backend: Literal["sparseml"] | None = Field(
        None, description="Who runs the recipe; None for the native backend."
    )


class Plan(Record):
    """What prepare decided: train and package read this instead of deciding again."""

    use_case: str
    level: float
    band: str
    problem_type: str = Field(description="Such as single_label_classification.")
    columns: dict[str, list[str]] = Field(description="Role to column names, such as text, label.")
    labels: list[str] = Field(description="Label names in the order of the model's outputs.")
    splits: list[SplitInfo]
    evaluation_split: Literal["val", "test"]
    choice_split: Literal["val", "train"] = Field(
        description="Where choices are made: val when test exists, else a tenth held out of train."
    )
    data_digest: str
    data_uri: str | None = Field(
        None, description="Where the data was read, pinned to a commit where it is a hub's."
    )
    inputs: list[str] = Field(
        default_factory=lambda: ["input_ids", "attention_mask"],
        description="Names of the model's inputs, as a use case's batches have them.",
    )
    max_sequence_length: int | None = None
    preprocessing: dict[str, Any] | None = Field(
        None,
        description="What is done to pictures, as Hugging Face's preprocessor_config.json says it; "
        "augmentation is what training does at random.",
    )
    truncated_share: Ratio | None = None
    answers: AnswerRule | None = Field(None, description="Of question answering.")
    marks: WordMarks | None = Field(None, description="Of tagged words.")
    max_eval_samples: int | None = None
    model: ModelSource = Field(description="The foundation (at levels below 0.25 the dense model).")
    dense: ModelSource | None = Field(None, description="The dense counterpart: the baseline.")
    teacher_uri: str | None = Field(None, description="A given teacher; it only distils.")
    shares_parent: bool = Field(
        False, description="Foundation and teacher share architecture and parent."
    )
    quantize: bool
    training: TrainingSettings
    baseline: TrainingSettings | None = None
    recipe_source: str | None = Field(None, description="Where training's recipe came from.")
    teacher_key: str | None = None
    total_steps: int
    expected_memory_bytes: int
    licences: dict[str, str] = Field(default_factory=dict)
    warnings: list[str] = Field(default_factory=list)


class StageResult(Record):
    """How a stage ended; on a cluster the container's termination message."""

    stage: Stage
    key: str
    outcome: Literal["Succeeded", "Failed", "Stopped"]
    reason: str = Field(description="CamelCase, such as Completed or InvalidInput.")
    message: Annotated[str, BeforeValidator(_encodable)] = ""
    exit_code: int = 0
    manifest_uri: str | None = None
    digests: dict[str, str] = Field(default_factory=dict)
    headline: dict[str, float | None] = Field(
        default_factory=dict, description="Numbers worth showing before the manifest is read."
    )
    resolved: Resolved | None = Field(
        None, description="Prepare only: what aliases, defaults and the catalogue came to."
    )
    results: Results | None = Field(None, description="Package only: the experiment's outcome.")
    artifacts: list[Artifact] = Field(
        default_factory=list, description="Package only: what the user takes away."
    )
    recorded: bool = Field(False, description="True when nothing was run: the result was there.")

    omitted: list[str] = Field(
        default_factory=list,
        description="What a termination message had no room for, such as results.engines.",
    )

    def to_termination_message(self) -> bytes:
        """Returns the result in at most ``MAX_STAGE_RESULT_BYTES``, as ``termination`` says.

        Raises:
            ValueError: Reason or manifest URI alone are longer than that.
        """
        return message_of(self.model_dump(mode="json", by_alias=True, exclude_none=True))

    @classmethod
    def from_termination_message(cls, message: bytes | str) -> StageResult:
        """Returns the result that a termination message holds, ``omitted`` saying what it lacks.

        Raises:
            ValueError: It holds none, or one with a number that no status can hold.
        """
        found = cls.model_validate(document_of(message))
        refuse_unstorable(found.model_dump())
        return found


class FileEntry(Part):
    """A file of a stage's folder, by its path relative to that folder."""

    path: str
    sha256: str
    size_bytes: int


class Manifest(Record):
    """Written last: a folder that has one is complete, and every file in it is listed here."""

    stage: str = Field(description="prepare, train, package, or teacher.")
    key: str
    created: datetime
    files: list[FileEntry]
    result: StageResult | None = None
    results: Results | None = Field(None, description="Package only: the experiment's outcome.")
    artifacts: list[Artifact] = Field(default_factory=list)
    provenance: dict[str, Any] = Field(default_factory=dict)
    licences: dict[str, str] = Field(default_factory=dict)


class Progress(Record):
    """One report of a running stage."""

    stage: Stage
    activity: str = Field(description="What is being done, such as 'baseline' or 'benchmark'.")
    step: int | None = None
    total_steps: int | None = None
    epoch: float | None = None
    percentage: float | None = Field(None, description="Of the whole stage, 0 to 100.")
    estimated_remaining_seconds: float | None = None
    last_updated_time: datetime | None = None
    metrics: dict[str, float] = Field(default_factory=dict)
