"""Everything that package measured, before a headline is drawn from it: ``evaluation.json``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sparse_transfer_api.base import Part, Ratio, Record

Role = Literal["dense-fp32", "dense-int8", "sparse-fp32", "sparse-int8"]


class LayerKernel(Part):
    """How one INT8 layer is computed by an engine that can leave zeros out, and why."""

    name: str
    sparse: bool = Field(description="Whether its zeros are left out.")
    reason: str
    blocks: Ratio | None = Field(
        None, description="Share of the weight's blocks of four that hold anything."
    )
    sparse_ms: float | None = Field(None, description="Median of the layer with zeros left out.")
    dense_ms: float | None = Field(None, description="Median by the engine's own INT8.")


class FileEvaluation(Part):
    """One exported file, scored on its engine and compared with the trained model."""

    path: str = Field(description="Below the package stage's folder.")
    engine: str
    role: Role
    form: str = Field(description="How it was quantized, such as matmul-integer, qdq or nncf-ptq.")
    metric: Ratio = Field(description="Primary metric on the evaluation split.")
    choice_metric: Ratio | None = Field(None, description="Primary metric on the choice split.")
    keeps_accuracy: bool = Field(
        True, description="Whether the trained model's metric is kept there, as far as rows tell."
    )
    largest_difference: float | None = Field(
        None, description="Largest absolute logit difference; none of outputs without an order."
    )
    label_agreement: Ratio = Field(description="Share of rows with the trained model's label.")
    sparsity: Ratio = Field(description="Masked positions that decode to exactly 0 / prunable.")
    zero_share: Ratio
    size_bytes: int
    compressed_size_bytes: int
    shipped: bool = False
    kernels: list[LayerKernel] = Field(
        default_factory=list,
        description="Layer by layer, where the engine can leave zeros out of the file's model.",
    )
    notes: list[str] = Field(default_factory=list)


class LatencyPoint(Part):
    """One measured latency; all points of an engine come from one interleaved run."""

    path: str
    engine: str
    arithmetic: Literal["default", "fp32"] = "default"
    threads: int
    batch: int
    sequence: int | None = None
    median_ms: float
    p95_ms: float
    runs: int


class LayerSparsity(Part):
    """One prunable layer of the shipped model."""

    name: str
    weights: int
    sparsity: Ratio


class HistoryPoint(Part):
    """One point of a learning curve (``history.json`` holds a list of them)."""

    phase: Literal["baseline", "transfer"]
    step: int
    epoch: float
    loss: float | None = None
    learning_rate: float | None = None
    quantizing: bool = False
    micro_batch: int | None = Field(
        None, description="Rows worked on at once, where a batch did not fit in memory."
    )
    metrics: dict[str, float] = Field(default_factory=dict)


class Evaluation(Record):
    """What was measured of every file, layer and engine."""

    files: list[FileEvaluation]
    latencies: list[LatencyPoint]
    layers: list[LayerSparsity]
    notes: list[str] = Field(default_factory=list)
