"""The newest report of the stage that runs, as the stages themselves write it."""

from __future__ import annotations

from sparse_transfer_api.records import Progress

from .observed import Observed


def progress_of(experiment: Observed) -> Progress | None:
    """Returns the running stage's newest report; None without one, or where it is a past one's."""
    report, running = experiment.status.progress, experiment.running
    if report is None or running is None or report.stage != running.name:
        return None
    updated, started = report.last_updated_time, running.start_time
    if updated is not None and started is not None and updated < started:
        return None  # of the attempt of an earlier spec
    return Progress.model_validate({"activity": "", **_known(report.model_dump())})


def _known(fields: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value is not None}
