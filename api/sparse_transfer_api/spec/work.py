"""What is done to the model, and what is expected of it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, Strict

from .types import (
    BUDGET,
    NOTHING,
    PACKAGE,
    PREPARE,
    PRESERVE,
    Block,
    Distinct,
    Flag,
    Hint,
    Level,
    LongText,
    ModelUri,
    Number,
    RecipeUri,
    Text,
)

Share = Annotated[Number, Field(ge=0.0001, le=2)]
"""A ratio to reach; above 1 where more than the baseline is asked for."""
Batch = Annotated[int, Strict(), Field(ge=1, le=4096)]
Tokens = Annotated[int, Strict(), Field(ge=8, le=32768)]


class TeacherMode(StrEnum):
    """Who teaches by distillation."""

    AUTO = "Auto"
    NONE = "None"
    GIVEN = "Given"


class Teacher(Block):
    """Who teaches the sparse model by distillation."""

    mode: TeacherMode = Field(
        TeacherMode.AUTO,
        description="Auto: the baseline teaches. None: nobody. Given: the model at uri, which "
        "only distils and is no baseline.",
        json_schema_extra=PREPARE,
    )
    uri: ModelUri | None = Field(
        None,
        description="A model trained for this task, with the student's tokenizer; needed by mode "
        "Given, and only there.",
        json_schema_extra=PREPARE,
    )


class BaselineMode(StrEnum):
    """Where the dense value comes from that recovery is measured against."""

    AUTO = "Auto"
    NONE = "None"
    GIVEN = "Given"


class Baseline(Block):
    """The dense counterpart, which recovery is measured against."""

    mode: BaselineMode = Field(
        BaselineMode.AUTO,
        description="Auto: the dense counterpart is trained on the same data with the same "
        "budget. None: recovery stays unknown. Given: value is taken.",
        json_schema_extra=PREPARE,
    )
    value: Annotated[Number, Field(ge=0.0001, le=1)] | None = Field(
        None,
        description="The dense model's primary metric on the reported split, as a number up to "
        "1; needed by mode Given, and only there.",
        json_schema_extra=PREPARE,
    )


RecipeValue = Annotated[
    Flag | Annotated[int, Strict()] | Number | Text,
    Hint("a number, text, or true or false", instead=((PRESERVE, True),)),
]


class RecipeBackend(StrEnum):
    """Who does what a recipe says."""

    AUTO = "Auto"
    NATIVE = "Native"
    SPARSEML = "SparseML"


class Recipe(Block):
    """How sparsity and quantization are applied, as SparseML writes it in YAML."""

    uri: RecipeUri | None = Field(
        None,
        description="A recipe file; excludes inline. Default: the use case's own recipe.",
        json_schema_extra=PREPARE,
    )
    inline: LongText | None = Field(
        None, description="The recipe itself; excludes uri.", json_schema_extra=PREPARE
    )
    args: Annotated[dict[Text, RecipeValue], Field(max_length=64)] = Field(
        default_factory=dict,
        description="Values for the recipe's variables, by name: numbers, text or true/false.",
        json_schema_extra=PREPARE,
    )
    backend: RecipeBackend = Field(
        RecipeBackend.AUTO,
        description="Who runs the recipe. Native: this system, which reads it as data. SparseML: "
        "SparseML itself, in an image of the neuralmagic flavour. Auto: Native where it honours "
        "the whole recipe, else SparseML where the image has it.",
        json_schema_extra=PREPARE,
    )


class Precision(StrEnum):
    """Arithmetic of training before quantization begins."""

    AUTO = "Auto"
    FP32 = "Fp32"
    BF16 = "Bf16"
    FP16 = "Fp16"


class Augmentation(StrEnum):
    """What training does to pictures at random."""

    CROP_AND_FLIP = "CropAndFlip"
    CROP = "Crop"
    NONE = "None"


class Training(Block):
    """Settings of training; they go before the recipe's own.

    The baseline has the same budget; its learning rate is its own recipe's.
    """

    epochs: Annotated[Number, Field(ge=0.01, le=1000)] | None = Field(
        None,
        description="Passes over the training data. Default: the recipe's.",
        json_schema_extra=BUDGET,
    )
    learning_rate: Annotated[Number, Field(ge=1e-9, le=10)] | None = Field(
        None,
        description="At its highest point. Default: the recipe's.",
        json_schema_extra=BUDGET,
    )
    batch_size: Annotated[int, Strict(), Field(ge=1, le=65536)] | None = Field(
        None,
        description="Samples per optimizer step. Default: the use case's.",
        json_schema_extra=BUDGET,
    )
    max_sequence_length: Tokens | None = Field(
        None,
        description="Text only, in tokens. Default: the 99th percentile of the training data "
        "rounded up to 8, at most the model's.",
        json_schema_extra=BUDGET,
    )
    image_size: Annotated[int, Strict(), Field(ge=8, le=8192)] | None = Field(
        None,
        description="Images only, in pixels of a side. Default: the model's.",
        json_schema_extra=BUDGET,
    )
    augmentation: Augmentation = Field(
        Augmentation.CROP_AND_FLIP,
        description="Images only, what training does to them at random: CropAndFlip takes a part "
        "of at least 0.35 of the picture and mirrors every other one; Crop takes at least 0.6 and "
        "mirrors none, as digits and writing need it; None leaves them whole.",
        json_schema_extra=BUDGET,
    )
    seed: Annotated[int, Strict(), Field(ge=0, le=2**31 - 1)] = Field(
        0, description="Of everything random.", json_schema_extra=BUDGET
    )
    precision: Precision = Field(
        Precision.AUTO,
        description="Before quantization begins; from then on Fp32. Auto: Bf16 where the device "
        "trains such a model faster in it, else Fp32; the result records what was chosen.",
        json_schema_extra=BUDGET,
    )
    nodes: Annotated[int, Strict(), Field(ge=1, le=64)] = Field(
        1, description="Machines to train on; only 1 is supported.", json_schema_extra=BUDGET
    )


class EvaluationSettings(Block):
    """How results are scored."""

    metric: Text | None = Field(
        None,
        description="The primary metric, higher is better. Default: the use case's, such as "
        "accuracy, f1 or map50_95.",
        json_schema_extra=PACKAGE,
    )


class EngineName(StrEnum):
    """Engines that models are exported for and measured on."""

    ONNXRUNTIME = "onnxruntime"
    ONNXRUNTIME_SPARSE = "onnxruntime-sparse"
    OPENVINO = "openvino"
    DEEPSPARSE = "deepsparse"


class Export(Block):
    """What is exported."""

    targets: Annotated[
        tuple[EngineName, ...], Field(min_length=1, max_length=8), Distinct(ordered=True)
    ] = Field(
        (EngineName.ONNXRUNTIME, EngineName.OPENVINO),
        description="Engines to export for and to measure, the headline's first. "
        "onnxruntime-sparse is onnxruntime with kernels that leave zeros out, layer by layer where "
        "that is measured to be faster; it needs an image that was built with KERNELS=true, on "
        "Linux, x86-64 or 64-bit ARM. deepsparse needs an image that has it, which you build for "
        "yourself: its licence is for evaluation only and forbids passing it on.",
        json_schema_extra=PACKAGE,
    )


class HeadlinePoint(Block):
    """The one measured point that stands for the experiment."""

    engine: EngineName | None = Field(
        None,
        description="One of export.targets. Default: the first of them.",
        json_schema_extra=PACKAGE,
    )
    batch: Batch = Field(1, description="Samples at once.", json_schema_extra=PACKAGE)
    sequence: Tokens | None = Field(
        None,
        description="Text only, in tokens. Default: 128, or the model's length where that is "
        "shorter.",
        json_schema_extra=PACKAGE,
    )


class Benchmark(Block):
    """What is measured, beside the headline."""

    batch_sizes: Annotated[tuple[Batch, ...], Field(min_length=1, max_length=8), Distinct()] = (
        Field(
            (1, 16),
            description="Samples at once.",
            json_schema_extra=PACKAGE,
        )
    )
    sequence_lengths: Annotated[tuple[Tokens, ...], Field(max_length=8), Distinct()] = Field(
        (),
        description="Text only, in tokens. Default: the headline's.",
        json_schema_extra=PACKAGE,
    )
    threads: Annotated[int, Strict(), Field(ge=1, le=1024)] | None = Field(
        None,
        description="Threads of each engine. Default: the cores that the process may use.",
        json_schema_extra=PACKAGE,
    )
    headline: HeadlinePoint = Field(
        default_factory=HeadlinePoint,
        description="The point that feeds printer column, acceptance and metrics.",
    )


class Acceptance(Block):
    """What a result must reach; one that misses it fails, with its files kept."""

    min_recovery: Share | None = Field(
        None,
        description="Primary metric relative to the baseline's, such as 0.97; needs a baseline. "
        "Default: any.",
        json_schema_extra=NOTHING,
    )
    min_speedup: Annotated[Number, Field(ge=0.0001, le=1000)] | None = Field(
        None,
        description="At the headline, relative to the dense model on the same engine, such as "
        "2.0. Default: any.",
        json_schema_extra=NOTHING,
    )


class Objective(StrEnum):
    """What a search prefers among the levels that keep enough accuracy."""

    FASTEST = "Fastest"
    SMALLEST = "Smallest"


class Search(Block):
    """Tries several levels, each as an experiment of its own, and keeps the best that passes."""

    levels: Annotated[tuple[Level, ...], Field(max_length=8), Distinct()] = Field(
        (),
        description="Levels to try instead of optimLevel, one after the other, such as "
        "[0.3, 0.6, 0.9]. Default: no search.",
        json_schema_extra=NOTHING,
    )
    min_recovery: Share | None = Field(
        None,
        description="Levels below it are not chosen. Default: any.",
        json_schema_extra=NOTHING,
    )
    objective: Objective = Field(
        Objective.FASTEST,
        description="What is preferred among the levels that pass. Fastest: latency at the "
        "headline. Smallest: bytes of the shipped model file.",
        json_schema_extra=NOTHING,
    )
