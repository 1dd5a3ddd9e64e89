"""What metrics say about one experiment: kept beside its packed body, so that no scrape parses."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sparse_transfer_api.errors import InputError
from sparse_transfer_api.use_cases import resolve_use_case

from .bodies import Body, mapping, number, text, time


@dataclass(frozen=True, slots=True)
class Summary:
    """Figures of one experiment.

    Args:
        use_case: Canonical name; what the user wrote where it is none.
        phase: Of the status; empty before the first write.
        recovery: Relative to the baseline; None before there are results.
        speedup: At the headline.
        sparsity: Of the shipped file.
        stage: That reported progress last; empty without a report.
        percentage: Of that stage, 0 to 100.
        remaining_seconds: Of that stage, estimated.
        reported: When it was reported; None without a report.
    """

    use_case: str
    phase: str
    recovery: float | None
    speedup: float | None
    sparsity: float | None
    stage: str
    percentage: float | None
    remaining_seconds: float | None
    reported: datetime | None = None


def summary(body: Body) -> Summary:
    """Returns what metrics say about an experiment, from its body as the API server sends it."""
    status = mapping(body, "status")
    results, progress = mapping(status, "results"), mapping(status, "progress")
    return Summary(
        use_case=_use_case(text(mapping(body, "spec"), "useCase")),
        phase=text(status, "phase"),
        recovery=number(results, "recovery"),
        speedup=number(mapping(results, "headline"), "speedup"),
        sparsity=number(results, "sparsity"),
        stage=text(progress, "stage"),
        percentage=number(progress, "percentage"),
        remaining_seconds=number(progress, "estimatedRemainingSeconds"),
        reported=time(progress, "lastUpdatedTime"),
    )


def _use_case(written: str) -> str:
    try:
        return resolve_use_case(written).value
    except InputError:
        return written
