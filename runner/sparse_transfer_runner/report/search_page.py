"""The page of a search: the Pareto pictures, and every level in a table; one HTML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from sparse_transfer_api.search import (
    Tried,
    accuracy_of,
    choose,
    criteria,
    headline_latency,
    headline_point,
    incomparable,
    pareto,
    recoveries_compare,
    shipped_bytes,
    tried_of,
)
from sparse_transfer_api.spec import Acceptance, Search
from sparse_transfer_api.status import LevelStatus, SearchStatus

from .fronts import Dot, front
from .pages import environment, style
from .wording import megabytes, milliseconds, ratio

_TEMPLATE = "search.html.j2"


@dataclass(frozen=True)
class SearchReport:
    """What the page of a search is made of.

    Args:
        name: The experiment's.
        use_case: Its task.
        search: What was searched for.
        acceptance: What the experiment has to reach besides.
        status: What came of it.
        reports: Addresses of the levels' own reports, by level.
    """

    name: str
    use_case: str
    search: Search
    acceptance: Acceptance
    status: SearchStatus
    reports: Mapping[float, str] = field(default_factory=dict)

    @property
    def least(self) -> float | None:
        """The recovery that a level has to reach."""
        return criteria(self.search, self.acceptance).min_recovery


@dataclass(frozen=True)
class _Picture:
    title: str
    drawing: Markup


def render_search(report: SearchReport) -> str:
    """Returns the page as one self-contained HTML file."""
    levels = report.status.levels
    choice = choose(report.search, report.acceptance, tried_of(levels))
    pages = environment()
    return pages.get_template(_TEMPLATE).render(
        report=report,
        kept=next((each for each in levels if each.level == report.status.selected), None),
        passes=choice is not None and choice.passing > 0,
        points={each.level: _point(each) for each in levels},
        pictures=_pictures(report),
        concerns=_concerns(levels),
        style=style(pages),
    )


def _point(level: LevelStatus) -> str:
    point = None if level.results is None else headline_point(level.results)
    if point is None:
        return ""
    length = "" if point.sequence is None else f", {point.sequence} tokens"
    threads = f"{point.threads} thread{'s' if point.threads != 1 else ''}"
    return f"{point.name} {point.version}, {point.isa}, {threads}, batch {point.batch}{length}"


def _concerns(levels: Sequence[LevelStatus]) -> list[str]:
    found = incomparable(tried_of(levels))
    baselines = {
        each.results.metric.baseline for each in levels if each.results and each.results.recovery
    }
    if len(baselines) > 1:
        found.append(
            "recovery is relative to each level's own dense model, which is another one where "
            "levels start from models of another size: so the pictures show the metric"
        )
    return found


def _pictures(report: SearchReport) -> list[_Picture]:
    """Returns the pictures; none where there is no accuracy or no cost to draw."""
    tried = tried_of(report.status.levels)
    by_recovery, accuracy = recoveries_compare(tried), accuracy_of(tried)
    name = "recovery" if by_recovery else next((t.results.metric.name for t in tried), "")
    found = []
    for title, unit, cost, scale in (
        ("Latency", "ms at the headline", headline_latency, 1.0),
        ("Size", "MB of the shipped file", shipped_bytes, 1e-6),
    ):
        on_front = pareto(tried, cost)
        dots = [
            Dot(
                label=f"{each.level:g}",
                cost=paid * scale,
                kept=accuracy(each.results),
                text=_figures(accuracy(each.results), each),
                on_front=each.level in on_front,
                chosen=each.level == report.status.selected,
            )
            for each in tried
            if (paid := cost(each.results)) is not None
        ]
        if dots:
            least = report.least if by_recovery else None
            found.append(_Picture(title, front(title, unit, name, dots, least=least)))
    return found


def _figures(accuracy: float, tried: Tried) -> str:
    latency, size = headline_latency(tried.results), tried.results.size_bytes
    return f"{ratio(accuracy)}, {milliseconds(latency)}, {megabytes(size)}"
