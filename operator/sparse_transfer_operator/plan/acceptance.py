"""Whether a finished experiment reached what its user asked for: judged anew at every look."""

from __future__ import annotations

from sparse_transfer_api.acceptance import judge
from sparse_transfer_api.errors import AcceptanceMissed
from sparse_transfer_api.results import Results
from sparse_transfer_api.spec import Acceptance

from .judging import Failure

ACCEPTANCE_MISSED = AcceptanceMissed.reason


def missed_acceptance(acceptance: Acceptance, results: Results | None) -> Failure | None:
    """Returns what was missed; None where the result is good enough.

    Without results nobody has shown that a criterion is reached.
    """
    if results is not None:
        missed = judge(acceptance, results)
    else:
        wanted = acceptance != Acceptance()
        missed = ["the package stage handed over no results to be judged"] if wanted else []
    return Failure(ACCEPTANCE_MISSED, "; ".join(missed)) if missed else None
