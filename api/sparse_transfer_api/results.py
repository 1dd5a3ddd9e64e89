"""What came out of an experiment: the same shape in the manifest, the status and the report."""

from __future__ import annotations

from pydantic import Field

from .base import Part, Ratio
from .spec.pod import FreeForm


class Interval(Part):
    """A two-sided 95 % interval from a paired bootstrap over the evaluation rows."""

    low: Ratio = Field(description="Its lower end.")
    high: Ratio = Field(description="Its upper end.")


class MetricResult(Part):
    """The primary metric of the shipped headline file beside the baseline's, on the same rows."""

    name: str = Field(description="Metric name; higher is better.")
    baseline: Ratio | None = Field(None, description="The dense fp32 baseline's value.")
    value: Ratio = Field(description="The shipped headline file's value, scored on its engine.")
    samples: int = Field(description="Evaluation rows.")
    split: str = Field(description="The split reported on: test where there is one, else val.")
    interval: Interval | None = Field(None, description="95 % interval of the recovery.")


class Headline(Part):
    """The one measured point that feeds printer column, acceptance and metric."""

    engine: str = Field(description="The engine.")
    batch: int = Field(description="Samples at once.")
    sequence: int | None = Field(None, description="Tokens; text only.")
    speedup: Ratio | None = Field(
        None, description="Latency of the dense fp32 model, engine at its defaults, / this file's."
    )
    speedup_vs_fp32: Ratio | None = Field(
        None, description="The same with the engine forced to fp32 arithmetic."
    )
    speedup_vs_dense_int8: Ratio | None = Field(
        None, description="Relative to the fastest dense INT8 file within tolerance."
    )


class EngineResult(Part):
    """One engine at one measured point; latencies are medians in milliseconds."""

    name: str = Field(description="Engine and form, such as onnxruntime.")
    version: str = Field(description="Of the engine.")
    isa: str = Field(description="Instruction set that the figures hold for.")
    threads: int = Field(description="Threads of the engine.")
    batch: int = Field(description="Samples at once.")
    sequence: int | None = Field(None, description="Tokens; text only.")
    dense_latency_ms: float = Field(description="Dense fp32 source model, engine at its defaults.")
    dense_fp32_latency_ms: float | None = Field(
        None, description="The same file, engine forced to fp32 arithmetic."
    )
    dense_int8_latency_ms: float | None = Field(
        None, description="Fastest dense INT8 file whose metric is within tolerance."
    )
    latency_ms: float = Field(description="The shipped file.")
    latency_p95_ms: float | None = Field(None, description="Its 95th percentile.")
    speedup: Ratio = Field(description="denseLatencyMs / latencyMs.")
    speedup_vs_fp32: Ratio | None = Field(None, description="denseFp32LatencyMs / latencyMs.")
    speedup_vs_dense_int8: Ratio | None = Field(None, description="denseInt8LatencyMs / latencyMs.")
    metric: Ratio | None = Field(None, description="Primary metric of the shipped file here.")
    dense_int8_metric: Ratio | None = Field(
        None, description="Primary metric of the dense INT8 file here."
    )
    sparse_layers: int | None = Field(
        None,
        description="Layers of the shipped file whose zeros are left out, where that was measured "
        "to be faster; null on engines that compute with zeros.",
    )
    notes: list[str] = Field(
        default_factory=list, description="Said where an engine gets slower or loses accuracy."
    )


class Recommended(Part):
    """The file to deploy; the dense INT8 one where sparsity does not pay on the engine."""

    file: str = Field(description="Path inside the package stage's folder.")
    engine: str = Field(description="The engine to run it on.")
    reason: str = Field(description="Why this one.")


class Results(Part):
    """The outcome of an experiment, under the status's own field names."""

    metric: MetricResult = Field(description="Of the shipped headline file.")
    recovery: Ratio | None = Field(
        None, description="metric.value / metric.baseline; null without a useful baseline."
    )
    choice_recovery: Ratio | None = Field(
        None,
        description="The same on rows that are not reported: a search over levels chooses by it.",
    )
    sparsity: Ratio = Field(description="Masked / prunable weights, counted in the shipped file.")
    zero_share: Ratio = Field(description="Zeros / all weights of the shipped file.")
    size_bytes: int = Field(description="Of the shipped model file.")
    compressed_size_bytes: int = Field(description="gzip -9 of the shipped model file.")
    dense_size_bytes: int = Field(description="Of the dense fp32 model file.")
    dense_compressed_size_bytes: int | None = Field(None, description="gzip -9 of that file.")
    headline: Headline = Field(description="The one point that stands for the experiment.")
    recommended: Recommended = Field(description="The file to deploy.")
    engines: list[EngineResult] = Field(
        default_factory=list, description="Every engine at every measured point."
    )


class Artifact(Part):
    """A file or folder that the user takes away."""

    name: str = Field(description="What it is.")
    uri: str = Field(description="Where it is.")
    sha256: str | None = Field(None, description="Of the file.")
    size_bytes: int | None = Field(None, description="Of the file, or of all in the folder.")


class Resolved(Part):
    """What aliases, defaults and the catalogue came to."""

    use_case: str | None = Field(None, description="Canonical name.")
    level: float | None = Field(None, description="The optimization level.")
    band: str | None = Field(None, description="Such as MediumSparseInt8.")
    model: str | None = Field(None, description="The address of the model that is started from.")
    recipe: str | None = Field(None, description="Where the recipe came from.")
    digests: dict[str, str] = Field(
        default_factory=dict, description="SHA-256 of model, recipe and data."
    )
    settings: FreeForm = Field(
        default_factory=dict, description="Settings of training as they are used."
    )
