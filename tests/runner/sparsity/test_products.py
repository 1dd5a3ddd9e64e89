from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from sparse_transfer_api.errors import InputError
from sparse_transfer_runner.sparsity.blockwise import Part, reconstruct
from sparse_transfer_runner.sparsity.methods import METHODS, Pruned
from sparse_transfer_runner.sparsity.patterns import Pattern, Quota
from sparse_transfer_runner.sparsity.products import Product
from sparse_transfer_runner.sparsity.prunable import prunable_weights
from sparse_transfer_runner.sparsity.solve import LayerProblem

LAYERS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "linear": (nn.Linear(8, 6), (3, 5, 8)),
    "one by one": (nn.Conv2d(8, 6, 1), (3, 8, 7, 5)),
    "strided one by one": (nn.Conv2d(8, 6, 1, stride=2, bias=False), (3, 8, 7, 5)),
    "padded": (nn.Conv2d(8, 6, 3, padding=1), (3, 8, 7, 5)),
    "strided, dilated": (nn.Conv2d(8, 6, (3, 2), (2, 1), (0, 2), (1, 2)), (3, 8, 7, 5)),
    "grouped": (nn.Conv2d(8, 6, 3, groups=2), (3, 8, 7, 5)),
    "same": (nn.Conv2d(8, 6, (4, 3), padding="same"), (3, 8, 7, 5)),
    "valid": (nn.Conv2d(8, 6, 3, padding="valid"), (3, 8, 7, 5)),
    "reflecting": (nn.Conv2d(8, 6, 3, padding=1, padding_mode="reflect"), (3, 8, 7, 5)),
    "in one dimension": (nn.Conv1d(8, 6, 3, stride=2, padding=2, groups=2), (3, 8, 9)),
    "circular": (nn.Conv1d(8, 6, 3, padding=1, padding_mode="circular"), (3, 8, 9)),
}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize(("module", "shape"), LAYERS.values(), ids=LAYERS)
def test_a_layer_is_the_product_of_its_matrices_by_unfolded_inputs(
    module: nn.Module, shape: tuple[int, ...]
) -> None:
    layer, inputs = Product.of("layer", module), torch.randn(shape)
    weight: Any = module.weight
    matrices = layer.matrices(weight)
    assert torch.equal(layer.folded(matrices), weight)
    given = torch.cat(
        [rows @ matrix.T for rows, matrix in zip(layer.rows(inputs), matrices, strict=True)], dim=1
    )
    if module.bias is not None:
        given = given + module.bias
    wanted = module(inputs)
    if not isinstance(module, nn.Linear):
        wanted = wanted.movedim(1, -1)
    torch.testing.assert_close(given, wanted.reshape(given.shape))


def test_blocks_of_a_convolution_are_four_channels_at_one_place() -> None:
    layer = Product.of("layer", nn.Conv2d(8, 2, 3))
    weight: Any = layer.module.weight
    assert torch.equal(layer.matrices(weight)[0, 0, 4:8], weight[0, 4:, 0, 0])


class OwnWay(nn.Conv2d):
    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return super().forward(nn.functional.pad(inputs, (0, 1, 0, 1)))


def test_a_convolution_with_a_way_of_its_own_is_refused_but_for_one_by_one() -> None:
    Product.of("layer", OwnWay(8, 6, 1))
    with pytest.raises(InputError, match=r"blocks\.0: OwnWay computes its convolution"):
        Product.of("blocks.0", OwnWay(8, 6, 3))
    with pytest.raises(InputError, match="a ReLU is not pruned"):
        Product.of("blocks.0", nn.ReLU())


class Convolution(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Conv2d(8, 6, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)


class Unfolded(nn.Module):
    """The same, computed by a Linear on rows that somebody else unfolded."""

    def __init__(self, layer: Product) -> None:
        super().__init__()
        self.body = nn.Linear(72, 6)
        weight, bias = layer.module.weight, layer.module.bias
        assert bias is not None
        self.body.load_state_dict({"weight": layer.matrices(weight)[0].detach(), "bias": bias})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("pattern", Pattern)
def test_a_pruned_convolution_is_its_pruned_linear(method: str, pattern: Pattern) -> None:
    convolution = Convolution()
    layer = Product.of("body", convolution.body)
    linear = Unfolded(layer)
    inputs = torch.randn(4, 8, 6, 6)

    def solve(problem: LayerProblem, _: Part) -> torch.Tensor:
        pruned: Pruned = METHODS[method](problem, Quota.of(0.5, 432, pattern))
        return pruned.weights

    for model, batch in ((convolution, inputs), (linear, layer.rows(inputs)[0])):
        reconstruct(model, copy.deepcopy(model), [{"x": batch}], solve)
    torch.testing.assert_close(
        layer.matrices(convolution.body.weight)[0], linear.body.weight, rtol=1e-3, atol=1e-4
    )
    torch.testing.assert_close(convolution.body.bias, linear.body.bias, rtol=1e-3, atol=1e-4)


def test_depthwise_layers_and_those_that_read_colours_are_not_prunable() -> None:
    model = nn.ModuleDict(
        {
            "stem": nn.Conv2d(3, 8, 3),
            "depthwise": nn.Conv2d(8, 8, 3, groups=8),
            "grouped": nn.Conv2d(8, 8, 3, groups=2),
            "pointwise": nn.Conv2d(8, 16, 1),
            "classifier": nn.Linear(16, 4),
            "linear": nn.Linear(3, 3),
        }
    )
    assert list(prunable_weights(model)) == ["grouped.weight", "pointwise.weight", "linear.weight"]
