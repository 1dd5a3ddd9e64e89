"""Whether a result is good enough: one judgement for operator, command line and report."""

from __future__ import annotations

from .results import Results
from .spec import Acceptance


def judge(acceptance: Acceptance, results: Results) -> list[str]:
    """Returns one sentence for each criterion that the recorded results miss.

    A criterion whose figure is unknown is missed: nobody has shown that it is reached.

    Args:
        acceptance: The user's criteria; those that are None are not judged.
        results: As the package stage recorded them, ratios to 4 digits.
    """
    return _missing(acceptance, results, "recovery", results.recovery)


def judge_on_choice_rows(acceptance: Acceptance, results: Results) -> list[str]:
    """Returns the same, with the recovery on the rows that choices are made on.

    Results from before that was recorded are judged by the recovery that is reported.

    Args:
        acceptance: As above.
        results: As above.
    """
    if results.choice_recovery is None:
        return judge(acceptance, results)
    name = "recovery on the rows to choose by"
    return _missing(acceptance, results, name, results.choice_recovery)


def _missing(
    acceptance: Acceptance, results: Results, name: str, recovery: float | None
) -> list[str]:
    criteria = (
        (name, recovery, acceptance.min_recovery),
        ("speed-up at the headline", results.headline.speedup, acceptance.min_speedup),
    )
    return [
        _missed(name, value, wanted)
        for name, value, wanted in criteria
        if wanted is not None and (value is None or value < wanted)
    ]


def _missed(name: str, value: float | None, wanted: float) -> str:
    if value is None:
        return f"{name} is unknown; at least {wanted:g} is required"
    return f"{name} is {value:g}; at least {wanted:g} is required"
