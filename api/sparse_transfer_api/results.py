"""What came out of an experiment: the same shape in the manifest, the status and the report."""

from __future__ import annotations

from pydantic import Field

from .base import Part, Ratio


class Interval(Part):
    """A two-sided 95 % interval from a paired bootstrap over the evaluation rows."""

    low: Ratio
    high: Ratio


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

    engine: str
    batch: int
    sequence: int | None = None
    speedup: Ratio | None = None
    speedup_vs_fp32: Ratio | None = None
    speedup_vs_dense_int8: Ratio | None = None


class EngineResult(Part):
    """One engine at one measured point; latencies are medians in milliseconds."""

    name: str = Field(description="Engine and form, such as onnxruntime.")
    version: str
    isa: str = Field(description="Instruction set that the figures hold for.")
    threads: int
    batch: int
    sequence: int | None = None
    dense_latency_ms: float = Field(description="Dense fp32 source model, engine at its defaults.")
    dense_fp32_latency_ms: float | None = Field(
        None, description="The same file, engine forced to fp32 arithmetic."
    )
    dense_int8_latency_ms: float | None = Field(
        None, description="Fastest dense INT8 file whose metric is within tolerance."
    )
    latency_ms: float = Field(description="The shipped file.")
    latency_p95_ms: float | None = None
    speedup: Ratio
    speedup_vs_fp32: Ratio | None = None
    speedup_vs_dense_int8: Ratio | None = None
    metric: Ratio | None = Field(None, description="Primary metric of the shipped file here.")
    dense_int8_metric: Ratio | None = None
    notes: list[str] = Field(
        default_factory=list, description="Said where an engine gets slower or loses accuracy."
    )


class Recommended(Part):
    """The file to deploy; the dense INT8 one where sparsity does not pay on the engine."""

    file: str = Field(description="Path inside the package stage's folder.")
    engine: str
    reason: str


class Results(Part):
    """The outcome of an experiment, under the status's own field names."""

    metric: MetricResult
    recovery: Ratio | None = Field(
        None, description="metric.value / metric.baseline; null without a useful baseline."
    )
    sparsity: Ratio = Field(description="Masked / prunable weights, counted in the shipped file.")
    zero_share: Ratio = Field(description="Zeros / all weights of the shipped file.")
    size_bytes: int
    compressed_size_bytes: int = Field(description="gzip -9 of the shipped model file.")
    dense_size_bytes: int
    dense_compressed_size_bytes: int | None = None
    headline: Headline
    recommended: Recommended
    engines: list[EngineResult] = Field(default_factory=list)


class Artifact(Part):
    """A file or folder that the user takes away."""

    name: str
    uri: str
    sha256: str | None = None
    size_bytes: int | None = None
