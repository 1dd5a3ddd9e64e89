from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from sparse_transfer_api.errors import InputError
from sparse_transfer_runner.sparsity.masks import Masks
from sparse_transfer_runner.sparsity.patterns import (
    Pattern,
    Quota,
    as_matrix,
    keep_by_size,
    like_weight,
    pattern_named,
)


@given(
    shape=st.sampled_from([(8, 12), (8, 4, 3), (8, 4, 3, 3), (2, 8, 1, 1)]),
    sparsity=st.floats(0, 1),
    pattern=st.sampled_from(Pattern),
)
def test_the_smallest_units_of_any_weight_are_dropped(
    shape: tuple[int, ...], sparsity: float, pattern: Pattern
) -> None:
    weight = torch.randn(shape)
    quota = Quota.of(sparsity, weight.numel(), pattern)
    kept = keep_by_size(weight, quota)
    assert int((~kept).sum()) == quota.zeros
    # Four neighbouring inputs: of a convolution, four channels at one place of the kernel.
    sizes = weight.square().movedim(1, -1).unflatten(-1, (-1, pattern.width)).sum(-1)
    units = kept.movedim(1, -1).unflatten(-1, (-1, pattern.width))
    assert torch.equal(units.all(-1), units.any(-1))
    if kept.any() and not kept.all():
        assert sizes[~units.all(-1)].max() <= sizes[units.all(-1)].min()


@given(parts=st.integers(1, 7), units=st.integers(0, 50), pattern=st.sampled_from(Pattern))
def test_a_quota_is_split_without_loss(parts: int, units: int, pattern: Pattern) -> None:
    split = Quota(units * pattern.width, pattern).split(parts)
    assert sum(each.zeros for each in split) == units * pattern.width
    assert max(split, key=lambda q: q.zeros).zeros - split[-1].zeros <= pattern.width


def test_matrices_of_convolutions_have_the_channels_last_and_come_back() -> None:
    weight = torch.arange(2 * 4 * 3 * 3).view(2, 4, 3, 3)
    matrix = as_matrix(weight)
    assert matrix[0, :4].tolist() == weight[0, :, 0, 0].tolist()
    assert torch.equal(like_weight(matrix, weight), weight)


def test_a_mask_of_a_pattern_holds_whole_units_alone() -> None:
    weight = nn.Parameter(torch.ones(2, 8))
    conv = nn.Parameter(torch.ones(2, 8, 3, 3))
    odd = nn.Parameter(torch.tensor([[1.0, 0.0, 1.0]]))
    with torch.no_grad():
        weight[0, :5] = 0  # a block, and a weight of the next that happens to be zero
        conv[1, 4:, 2, 2] = 0
    weights = {"linear": weight, "conv": conv, "odd": odd}
    kept = Masks.take(weights, Pattern.BLOCK4).kept
    assert kept["linear"].tolist() == [[0] * 4 + [1] * 4, [1] * 8]
    assert int((kept["conv"] == 0).sum()) == 4
    assert kept["odd"].tolist() == [[1, 0, 1]], "where no blocks fit, weights count one by one"
    assert Masks.take(weights).masked == 5 + 4 + 1


@pytest.mark.parametrize("pattern", Pattern)
def test_masks_come_back_from_their_bits(pattern: Pattern) -> None:
    weights = {"a": nn.Parameter(torch.randn(3, 8)), "b": nn.Parameter(torch.randn(4, 8, 3, 3))}
    kept = {name: keep_by_size(each, Quota(12, pattern)) for name, each in weights.items()}
    masks = Masks.of(weights, kept)
    again = Masks.from_bits(weights, masks.bits)
    assert all(torch.equal(again.kept[name], masks.kept[name]) for name in weights)


def test_an_unknown_pattern_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(InputError, match="'2:4' is unknown; known: unstructured, block4"):
        pattern_named("2:4")
