"""A search over levels: which level is kept, which are on the front, which need not be tried."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparse_transfer_api.contract import Stage
from sparse_transfer_api.keys import stage_key
from sparse_transfer_api.results import (
    EngineResult,
    Headline,
    MetricResult,
    Recommended,
    Results,
)
from sparse_transfer_api.search import (
    Choice,
    Tried,
    at_level,
    choose,
    cost_of,
    headline_latency,
    incomparable,
    missed_by,
    pareto,
    shipped_bytes,
    twins,
    verdict,
)
from sparse_transfer_api.spec import Acceptance, Objective, Search

FASTEST, SMALLEST = Objective.FASTEST, Objective.SMALLEST


def tried(
    level: float,
    recovery: float | None = 0.98,
    latency: float | None = 5.0,
    size: int = 100,
    compressed: int = 50,
    choice: float | None = None,
    baseline: float = 0.9,
    value: float = 0.8,
    **point: Any,
) -> Tried:
    """Returns a level with these figures; without a latency nothing was measured."""
    engine = {"version": "1", "isa": "AVX512", "threads": 2, "sequence": 128, **point}
    sequence = engine["sequence"]
    measured = [
        EngineResult(
            name="onnxruntime",
            batch=1,
            dense_latency_ms=10.0,
            latency_ms=latency or 1.0,
            speedup=10.0 / (latency or 1.0),
            **engine,
        )
    ]
    speedup = None if latency is None else 10.0 / latency
    return Tried(
        level,
        Results(
            metric=MetricResult(
                name="accuracy", baseline=baseline, value=value, samples=100, split="test"
            ),
            recovery=recovery,
            choice_recovery=choice,
            sparsity=0.8,
            zero_share=0.5,
            size_bytes=size,
            compressed_size_bytes=compressed,
            dense_size_bytes=400,
            headline=Headline(engine="onnxruntime", batch=1, sequence=sequence, speedup=speedup),
            recommended=Recommended(file="model.onnx", engine="onnxruntime", reason="fastest"),
            engines=measured if latency is not None else [],
        ),
    )


# What is searched for, the levels, and the level that is kept.
CHOICES: Mapping[str, tuple[Search, list[Tried], float]] = {
    "the fastest": (
        Search(),
        [tried(0.3, latency=7), tried(0.6, latency=3), tried(0.9, latency=5)],
        0.6,
    ),
    "the smallest": (
        Search(objective=SMALLEST),
        [tried(0.3, size=90), tried(0.6, latency=1), tried(0.9, size=20)],
        0.9,
    ),
    "the fastest of those that recover enough": (
        Search(min_recovery=0.97),
        [tried(0.3, 0.99, 7), tried(0.6, 0.97, 6), tried(0.9, 0.9699, 2)],
        0.6,
    ),
    "the dense level, where no other passes": (
        Search(min_recovery=0.99),
        [tried(0, 1.0, 10), tried(0.5, 0.98, 5)],
        0,
    ),
    "the fastest, though the dense level passes too": (
        Search(min_recovery=0.97),
        [tried(0, 1.0, 10), tried(0.5, 0.98, 5)],
        0.5,
    ),
    "of files of one size the one that compresses better": (
        Search(objective=SMALLEST),
        [tried(0.3, compressed=50), tried(0.6, 0.97, compressed=30)],
        0.6,
    ),
    "of equally fast ones the one that recovers more": (
        Search(),
        [tried(0.3, 0.98), tried(0.6, 0.99)],
        0.6,
    ),
    "of equally fast and equally good ones the smaller": (
        Search(),
        [tried(0.3, size=100), tried(0.6, size=90)],
        0.6,
    ),
    "of equally small and equally good ones the faster": (
        Search(objective=SMALLEST),
        [tried(0.3, latency=5), tried(0.6, latency=4)],
        0.6,
    ),
    "of levels that are alike the lower": (Search(), [tried(0.6), tried(0.3)], 0.3),
    "one whose latency is known before one whose is not": (
        Search(),
        [tried(0.3, latency=None), tried(0.6, 0.5, latency=9)],
        0.6,
    ),
    "one whose recovery is unknown, where none is asked for": (
        Search(),
        [tried(0.3, None, 3), tried(0.6, 0.99, 5)],
        0.3,
    ),
    "none whose recovery is unknown, where one is asked for": (
        Search(min_recovery=0.1),
        [tried(0.3, None, 3), tried(0.6, 0.5, 5)],
        0.6,
    ),
}


@pytest.mark.parametrize("name", CHOICES)
def test_the_level_that_is_kept_is(name: str) -> None:
    search, levels, kept = CHOICES[name]
    for order in (levels, levels[::-1]):
        choice = choose(search, Acceptance(), order)
        assert choice is not None
        assert (choice.level, choice.missed) == (kept, ())
        assert choice.passing >= 1


def test_the_acceptance_decides_which_levels_pass_too() -> None:
    levels = [tried(0.3, 0.99, latency=2.5), tried(0.6, 0.98, latency=4, size=10)]
    search = Search(objective=SMALLEST)
    assert choose(search, Acceptance(), levels) == Choice(0.6, (), 2)
    assert choose(search, Acceptance(min_speedup=4), levels) == Choice(0.3, (), 1)
    assert choose(search, Acceptance(min_recovery=0.985), levels) == Choice(0.3, (), 1)


def test_the_higher_of_two_recoveries_that_are_asked_for_counts() -> None:
    levels = [tried(0.3, 0.99, 7), tried(0.6, 0.97, 3)]
    for low, high in ((0.9, 0.98), (0.98, 0.9)):
        choice = choose(Search(min_recovery=low), Acceptance(min_recovery=high), levels)
        assert choice == Choice(0.3, (), 1)


def test_levels_are_judged_on_rows_that_are_not_reported() -> None:
    lucky = tried(0.6, 0.99, 3, choice=0.95)
    search, levels = Search(min_recovery=0.97), [tried(0.3, 0.965, 7, choice=0.98), lucky]
    assert choose(search, Acceptance(), levels) == Choice(0.3, (), 1)
    assert choose(search, Acceptance(), [lucky]) == Choice(
        0.6, ("recovery on the rows to choose by is 0.95; at least 0.97 is required",)
    )


def test_of_equally_fast_levels_the_one_that_recovers_more_there_is_kept() -> None:
    levels = [tried(0.3, 0.99, choice=0.97), tried(0.6, 0.98, choice=0.98)]
    assert choose(Search(), Acceptance(), levels) == Choice(0.6, (), 2)


def test_what_is_reported_has_to_reach_the_acceptance_and_is_not_chosen_by() -> None:
    acceptance = Acceptance(min_recovery=0.97)
    levels = [tried(0.3, 0.99, 7, choice=0.98), tried(0.6, 0.96, 3, choice=0.975)]
    said = "recovery is 0.96; at least 0.97 is required"
    choice = choose(Search(levels=(0.3, 0.6)), acceptance, levels)
    assert choice == Choice(0.6, (said,), 2)
    assert verdict(Search(), choice, {}) == (
        f"level 0.6 is the fastest of 2 that pass; on the rows that are reported, {said}"
    )
    assert missed_by(Search(levels=(0.3, 0.6)), acceptance, levels[1].results) == [said]


def test_an_experiment_without_levels_is_judged_by_what_is_reported_alone() -> None:
    results = tried(0.6, 0.98, choice=0.9).results
    assert missed_by(Search(), Acceptance(min_recovery=0.97), results) == []
    assert missed_by(Search(levels=(0.6,)), Acceptance(min_recovery=0.97), results) != []


def test_where_none_passes_the_one_that_comes_nearest_is_named_with_what_it_misses() -> None:
    search = Search(min_recovery=0.97)
    levels = [tried(0.3, 0.96, 7), tried(0.6, 0.95, 3), tried(0.9, None, 1)]
    assert choose(search, Acceptance(), levels) == Choice(
        0.3, ("recovery is 0.96; at least 0.97 is required",)
    )
    choice = choose(search, Acceptance(min_speedup=3), levels)
    assert choice is not None
    assert choice.level == 0.6, "it misses one criterion, the other two"


def test_of_no_level_none_is_kept() -> None:
    assert choose(Search(), Acceptance(), []) is None


LEVELS = st.lists(
    st.builds(
        tried,
        st.floats(0, 1),
        st.none() | st.sampled_from([0.9, 0.95, 0.97, 1.0]),
        st.none() | st.sampled_from([1.0, 2.0, 5.0]),
        st.sampled_from([10, 20]),
        st.sampled_from([5, 6]),
    ),
    min_size=1,
    max_size=8,
    unique_by=lambda each: each.level,
)
SEARCHES = st.builds(
    Search,
    min_recovery=st.none() | st.sampled_from([0.9, 0.96, 1.0]),
    objective=st.sampled_from(Objective),
)
ACCEPTANCES = st.builds(
    Acceptance,
    min_recovery=st.none() | st.sampled_from([0.93, 0.97]),
    min_speedup=st.none() | st.sampled_from([1.0, 4.0]),
)


@given(levels=LEVELS, search=SEARCHES, acceptance=ACCEPTANCES, data=st.data())
def test_the_choice_depends_on_no_order_and_is_beaten_by_no_level_that_passes(
    levels: list[Tried], search: Search, acceptance: Acceptance, data: st.DataObject
) -> None:
    choice = choose(search, acceptance, levels)
    assert choice is not None
    assert choice == choose(search, acceptance, data.draw(st.permutations(levels)))
    assert choice.passing > 0 or choice.missed
    cost = cost_of(search.objective)
    kept = next(each for each in levels if each.level == choice.level)
    for other in levels:
        paid = cost(other.results)
        alone = choose(search, acceptance, [other])
        if alone is not None and not alone.missed and paid is not None:
            assert not choice.missed
            kept_cost = cost(kept.results)
            assert kept_cost is not None
            assert kept_cost <= paid


# ---- the front -----------------------------------------------------------------------------------


def test_on_the_front_are_the_levels_that_no_other_beats() -> None:
    levels = [
        tried(0, 1.0, 10),
        tried(0.3, 0.99, 4),
        tried(0.6, 0.98, 5),
        tried(0.9, 0.9, 2),
    ]
    assert pareto(levels, headline_latency) == {0, 0.3, 0.9}


def test_levels_that_are_alike_are_both_on_the_front() -> None:
    assert pareto([tried(0.3), tried(0.6)], shipped_bytes) == {0.3, 0.6}


def test_a_level_of_unknown_latency_is_on_no_front_of_latency() -> None:
    assert pareto([tried(0.3, latency=None)], headline_latency) == frozenset()


def test_without_recoveries_the_metric_itself_counts() -> None:
    assert pareto([tried(0.3, None, 5), tried(0.6, 0.99, 4)], headline_latency) == {0.6}


def test_recoveries_of_different_dense_models_are_not_compared() -> None:
    large = tried(0.3, 0.976, 5, baseline=0.84, value=0.82)
    small = tried(0.9, 1.0, 5, baseline=0.7, value=0.7)
    assert pareto([large, small], headline_latency) == {0.3}


@given(levels=LEVELS)
def test_the_front_holds_the_cheapest_and_beats_all_that_are_not_on_it(
    levels: list[Tried],
) -> None:
    front = pareto(levels, shipped_bytes)
    cheapest = min(each.results.size_bytes for each in levels)
    assert any(each.results.size_bytes == cheapest for each in levels if each.level in front)


# ---- what does not compare -----------------------------------------------------------------------


def test_latencies_of_different_machines_are_said_not_to_compare() -> None:
    assert incomparable([tried(0.3), tried(0.6), tried(0.9, latency=None)]) == []
    assert incomparable([tried(0.6, isa="AVX2"), tried(0.3)]) == [
        "latencies were measured with different instruction sets (0.3: AVX512, 0.6: AVX2)"
    ]
    found = incomparable([tried(0.3, threads=1, sequence=64), tried(0.6, version="2")])
    assert len(found) == 3


def test_levels_of_different_data_are_said_not_to_compare() -> None:
    same = [replace(tried(level), data="3f" * 32) for level in (0.3, 0.6)]
    assert incomparable([*same, tried(0.9)]) == []
    assert incomparable([*same, replace(tried(0.9), data="a0" * 32)]) == [
        "levels were trained and scored on different data, by digest "
        "(0.3: 3f3f3f3f, 0.6: 3f3f3f3f, 0.9: a0a0a0a0)"
    ]


# ---- what is refused -----------------------------------------------------------------------------

REFUSED: Mapping[str, tuple[dict[str, Any], str, str]] = {
    "the same level twice": ({"levels": [0.5, 0.5]}, "levels", "0.5 is there twice"),
    "a level above 1": ({"levels": [0.5, 1.2]}, "levels[1]", "a number from 0 to 1"),
    "a level below 0": ({"levels": [-0.1]}, "levels[0]", "a number from 0 to 1"),
    "a per cent": ({"levels": [50]}, "levels[0]", "did you mean 0.5?"),
    "a level in quotes": ({"levels": ["0.5"]}, "levels[0]", "without quotes"),
    "one level without a list": ({"levels": 0.5}, "levels", "expected a list"),
    "more levels than are tried": (
        {"levels": [number / 10 for number in range(9)]},
        "levels",
        "a list of at most 8",
    ),
    "no levels to judge": ({"levels": [], "minRecovery": 0.9}, "levels", "needs levels to try"),
    "a recovery of nothing": ({"levels": [0.5], "minRecovery": 0}, "minRecovery", "from 0.0001"),
    "a recovery in per cent": (
        {"levels": [0.5], "minRecovery": 97},
        "minRecovery",
        "did you mean 0.97?",
    ),
    "an unknown objective": (
        {"levels": [0.5], "objective": "Cheapest"},
        "objective",
        "expected Fastest or Smallest",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_search_is_refused_with(
    name: str, document: Any, problems_of: Any, api_server: Any
) -> None:
    search, where, text = REFUSED[name]
    made = document({"spec.search": search})
    problems = problems_of(made)
    assert list(problems) == [f"spec.search.{where}"]
    assert text in problems[f"spec.search.{where}"]
    assert api_server.refusals(made) != [], "the API server takes it"


def test_an_empty_list_of_levels_is_no_search(parsed: Any) -> None:
    assert parsed({"spec.search.levels": []}).spec == parsed().spec


# ---- levels as experiments -----------------------------------------------------------------------


def test_a_level_has_the_keys_of_an_experiment_with_that_level(parsed: Any) -> None:
    searching = parsed({"spec.search": {"levels": [0.3, 0.5], "minRecovery": 0.9}})
    for level in (0.3, 0.5):
        single = parsed({"spec.optimLevel": level}).spec
        spec = at_level(searching, level).spec
        for stage in Stage:
            assert stage_key(spec, stage, "k", {}) == stage_key(single, stage, "k", {})


def test_a_level_is_searched_for_alone_with_what_it_has_to_reach(parsed: Any) -> None:
    searching = parsed({"spec.search": {"levels": [0.3, 0.5], "minRecovery": 0.9}})
    spec = at_level(searching, 0.3).spec
    assert (spec.optim_level, spec.search.levels) == (0.3, (0.3,))
    assert spec.search.min_recovery == 0.9


def test_levels_that_come_to_the_same_model_are_tried_once() -> None:
    small, large = {"model": "s", "recipe": "r"}, {"recipe": "r", "model": "l"}
    assert twins({0.3: large, 0.6: small, 0.4: large, 0.7: small}) == {0.4: 0.3, 0.7: 0.6}


def test_of_a_level_that_recorded_nothing_no_twin_is_known() -> None:
    assert twins({0.3: {}, 0.6: {}}) == {}
