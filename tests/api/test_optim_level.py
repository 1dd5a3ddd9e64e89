from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparse_transfer_api.errors import InputError
from sparse_transfer_api.optim_level import Band, Size, band_of, parse_level

DENSE = Band(Size.LARGEST, sparse=False, quantize=False)
INT8 = Band(Size.LARGEST, sparse=False, quantize=True)
LARGEST = Band(Size.LARGEST, sparse=True, quantize=True)
MEDIUM = Band(Size.MEDIUM, sparse=True, quantize=True)
SMALLEST = Band(Size.SMALLEST, sparse=True, quantize=True)


@pytest.mark.parametrize(
    ("level", "band"),
    [
        (0, DENSE),
        (0.0, DENSE),
        (5e-324, INT8),
        (0.01, INT8),
        (0.2499999, INT8),
        (0.25, LARGEST),
        (math.nextafter(0.5, 0), LARGEST),
        (0.5, MEDIUM),
        (0.7499, MEDIUM),
        (0.75, SMALLEST),
        (1, SMALLEST),
        (1.0, SMALLEST),
    ],
)
def test_boundaries_are_literal_and_belong_to_the_band_above(level: float, band: Band) -> None:
    assert band_of(level) == band


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_higher_level_never_means_a_larger_or_less_optimized_model(a: float, b: float) -> None:
    low, high = band_of(min(a, b)), band_of(max(a, b))
    sizes = [Size.LARGEST, Size.MEDIUM, Size.SMALLEST]
    assert sizes.index(low.size) <= sizes.index(high.size)
    assert low.sparse <= high.sparse
    assert low.quantize <= high.quantize


def test_each_band_has_a_name_of_its_own() -> None:
    names = [band.name for band in (DENSE, INT8, LARGEST, MEDIUM, SMALLEST)]
    assert names == [
        "LargestDense",
        "LargestInt8",
        "LargestSparseInt8",
        "MediumSparseInt8",
        "SmallestSparseInt8",
    ]


@pytest.mark.parametrize("level", [-0.01, 1.0001, 50, math.nan, math.inf, -math.inf])
def test_a_level_outside_its_range_has_no_band(level: float) -> None:
    with pytest.raises(InputError, match="not between 0 and 1"):
        band_of(level)


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("0", 0.0),
        ("0.5", 0.5),
        (" .75 ", 0.75),
        ("1", 1.0),
        ("1.0", 1.0),
        ("2", 0.02),
        ("50", 0.5),
        ("100", 1.0),
        ("100.0", 1.0),
        ("50%", 0.5),
        ("1%", 0.01),
        ("0.5%", 0.005),
    ],
)
def test_the_command_line_reads_numbers_up_to_1_and_whole_per_cents(
    text: str, level: float
) -> None:
    assert parse_level(text) == level


@pytest.mark.parametrize(
    "text", ["", "half", "-1", "1.5", "33.3", "101", "101%", "-1%", "nan", "inf", "%", "1e400"]
)
def test_anything_else_is_refused_with_what_was_expected(text: str) -> None:
    with pytest.raises(InputError) as raised:
        parse_level(text)
    (problem,) = raised.value.problems
    assert problem.where == "--optim-level"
    assert "from 0 to 1" in problem.message
    assert repr(text) in problem.message


@given(st.integers(2, 100))
def test_a_per_cent_means_the_same_with_and_without_its_sign(percent: int) -> None:
    assert parse_level(str(percent)) == parse_level(f"{percent}%") == percent / 100
