"""A search over levels: every level is an experiment of its own, and the best one is kept.

Pure, and the same for operator, command line and report. Levels are told apart by nothing but their
level, so that a level's stages have the keys of an experiment with that ``optimLevel``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf

from .acceptance import judge, judge_on_choice_rows
from .results import EngineResult, Results
from .spec import Acceptance, Objective, Search, SparseTransferExperiment
from .status import LevelStatus

SAME_AS_LEVEL = "SameAsLevel"
"""Reason of a level that is skipped."""
NO_RESULTS = "the package stage handed over no results to be judged"
"""Why a level that was packaged cannot be chosen."""
DATA = "data"
"""Prepare's digest of the data, by its name."""
_SHOWN_DIGITS = 8


@dataclass(frozen=True)
class Tried:
    """A level that came to a result.

    Args:
        level: 0 to 1.
        results: As its package stage recorded them.
        data: Digest of the data that it was trained and scored on, where that is known.
    """

    level: float
    results: Results
    data: str | None = None


@dataclass(frozen=True)
class Choice:
    """The level that is kept.

    Args:
        level: The best of those that pass, or where none does, of all.
        missed: What it misses, a sentence for each criterion.
        passing: How many levels pass.
    """

    level: float
    missed: tuple[str, ...] = ()
    passing: int = 0


def at_level(experiment: SparseTransferExperiment, level: float) -> SparseTransferExperiment:
    """Returns the experiment that tries one level of a search: a search with that level alone."""
    search = experiment.spec.search.model_copy(update={"levels": (level,)})
    spec = experiment.spec.model_copy(update={"optim_level": level, "search": search})
    return experiment.model_copy(update={"spec": spec})


def twins(digests: Mapping[float, Mapping[str, str]]) -> dict[float, float]:
    """Returns the levels that need not be tried, each with the earlier one that it equals.

    Levels of one band often come to the same model and the same recipe, and so to the same result.

    Args:
        digests: What each level's prepare recorded, in the order in which levels are tried; of a
            level that recorded nothing no twin is known.
    """
    first: dict[tuple[tuple[str, str], ...], float] = {}
    found: dict[float, float] = {}
    for level, recorded in digests.items():
        content = tuple(sorted(recorded.items()))
        if content and first.setdefault(content, level) != level:
            found[level] = first[content]
    return found


def skipped(level: LevelStatus, twin: float) -> LevelStatus:
    """Returns a level that need not be tried: of its stages only prepare counts."""
    return level.model_copy(
        update={
            "outcome": "Skipped",
            "reason": SAME_AS_LEVEL,
            "message": f"comes to the same model and recipe as level {twin:g}",
            "same_as": twin,
            "stages": level.stages[:1],
        }
    )


def tried_of(levels: Iterable[LevelStatus]) -> list[Tried]:
    """Returns the levels that came to a result."""
    return [
        Tried(each.level, each.results, each.stages[0].digests.get(DATA) if each.stages else None)
        for each in levels
        if each.results is not None
    ]


def with_figures(levels: Sequence[LevelStatus], objective: Objective) -> tuple[LevelStatus, ...]:
    """Returns the levels with what follows from their results: latency, and who is on the front."""
    front = pareto(tried_of(levels), cost_of(objective))
    return tuple(
        each
        if each.results is None
        else each.model_copy(
            update={
                "latency_ms": headline_latency(each.results),
                "pareto": each.level in front,
            }
        )
        for each in levels
    )


def criteria(search: Search, acceptance: Acceptance) -> Acceptance:
    """Returns what a level must reach to be chosen: the experiment's acceptance, and the search's.

    Judged on the rows that choices are made on, by the recorded value to 4 digits; the interval is
    shown, and decides nothing.
    """
    wanted = (acceptance.min_recovery, search.min_recovery)
    known = [each for each in wanted if each is not None]
    return acceptance.model_copy(update={"min_recovery": max(known, default=None)})


def missed_by(search: Search, acceptance: Acceptance, results: Results) -> list[str]:
    """Returns one sentence for each criterion that an experiment's results miss.

    A level that passes where choices are made still has to show the experiment's acceptance in the
    figures that are reported, as an experiment without a search has to.

    Args:
        search: The recovery that it asks for; without levels there is none.
        acceptance: The experiment's.
        results: Of the level that is kept.
    """
    chosen_by = judge_on_choice_rows(criteria(search, acceptance), results) if search.levels else []
    return chosen_by or judge(acceptance, results)


def choose(search: Search, acceptance: Acceptance, tried: Sequence[Tried]) -> Choice | None:
    """Returns the level to keep; None where no level came to a result.

    Levels are judged and compared by their recovery on the rows that choices are made on, so that
    what is reported of the one that is kept was not selected for. Of levels that pass, the fastest,
    or the smallest as it is and then compressed; where that is the same, the one that recovers
    more, then the one that is better in the other respect, then the lower level. Where none passes,
    the one that misses the fewest criteria, of those the one that recovers most.

    Args:
        search: Its objective and the recovery that it asks for.
        acceptance: The experiment's.
        tried: The levels, in any order.
    """
    wanted = criteria(search, acceptance)
    missed = {each.level: tuple(judge_on_choice_rows(wanted, each.results)) for each in tried}
    passing = [each for each in tried if not missed[each.level]]
    if passing:
        best = min(passing, key=lambda each: _rank(search.objective, each))
        return Choice(best.level, tuple(judge(acceptance, best.results)), len(passing))
    if not tried:
        return None
    best = min(
        tried,
        key=lambda each: (
            len(missed[each.level]),
            -_chosen_by(each.results),
            *_rank(search.objective, each),
        ),
    )
    return Choice(best.level, missed[best.level])


def verdict(search: Search, choice: Choice | None, failures: Mapping[float, str]) -> str:
    """Returns one sentence on how a search ended.

    Args:
        search: Its objective.
        choice: The level that is kept.
        failures: Why levels came to no result, by level.
    """
    failed = [f"level {level:g} failed: {why}" for level, why in failures.items()]
    if choice is None:
        return "; ".join(["no level came to a result", *failed])
    level = f"level {choice.level:g}"
    if choice.passing == 0:
        kept = f"no level passes; {level} comes nearest: {'; '.join(choice.missed)}"
        return "; ".join([kept, *failed])
    if choice.passing == 1:
        kept = f"{level} is the only one that passes"
    else:
        preferred = "fastest" if search.objective is Objective.FASTEST else "smallest"
        kept = f"{level} is the {preferred} of {choice.passing} that pass"
    reported = [f"on the rows that are reported, {each}" for each in choice.missed]
    return "; ".join([kept, *reported, *failed])


def pareto(tried: Sequence[Tried], cost: Callable[[Results], float | None]) -> frozenset[float]:
    """Returns the levels that no other level beats: in accuracy, in cost, or in both.

    Args:
        tried: The levels.
        cost: Such as ``headline_latency``; a level of unknown cost is on no front.
    """
    accuracy = accuracy_of(tried)
    points = {
        each.level: (accuracy(each.results), paid)
        for each in tried
        if (paid := cost(each.results)) is not None
    }
    return frozenset(
        level
        for level, point in points.items()
        if not any(_beats(other, point) for other in points.values())
    )


def recoveries_compare(tried: Sequence[Tried]) -> bool:
    """Whether recovery tells levels apart: it is known of all, and relative to one baseline."""
    known = all(each.results.recovery is not None for each in tried)
    return known and len({each.results.metric.baseline for each in tried}) == 1


def accuracy_of(tried: Sequence[Tried]) -> Callable[[Results], float]:
    """Returns what levels' accuracy is compared by: recovery, or else the metric itself."""
    if recoveries_compare(tried):
        return lambda results: results.recovery or 0.0
    return lambda results: results.metric.value


def cost_of(objective: Objective) -> Callable[[Results], float | None]:
    """Returns what an objective makes small."""
    return headline_latency if objective is Objective.FASTEST else shipped_bytes


def headline_latency(results: Results) -> float | None:
    """Returns the median latency of the shipped file at the headline, in milliseconds."""
    point = headline_point(results)
    return None if point is None else point.latency_ms


def shipped_bytes(results: Results) -> float:
    """Returns the size of the shipped model file."""
    return results.size_bytes


def headline_point(results: Results) -> EngineResult | None:
    """Returns what was measured at the headline; None where that was not handed over."""
    wanted = results.headline
    return next(
        (
            each
            for each in results.engines
            if (each.name, each.batch, each.sequence)
            == (wanted.engine, wanted.batch, wanted.sequence)
        ),
        None,
    )


def incomparable(tried: Sequence[Tried]) -> list[str]:
    """Returns why figures of levels do not compare: a sentence for each thing that differs."""
    points = {
        each.level: point for each in tried if (point := headline_point(each.results)) is not None
    }
    aspects: Mapping[str, Callable[[EngineResult], object]] = {
        "instruction sets": lambda point: point.isa,
        "numbers of threads": lambda point: point.threads,
        "versions of the engine": lambda point: point.version,
        "text lengths": lambda point: point.sequence,
    }
    differing = {
        f"latencies were measured with different {name}": {
            level: aspect(point) for level, point in points.items()
        }
        for name, aspect in aspects.items()
    }
    differing["levels were trained and scored on different data, by digest"] = {
        each.level: each.data[:_SHOWN_DIGITS] for each in tried if each.data is not None
    }
    return [f"{said} ({_listed(values)})" for said, values in differing.items() if _differ(values)]


def _differ(values: Mapping[float, object]) -> bool:
    return len(set(values.values())) > 1


def _listed(values: Mapping[float, object]) -> str:
    return ", ".join(f"{level:g}: {value}" for level, value in sorted(values.items()))


def _rank(objective: Objective, tried: Tried) -> tuple[float, ...]:
    """Returns what levels are sorted by, the best first: recorded figures, so that it stays."""
    results = tried.results
    latency = headline_latency(results)
    fast = inf if latency is None else latency
    small = (results.size_bytes, results.compressed_size_bytes)
    costs = (fast,) if objective is Objective.FASTEST else small
    others = small if objective is Objective.FASTEST else (fast,)
    return (*costs, -_chosen_by(results), *others, tried.level)


def _chosen_by(results: Results) -> float:
    """Returns the recovery where choices are made; results from before it was have one only."""
    known = (results.choice_recovery, results.recovery)
    return next((each for each in known if each is not None), -inf)


def _beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one[0] >= other[0] and one[1] <= other[1] and one != other
