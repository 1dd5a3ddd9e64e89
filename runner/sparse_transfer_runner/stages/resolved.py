"""What aliases, defaults and the catalogue came to, as the status shows it: drawn from the plan.

The recipe's text is left out: its digest is here, and the plan has it.
"""

from __future__ import annotations

from sparse_transfer_api.keys import planned_digests
from sparse_transfer_api.records import Plan, TrainingSettings
from sparse_transfer_api.results import Resolved
from sparse_transfer_runner.storage.addresses import shown

_SHOWN = {
    "problem_type",
    "columns",
    "max_sequence_length",
    "max_eval_samples",
    "evaluation_split",
    "quantize",
    "total_steps",
}


def resolved_of(plan: Plan) -> Resolved:
    """Returns what prepare decided; plans of earlier versions do not say the recipe's source."""
    settings = _plain(plan.training) | plan.model_dump(
        mode="json", by_alias=True, exclude_none=True, include=_SHOWN
    )
    if plan.baseline is not None:
        settings["baseline"] = _plain(plan.baseline)
    return Resolved(
        use_case=plan.use_case,
        level=plan.level,
        band=plan.band,
        model=shown(plan.model.uri),
        recipe=plan.recipe_source,
        digests=planned_digests(plan),
        settings=settings,
    )


def _plain(settings: TrainingSettings) -> dict[str, object]:
    return settings.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"recipe"})
