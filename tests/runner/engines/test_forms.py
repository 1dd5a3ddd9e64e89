from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparse_transfer_runner.engines.forms import Form, InputScale, joint_scale

_SCALES = st.builds(
    InputScale, st.floats(1e-4, 10, allow_subnormal=False), st.integers(min_value=0, max_value=255)
)


@given(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4))
def test_a_scale_covers_its_range_within_half_a_step(first: float, second: float) -> None:
    low, high = min(first, second, 0.0), max(first, second, 0.0)
    scale = (
        InputScale.of_range(first, second) if first <= second else InputScale.of_range(low, high)
    )
    half = 0.51 * scale.scale
    assert scale.low <= min(first, second) + half
    assert scale.high >= max(first, second) - half
    assert 0 <= scale.zero_point <= 255


@given(_SCALES, st.integers(1, 4))
def test_equal_scales_stay_exactly_what_training_learned(scale: InputScale, count: int) -> None:
    assert joint_scale([scale] * count) == scale


@given(st.lists(_SCALES, min_size=1, max_size=4))
def test_one_quantizer_for_several_readers_covers_what_each_needs(
    scales: list[InputScale],
) -> None:
    joint = joint_scale(scales)
    half = 0.51 * joint.scale
    assert joint.low <= min(s.low for s in scales) + half
    assert joint.high >= max(s.high for s in scales) - half


@pytest.mark.parametrize(("form", "levels"), [(Form.QDQ, 127), (Form.REDUCED_QDQ, 63)])
def test_reduced_forms_use_weights_that_cannot_saturate(form: Form, levels: int) -> None:
    assert form.weight_levels == levels
    if levels == 63:
        assert 2 * 255 * levels < 2**15
