from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparse_transfer_api.errors import InputError
from sparse_transfer_runner.sparsity.budgets import (
    Curve,
    allocate,
    measured_quotas,
    uniform,
)
from sparse_transfer_runner.sparsity.patterns import Pattern, Quota

PATTERNS = st.sampled_from(Pattern)


@st.composite
def curves(draw: st.DrawFn, width: int) -> dict[str, Curve]:
    made = {}
    for index in range(draw(st.integers(1, 5))):
        points = draw(
            st.dictionaries(st.integers(1, 40), st.floats(0, 1, allow_nan=False), min_size=1)
        )
        made[f"layer{index}"] = Curve.measured({width * at: e for at, e in points.items()})
    return made


@given(data=st.data(), pattern=PATTERNS)
def test_zeros_add_up_to_the_total_exactly_and_no_layer_leaves_its_curve(
    data: st.DataObject, pattern: Pattern
) -> None:
    made = data.draw(curves(pattern.width))
    most = sum(curve.zeros[-1] for curve in made.values())
    total = pattern.width * data.draw(st.integers(0, most // pattern.width))
    given_zeros = allocate(made, Quota(total, pattern))
    assert sum(given_zeros.values()) == total
    for name, zeros in given_zeros.items():
        assert 0 <= zeros <= made[name].zeros[-1]
        assert zeros % pattern.width == 0


def error_at(curve: Curve, zeros: int) -> float:
    for (begin, low), (end, high) in itertools.pairwise(curve.hull()):
        if begin <= zeros <= end:
            return low + (high - low) * (zeros - begin) / (end - begin)
    raise AssertionError(zeros)


@given(
    first=st.lists(st.floats(0.01, 1), min_size=4, max_size=4),
    second=st.lists(st.floats(0.01, 1), min_size=4, max_size=4),
    total=st.integers(0, 8),
)
def test_no_other_division_between_two_layers_costs_less(
    first: list[float], second: list[float], total: int
) -> None:
    made = {
        name: Curve.measured(dict(enumerate(itertools.accumulate(sorted(slopes)), start=1)))
        for name, slopes in (("a", first), ("b", second))
    }
    chosen = allocate(made, Quota(total))
    cost = sum(error_at(made[name], zeros) for name, zeros in chosen.items())
    best = min(
        error_at(made["a"], zeros) + error_at(made["b"], total - zeros)
        for zeros in range(max(0, total - 4), min(4, total) + 1)
    )
    assert cost == pytest.approx(best)


def test_a_sensitive_layer_gets_fewer_zeros() -> None:
    made = {
        "robust": Curve.measured({50: 0.01, 80: 0.05, 95: 0.2}),
        "sensitive": Curve.measured({50: 0.1, 80: 0.5, 95: 0.9}),
    }
    assert allocate(made, Quota(145)) == {"robust": 95, "sensitive": 50}


@given(
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=6),
    share=st.floats(0, 1),
    pattern=PATTERNS,
)
def test_uniform_budgets_are_the_same_share_of_each_layer_to_within_a_unit(
    sizes: list[int], share: float, pattern: Pattern
) -> None:
    named = {str(index): size * pattern.width for index, size in enumerate(sizes)}
    quota = Quota.of(share, sum(named.values()), pattern)
    divided = uniform(named, quota)
    assert sum(divided.values()) == quota.zeros
    exact = quota.zeros / sum(named.values())
    for name, zeros in divided.items():
        assert abs(zeros - exact * named[name]) <= pattern.width
        assert 0 <= zeros <= named[name]


@pytest.mark.parametrize("divide", ["allocate", "uniform"])
def test_too_many_zeros_are_refused_with_how_many_there_can_be(divide: str) -> None:
    with pytest.raises(InputError, match="ask for less sparsity"):
        if divide == "uniform":
            uniform({"a": 40}, Quota(44, Pattern.BLOCK4))
        else:
            allocate({"a": Curve.measured({20: 0.1})}, Quota(24, Pattern.BLOCK4))


@given(sparsity=st.floats(0.3, 0.99), weights=st.integers(1_000, 10_000), pattern=PATTERNS)
def test_errors_are_measured_on_both_sides_of_the_total(
    sparsity: float, weights: int, pattern: Pattern
) -> None:
    weights *= pattern.width
    zeros = [quota.zeros for quota in measured_quotas(sparsity, weights, pattern)]
    assert zeros == sorted(zeros)
    assert zeros[0] < sparsity * weights < zeros[-1] < weights
