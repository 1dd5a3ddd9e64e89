"""Whether a result is good enough: one judgement for operator, command line and report."""

from __future__ import annotations

from .results import Results
from .spec import Acceptance


def judge(acceptance: Acceptance, results: Results) -> list[str]:
    """Returns one sentence for each criterion that the recorded results miss.

    A criterion whose figure is unknown is missed: nobody has shown that it is reached.
    """
    criteria = (
        ("recovery", results.recovery, acceptance.min_recovery),
        ("speed-up", results.headline.speedup, acceptance.min_speedup),
    )
    return [
        f"{name} {'is unknown' if value is None else f'{value:g} is below'} "
        f"{'but should reach ' if value is None else ''}{wanted:g}"
        for name, value, wanted in criteria
        if wanted is not None and (value is None or value < wanted)
    ]
