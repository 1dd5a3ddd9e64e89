"""What a runner may say: a report's text, checked before anything of it is kept.

A pod may run any image, so a report is some bytes of a stranger. What passes can be shown in a
terminal and stored by the API server, which would refuse a status with anything worse in it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime

from pydantic import ValidationError

from sparse_transfer_api.records import Progress
from sparse_transfer_api.status import ProgressStatus

MAX_ACTIVITY = 128
MAX_METRICS = 64
MAX_METRIC_NAME = 63
MAX_NUMBER = 2.0**53
"""Above, JSON's readers disagree about whole numbers."""


class BadReport(ValueError):
    """The text is no report; what is wrong with it names fields only, and repeats nothing of it."""


def read_report(body: bytes, now: datetime) -> ProgressStatus:
    """Returns a report as the status keeps it.

    Args:
        body: JSON of a ``Progress``.
        now: When it came, which is what its time says: clocks of nodes differ.

    Raises:
        BadReport: It is no such JSON, or a number or text is out of its range.
    """
    try:
        report = Progress.model_validate_json(body, strict=True)
    except ValidationError as error:
        fields = {str(each["loc"][0]) for each in error.errors(include_input=False) if each["loc"]}
        raise BadReport(_naming(fields & _FIELDS) or "not JSON of a progress report") from None
    if wrong := set(_out_of_range(report)):
        raise BadReport(_naming(wrong))
    shown = ProgressStatus.of(report)
    return shown.model_copy(update={"last_updated_time": now.replace(microsecond=0)})


_FIELDS = {field.alias or name for name, field in Progress.model_fields.items()}


def _naming(fields: set[str]) -> str:
    return f"wrong or out of range: {', '.join(sorted(fields))}" if fields else ""


def _out_of_range(report: Progress) -> Iterator[str]:
    numbers = {
        "step": (report.step, MAX_NUMBER),
        "totalSteps": (report.total_steps, MAX_NUMBER),
        "epoch": (report.epoch, MAX_NUMBER),
        "percentage": (report.percentage, 100),
        "estimatedRemainingSeconds": (report.estimated_remaining_seconds, MAX_NUMBER),
    }
    for name, (value, most) in numbers.items():
        # Not a number is not between two numbers either.
        if value is not None and not 0 <= value <= most:
            yield name
    if not _is_plain(report.activity, MAX_ACTIVITY):
        yield "activity"
    if len(report.metrics) > MAX_METRICS:
        yield "metrics"
    for name, value in report.metrics.items():
        if not _is_plain(name, MAX_METRIC_NAME) or not math.isfinite(value):
            yield "metrics"


def _is_plain(text: str, longest: int) -> bool:
    # Control characters could write over a terminal that shows the status.
    return len(text) <= longest and text.isprintable()
