"""What the report says in words and large figures, worked out of the records; pure.

Nothing here flatters: a figure that is unknown stays unknown, and what INT8 and what sparsity
brought are told apart on every engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sparse_transfer_api.records import Plan
from sparse_transfer_api.results import EngineResult, Results
from sparse_transfer_runner.packaging.evaluation import Evaluation, FileEvaluation, LayerKernel

from .wording import SPACE, TIMES, megabytes, percent, ratio, times

NOTICEABLE = 0.05
"""Relative difference of two latencies below which a reader is told that they are alike."""


@dataclass(frozen=True)
class Card:
    """One of the large figures at the top."""

    label: str
    value: str
    detail: str


def shipped_name(plan: Plan, results: Results) -> str:
    """Returns what the shipped model is, such as ``sparse INT8``."""
    return f"{'sparse' if results.sparsity > 0 else 'dense'} {'INT8' if plan.quantize else 'fp32'}"


def cards(results: Results) -> list[Card]:
    """Returns the figures that a reader wants first."""
    metric, headline = results.metric, results.headline
    interval = metric.interval
    spread = (
        f"95{SPACE}% interval {percent(interval.low)} to {percent(interval.high)}"
        if interval is not None
        else "unknown"
        if results.recovery is None
        else "no interval"
    )
    where = f"{headline.engine}, batch {headline.batch}"
    if headline.sequence is not None:
        where += f", {headline.sequence}{SPACE}tokens"
    return [
        Card("Accuracy kept", percent(results.recovery), f"recovery of {metric.name}; {spread}"),
        Card("Speed-up", times(headline.speedup), f"against the dense model on {where}"),
        Card(
            "Size",
            megabytes(results.compressed_size_bytes),
            f"compressed; dense {megabytes(results.dense_compressed_size_bytes)}",
        ),
        Card("Sparsity", percent(results.sparsity), "of the shipped file's prunable weights"),
    ]


def counted(plan: Plan) -> str:
    """Returns what the figures are of."""
    return "questions" if plan.problem_type == "question_answering" else "rows"


def summary(plan: Plan, results: Results) -> str:
    """Returns the outcome in a few sentences."""
    metric, headline = results.metric, results.headline
    against = (
        "; there is no dense baseline to compare with"
        if metric.baseline is None
        else f", against {ratio(metric.baseline)} of the dense baseline"
    )
    text = (
        f"The {shipped_name(plan, results)} model reaches {metric.name} {ratio(metric.value)} on "
        f"{metric.samples} {counted(plan)} of {metric.split}{against}."
    )
    if headline.speedup is not None:
        text += f" On {headline.engine} it is {_faster(headline.speedup, 'the dense model')}"
        others = (
            ("the engine forced to fp32", headline.speedup_vs_fp32),
            ("the dense model in INT8", headline.speedup_vs_dense_int8),
        )
        compared = [f"{times(value)} against {what}" for what, value in others if value is not None]
        text += f" ({'; '.join(compared)})." if compared else "."
    return text


def concerns(plan: Plan, results: Results, evaluation: Evaluation) -> list[str]:
    """Returns everything that a reader must not overlook, each sentence once."""
    found = []
    if results.recovery is None:
        found.append(
            "Recovery is unknown: there is no baseline, or it is no better than always giving the "
            "same answer."
        )
    found += [f"{engine.name}: {note}" for engine in results.engines for note in engine.notes]
    found += [
        f"{file.path}: {note}" for file in evaluation.files if file.shipped for note in file.notes
    ]
    found += [*evaluation.notes, *plan.warnings]
    return list(dict.fromkeys(found))


@dataclass(frozen=True)
class KernelTable:
    """The layers of one file, where the engine can leave zeros out.

    Args:
        path: The file's.
        sentence: How many do, and what that was measured on.
        rows: Layer by layer.
    """

    path: str
    sentence: str
    rows: Sequence[LayerKernel]


def kernel_tables(results: Results, evaluation: Evaluation) -> list[KernelTable]:
    """Returns one table for each file whose engine can leave zeros out."""
    measured = {engine.name: engine for engine in reversed(results.engines)}
    return [
        KernelTable(file.path, _kernel_sentence(file, measured[file.engine]), file.kernels)
        for file in evaluation.files
        if file.kernels
    ]


def _kernel_sentence(file: FileEvaluation, engine: EngineResult) -> str:
    sparse = sum(kernel.sparse for kernel in file.kernels)
    threads = f"{engine.threads} thread{'s' if engine.threads != 1 else ''}"
    return (
        f"{sparse} of {len(file.kernels)} quantized layers of {file.path} leave their zeros out on "
        f"{file.engine}, as measured on {engine.isa} with {threads}, layer by layer, at the "
        "headline's batch and length. Elsewhere others may gain: package there again."
    )


def what_brought_it(engine: EngineResult, shipped: str) -> str:
    """Returns in words what INT8 and what sparsity brought on an engine.

    The speed-up over the dense model at its defaults is the product of two measured factors:
    dense over dense INT8, and dense INT8 over the shipped file.

    Args:
        engine: One measured point.
        shipped: What the shipped model is, as ``shipped_name`` says it.
    """
    total = _faster(engine.speedup, "the dense model")
    if shipped == "dense fp32":
        return "the shipped file is the dense model itself; nothing was optimized."
    if shipped == "dense INT8":
        return f"the shipped file is {total}, by INT8 alone: the model is dense."
    int8 = engine.dense_int8_latency_ms
    if int8 is None:
        return f"the shipped file is {total}. No dense INT8 file was measured to tell causes apart."
    by_int8 = engine.dense_latency_ms / int8
    by_sparsity = int8 / engine.latency_ms
    parts = f"{by_int8:.2f}{TIMES} by INT8, {by_sparsity:.2f}{TIMES} by sparsity on top of it"
    if by_sparsity < 1 - NOTICEABLE:
        remark = " Sparsity costs time here: the dense INT8 file is the faster one."
    elif by_sparsity <= 1 + NOTICEABLE:
        remark = " Sparsity brings no time here, only size."
    else:
        remark = ""
    return f"the shipped file is {total}: {parts}.{remark}"


def _faster(speedup: float, than: str) -> str:
    if speedup < 1 - NOTICEABLE:
        return f"slower than {than}, at {times(speedup)} its speed"
    if speedup <= 1 + NOTICEABLE:
        return f"about as fast as {than} ({times(speedup)})"
    return f"{times(speedup)} as fast as {than}"
