"""Puts the report's parts into its template.

The file needs no network and no script: style and drawings are inside it, and its own policy
forbids loading anything. All text from outside (labels, paths, notes) is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sparse_transfer_api.records import Manifest, Plan
from sparse_transfer_api.results import Results
from sparse_transfer_runner.packaging.evaluation import Evaluation, HistoryPoint

from . import drawings, findings, wording
from .pages import environment, style

_TEMPLATE = "report.html.j2"


def render_report(
    *,
    plan: Plan,
    results: Results,
    evaluation: Evaluation,
    history: Sequence[HistoryPoint],
    manifest: Manifest,
) -> str:
    """Returns the report as one self-contained HTML page.

    Args:
        plan: What prepare decided.
        results: The outcome.
        evaluation: Everything that package measured.
        history: Learning curves of the baseline and of the transfer; may be empty.
        manifest: Shown whole; its provenance names the experiment and the machine.
    """
    pages = environment()
    return pages.get_template(_TEMPLATE).render(
        name=_experiment_name(manifest.provenance),
        plan=plan,
        results=results,
        evaluation=evaluation,
        manifest=manifest,
        manifest_json=manifest.to_json().decode(),
        shipped=findings.shipped_name(plan, results),
        cards=findings.cards(results),
        summary=findings.summary(plan, results),
        counted=findings.counted(plan),
        concerns=findings.concerns(plan, results, evaluation),
        accuracy=drawings.accuracy_figures(results, evaluation),
        sizes=drawings.size_drawing(results),
        engines=drawings.engine_figures(plan, results, evaluation),
        layers=drawings.layers_drawing(evaluation),
        kernels=findings.kernel_tables(results, evaluation),
        curves=drawings.learning_curves(history, results.metric.name),
        role_names=wording.ROLE_NAMES,
        style=style(pages),
    )


def _experiment_name(provenance: Mapping[str, Any]) -> str:
    """Returns the experiment's name from its document in the provenance, where it is there."""
    experiment = provenance.get("experiment")
    metadata = experiment.get("metadata") if isinstance(experiment, Mapping) else None
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    return str(name) if name else "experiment"
