"""Draws the outcome from what was measured; pure.

Every ratio here divides latencies of one interleaved run, by the design's definitions: against
the dense file at the engine's defaults, against it in forced fp32, and against the fastest dense
INT8 file that keeps accuracy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sparse_transfer_api.results import (
    EngineResult,
    Headline,
    MetricResult,
    Recommended,
    Results,
)

from .choice import ALIKE, keeps_accuracy
from .evaluation import Evaluation, FileEvaluation, LatencyPoint
from .points import HeadlinePoint, Point

_BUSY = 0.25
"""Relative distance of the 95th percentile from the median that a quiet machine stays below."""


@dataclass(frozen=True)
class EngineFacts:
    """What is true of an engine in all its measurements."""

    name: str
    version: str
    isa: str


@dataclass(frozen=True)
class EngineFiles:
    """The files of one engine by what they are for.

    Args:
        dense: The fp32 file that speed-ups are measured against.
        dense_int8: The dense INT8 file, where there is one that keeps accuracy.
        shipped: The file to deploy; the dense one at level 0.
    """

    dense: FileEvaluation
    dense_int8: FileEvaluation | None
    shipped: FileEvaluation

    @classmethod
    def of(cls, evaluation: Evaluation, engine: str) -> EngineFiles:
        """Finds an engine's files."""
        mine = [file for file in evaluation.files if file.engine == engine]
        shipped = next(file for file in mine if file.shipped)
        floats = [file for file in mine if file.role.endswith("fp32")]
        # Without a dense counterpart the product's own fp32 file stands in: engines that skip no
        # zeros take the same time for it.
        dense = next((file for file in floats if file.role == "dense-fp32"), floats[0])
        int8 = next((f for f in mine if f.role == "dense-int8" and not f.shipped), None)
        return cls(dense, int8 if int8 and int8.keeps_accuracy else None, shipped)


@dataclass(frozen=True)
class Score:
    """The headline file's metric and what it is compared with.

    Args:
        result: As reported.
        recovery: Null without a useful baseline.
        trained: The trained model's own metric, as training computes it.
        choice_recovery: Recovery on the rows that choices are made on; null likewise.
    """

    result: MetricResult
    recovery: float | None
    trained: float
    choice_recovery: float | None = None


def engine_results(
    evaluation: Evaluation,
    engines: Sequence[EngineFacts],
    trained: float | None = None,
) -> list[EngineResult]:
    """Returns one result for each engine and measured point.

    Args:
        evaluation: Files and latencies.
        engines: In the order to report them.
        trained: The trained model's metric; None to leave accuracy uncommented.
    """
    results = []
    for facts in engines:
        mine = [point for point in evaluation.latencies if point.engine == facts.name]
        places = dict.fromkeys((p.threads, Point(p.batch, p.sequence)) for p in mine)
        files = EngineFiles.of(evaluation, facts.name)
        for threads, point in places:
            table = _Latencies.at(mine, point)
            results.append(_engine_result(facts, files, table, threads, point, trained))
    return results


def headline(engines: Sequence[EngineResult], wanted: HeadlinePoint) -> Headline:
    """Returns the headline's figures."""
    found = _at(engines, wanted)
    return Headline(
        engine=wanted.engine,
        batch=wanted.point.batch,
        sequence=wanted.point.sequence,
        speedup=found.speedup,
        speedup_vs_fp32=found.speedup_vs_fp32,
        speedup_vs_dense_int8=found.speedup_vs_dense_int8,
    )


def recommended(
    evaluation: Evaluation, engines: Sequence[EngineResult], wanted: HeadlinePoint
) -> Recommended:
    """Returns the file to deploy: the dense INT8 one where the sparse one is not faster."""
    files = EngineFiles.of(evaluation, wanted.engine)
    measured = _at(engines, wanted)
    gain = measured.speedup_vs_dense_int8
    dense = files.dense_int8
    faster = gain is not None and gain > 1 + _Latencies.of(evaluation, wanted).noise(files)
    if dense is None or gain is None or files.shipped.role != "sparse-int8" or faster:
        return Recommended(
            file=files.shipped.path, engine=wanted.engine, reason=_why_shipped(files, measured)
        )
    smaller = dense.compressed_size_bytes / max(files.shipped.compressed_size_bytes, 1)
    return Recommended(
        file=dense.path,
        engine=wanted.engine,
        reason=(
            f"{wanted.engine} gains no time from sparsity here: dense INT8 takes "
            f"{measured.dense_int8_latency_ms:.2f} ms, sparse INT8 {measured.latency_ms:.2f} ms "
            f"({wanted.point}). The sparse file is {smaller:.1f} times smaller compressed; take "
            "it where that matters more"
        ),
    )


def assemble(
    evaluation: Evaluation,
    engines: Sequence[EngineResult],
    wanted: HeadlinePoint,
    score: Score,
) -> Results:
    """Returns the experiment's outcome."""
    files = EngineFiles.of(evaluation, wanted.engine)
    shipped, dense = files.shipped, files.dense
    return Results(
        metric=score.result,
        recovery=score.recovery,
        choice_recovery=score.choice_recovery,
        sparsity=shipped.sparsity,
        zero_share=shipped.zero_share,
        size_bytes=shipped.size_bytes,
        compressed_size_bytes=shipped.compressed_size_bytes,
        dense_size_bytes=dense.size_bytes,
        dense_compressed_size_bytes=dense.compressed_size_bytes,
        headline=headline(engines, wanted),
        recommended=recommended(evaluation, engines, wanted),
        engines=list(engines),
    )


@dataclass(frozen=True)
class _Latencies:
    """One engine's latencies at one point, by path and arithmetic."""

    points: Mapping[tuple[str, str], LatencyPoint] = field(default_factory=dict)

    @classmethod
    def at(cls, measured: Sequence[LatencyPoint], point: Point) -> _Latencies:
        return cls(
            {(p.path, p.arithmetic): p for p in measured if Point(p.batch, p.sequence) == point}
        )

    @classmethod
    def of(cls, evaluation: Evaluation, wanted: HeadlinePoint) -> _Latencies:
        mine = [point for point in evaluation.latencies if point.engine == wanted.engine]
        return cls.at(mine, wanted.point)

    def noise(self, files: EngineFiles) -> float:
        """Returns the relative difference up to which two medians are alike on this machine.

        On a busy one the slowest runs stand far above the median, and medians wander too.
        """
        rivals = [self.default(f) for f in (files.shipped, files.dense_int8, files.dense) if f]
        return max(ALIKE, *((p.p95_ms - p.median_ms) / p.median_ms for p in rivals))

    def default(self, file: FileEvaluation) -> LatencyPoint:
        return self.points[file.path, "default"]

    def fp32(self, file: FileEvaluation) -> LatencyPoint:
        """Returns forced fp32; where it was not measured, the defaults are fp32."""
        return self.points.get((file.path, "fp32"), self.points[file.path, "default"])


def _engine_result(
    facts: EngineFacts,
    files: EngineFiles,
    table: _Latencies,
    threads: int,
    point: Point,
    trained: float | None,
) -> EngineResult:
    shipped = table.default(files.shipped)
    dense, fp32 = table.default(files.dense).median_ms, table.fp32(files.dense).median_ms
    int8 = table.default(files.dense_int8).median_ms if files.dense_int8 else None
    result = EngineResult(
        name=facts.name,
        version=facts.version,
        isa=facts.isa,
        threads=threads,
        batch=point.batch,
        sequence=point.sequence,
        dense_latency_ms=dense,
        dense_fp32_latency_ms=fp32,
        dense_int8_latency_ms=int8,
        latency_ms=shipped.median_ms,
        latency_p95_ms=shipped.p95_ms,
        speedup=dense / shipped.median_ms,
        speedup_vs_fp32=fp32 / shipped.median_ms,
        speedup_vs_dense_int8=int8 / shipped.median_ms if int8 else None,
        metric=files.shipped.metric,
        dense_int8_metric=files.dense_int8.metric if files.dense_int8 else None,
        sparse_layers=_sparse_layers(files.shipped),
    )
    notes = [
        *_speed_notes(result, point, table.noise(files)),
        *_accuracy_notes(files.shipped, trained),
    ]
    return result.model_copy(update={"notes": notes})


def _sparse_layers(shipped: FileEvaluation) -> int | None:
    kernels = shipped.kernels
    return sum(kernel.sparse for kernel in kernels) if kernels else None


def _speed_notes(result: EngineResult, point: Point, noise: float) -> list[str]:
    notes = []
    if noise > _BUSY:
        notes.append(
            f"latencies vary by {noise:.0%} at {point}: the machine was busy, measure again on a "
            "quiet one"
        )
    if result.speedup < 1 - noise:
        notes.append(
            f"slower than the dense model at {point}: {result.latency_ms:.2f} ms against "
            f"{result.dense_latency_ms:.2f} ms"
        )
    gain = result.speedup_vs_dense_int8
    if gain is not None and gain < 1 - noise:
        notes.append(
            f"slower than dense INT8 at {point}: {result.latency_ms:.2f} ms against "
            f"{result.dense_int8_latency_ms:.2f} ms"
        )
    return notes


def _accuracy_notes(shipped: FileEvaluation, trained: float | None) -> list[str]:
    if trained is None or keeps_accuracy(shipped.metric, trained):
        return []
    return [
        f"loses accuracy: {shipped.metric:.4f} against {trained:.4f} of the trained model "
        f"(form {shipped.form})"
    ]


def _why_shipped(files: EngineFiles, measured: EngineResult) -> str:
    if files.shipped.role == "sparse-int8" and measured.speedup_vs_dense_int8 is not None:
        return (
            f"faster than dense INT8 on {measured.name}: {measured.latency_ms:.2f} ms against "
            f"{measured.dense_int8_latency_ms:.2f} ms"
        )
    if files.shipped.role == "dense-fp32":
        return "the dense baseline itself: nothing was optimized at this level"
    return "no dense INT8 file that keeps accuracy was measured beside it"


def _at(engines: Sequence[EngineResult], wanted: HeadlinePoint) -> EngineResult:
    return next(
        result
        for result in engines
        if result.name == wanted.engine and Point(result.batch, result.sequence) == wanted.point
    )
