"""The whole story of one experiment: where it stands, why, how its stages went, what came out."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.table import Table

from sparse_transfer_api.contract import ANNOTATION_RETRY, Stage
from sparse_transfer_api.errors import AcceptanceMissed
from sparse_transfer_api.results import Results
from sparse_transfer_api.status import ConditionStatus, ConditionType, Phase, StageStatus
from sparse_transfer_cli.console import print_plain
from sparse_transfer_cli.display import describe, duration
from sparse_transfer_cli.search_summary import levels_table
from sparse_transfer_cli.summary import UNKNOWN, number, percent, times

from .listing import age, phase_of
from .observed import Observed
from .outcome import outcome_of
from .progress import progress_of
from .telling import telling

_LABEL_WIDTH = 12
_UNSEEN_SECONDS = 30
"""After which an experiment without any status looks as if no operator were there."""


def print_story(console: Console, experiment: Observed, now: datetime) -> None:
    """Prints everything about one experiment that a person wants to know first."""
    for part in story(experiment, now):
        if isinstance(part, str):
            # Unfolded and as it is: addresses can be copied, brackets are no markup.
            print_plain(console, part)
        else:
            console.print(part)


def story(experiment: Observed, now: datetime) -> Iterator[RenderableType]:
    """Yields lines and tables, in their order."""
    yield headline(experiment, now)
    yield from _resolved(experiment)
    if experiment.status.search is not None:
        yield levels_table(experiment.status.search)
    if experiment.status.stages:
        yield stages_table(experiment, now)
    yield from _details(experiment)
    if experiment.status.results is not None:
        yield _line("results", results_line(experiment.status.results))
    yield from (_line("next", command) for command in next_steps(experiment))


def headline(experiment: Observed, now: datetime) -> str:
    """Returns who it is, where it stands, and whether the status is behind the spec."""
    phase = "no phase yet" if experiment.phase is None else phase_of(experiment)
    parts = [
        f"{experiment.name} in {experiment.namespace}: {phase}",
        f"{age(experiment.created, now)} old",
    ]
    if not experiment.up_to_date:
        parts.append(
            f"edited: the status is about generation {experiment.status.observed_generation}, "
            f"the spec is generation {experiment.generation}"
        )
    elif experiment.phase is None:
        parts.append(_unseen(experiment, now))
    return ", ".join(part for part in parts if part)


def _unseen(experiment: Observed, now: datetime) -> str:
    if experiment.managed_by is not None:
        return f"left to {experiment.managed_by} (spec.runPolicy.managedBy)"
    if (now - experiment.created).total_seconds() < _UNSEEN_SECONDS:
        return "the operator has not looked at it yet"
    return (
        "no operator has looked at it; check that one runs, and that it serves this namespace: "
        "kubectl get pods -A -l app.kubernetes.io/name=sparse-transfer-operator"
    )


def _resolved(experiment: Observed) -> Iterator[str]:
    resolved = experiment.status.resolved
    band = f" ({resolved.band})" if resolved is not None and resolved.band else ""
    yield _line("use case", experiment.use_case)
    yield _line("level", f"{experiment.level:g}{band}{_searched(experiment)}")
    if resolved is None:
        return
    if resolved.model is not None:
        yield _line("model", resolved.model)
    if resolved.recipe is not None:
        yield _line("recipe", resolved.recipe)
    for name, digest in resolved.digests.items():
        yield _line("", f"{name} {digest}")


def _searched(experiment: Observed) -> str:
    search = experiment.status.search
    if search is None:
        return ""
    what = "tried now"
    if search.selected is not None:
        what = "comes nearest, none passes" if _missed(experiment) else "kept"
    elif experiment.status.phase == Phase.FAILED:
        what = "none is kept"
    return f", {what}; {search.summary} levels have ended"


def _missed(experiment: Observed) -> bool:
    failed = experiment.status.condition(ConditionType.FAILED)
    return (
        failed is not None
        and failed.status == ConditionStatus.TRUE
        and failed.reason == AcceptanceMissed.reason
    )


def stages_table(experiment: Observed, now: datetime) -> Table:
    """Returns the table of stages: how they went, in how many attempts, and how long they took."""
    table = Table("stage", "state", "attempt", "disruptions", "took", "", box=SIMPLE_HEAD)
    for name in Stage:
        table.add_row(*stage_row(experiment, name, now))
    return table


def stage_row(experiment: Observed, name: Stage, now: datetime) -> tuple[str, ...]:
    """Returns one stage's row; of a running one what it is doing."""
    stage = experiment.stage(name)
    if stage is None:
        return (name, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, "")
    return (
        name,
        stage.outcome or "Waiting",
        UNKNOWN if stage.attempt is None else str(stage.attempt),
        str(stage.disruptions or 0),
        _took(stage, now),
        _remark(experiment, stage),
    )


def _took(stage: StageStatus, now: datetime) -> str:
    if stage.start_time is None:
        return UNKNOWN
    return duration(((stage.completion_time or now) - stage.start_time).total_seconds())


def _remark(experiment: Observed, stage: StageStatus) -> str:
    report = progress_of(experiment)
    if stage.outcome == "Running" and report is not None and report.stage == stage.name:
        share = "" if report.percentage is None else f"{report.percentage:.0f} % · "
        return f"{share}{describe(report)}"
    return (stage.reason or "") if stage.outcome in ("Failed", "Stopped") else ""


def _details(experiment: Observed) -> Iterator[str]:
    for condition in telling(experiment.status):
        text = f"{condition.reason}: {condition.message}" if condition.message else condition.reason
        yield _line(condition.type.lower(), text)


def results_line(results: Results) -> str:
    """Returns the figures in one line; all three speed-ups, whichever flatters most."""
    metric, headline = results.metric, results.headline
    against = (
        ("vs fp32", headline.speedup_vs_fp32),
        ("vs dense INT8", headline.speedup_vs_dense_int8),
    )
    others = ", ".join(f"{times(value)} {name}" for name, value in against if value is not None)
    speed = f"{times(headline.speedup)} on {headline.engine}"
    return " · ".join(
        [
            f"{metric.name} {number(metric.value)} (dense {number(metric.baseline)})",
            f"recovery {number(results.recovery)}",
            f"sparsity {percent(results.sparsity)}",
            f"speed-up {speed}{f' ({others})' if others else ''}",
        ]
    )


def next_steps(experiment: Observed) -> Iterator[str]:
    """Yields the commands that lead on from here."""
    option = f"{experiment.name} --namespace {experiment.namespace}"
    outcome = outcome_of(experiment)
    if experiment.status.results is not None:
        yield f"sparse-transfer results {option}"
    if outcome is None and experiment.running is not None:
        yield f"sparse-transfer logs {option} --follow"
    elif outcome is not None and not outcome.succeeded:
        if not outcome.measured:
            yield f"sparse-transfer logs {option}"
        yield (
            f"correct what is wrong and submit again; or, unchanged: kubectl annotate ste {option} "
            f"--overwrite {ANNOTATION_RETRY}=$(date +%s)"
        )
    elif experiment.status.phase == Phase.SUSPENDED:
        yield "set spec.runPolicy.suspend to false and submit again"


def _line(label: str, text: str) -> str:
    return f"{label:<{_LABEL_WIDTH}} {text}"
