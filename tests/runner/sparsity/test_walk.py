"""The way through models: stacks of blocks, layers outside them, and models without any."""

from __future__ import annotations

import copy

import pytest
import torch
from tests.runner.tiny_images import pictures, tiny_network
from tests.runner.tiny_models import random_batch, tiny_classifier
from torch import Tensor, nn

from sparse_transfer_api.errors import InputError
from sparse_transfer_runner.sparsity.blockwise import Part, reconstruct
from sparse_transfer_runner.sparsity.methods import by_admm
from sparse_transfer_runner.sparsity.normalization import batch_norms, reestimate
from sparse_transfer_runner.sparsity.patterns import Pattern, Quota
from sparse_transfer_runner.sparsity.prunable import prunable_weights
from sparse_transfer_runner.sparsity.solve import LayerProblem
from sparse_transfer_runner.sparsity.walk import route_through


def half_in_blocks(problem: LayerProblem, _: Part) -> Tensor:
    weights = problem.start[:, : problem.columns].numel()
    return by_admm(problem, Quota.of(0.5, weights, Pattern.BLOCK4)).weights


def output_error(model: nn.Module, reference: nn.Module) -> float:
    batch = pictures(1, seed=9)[0]
    with torch.no_grad():
        wanted = reference(**batch)
        return float((model(**batch) - wanted).square().sum() / wanted.square().sum())


def test_an_encoder_is_a_stack_of_blocks_whose_queries_keys_and_values_read_alike() -> None:
    route = route_through(tiny_classifier(), random_batch(0))
    assert route.stack == "bert.encoder.layer"
    assert [unit.block for unit in route.units] == [0, 1]
    prefix = "bert.encoder.layer.0.attention.self."
    assert route.units[0].groups[0] == [f"{prefix}{name}" for name in ("query", "key", "value")]
    assert [len(group) for group in route.units[0].groups] == [3, 1, 1, 1]


def test_a_network_s_layers_outside_its_blocks_come_after_or_before_them() -> None:
    route = route_through(tiny_network(), pictures()[0])
    assert route.stack == "blocks"
    assert [unit.block for unit in route.units] == [0, 1, None]
    assert route.layers == [
        *("blocks.0.layers.0", "blocks.0.layers.6", "blocks.1.layers.0", "blocks.1.layers.6"),
        "last",
    ]


class Branches(nn.Module):
    """Blocks that do not read one another, and a second one that changes its input in place."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.branches = nn.ModuleList([nn.Linear(8, 8), nn.Linear(8, 8)])
        self.after = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(8, 8))

    def forward(self, x: Tensor) -> Tensor:
        joined: Tensor = self.branches[0](x) + self.branches[1](x)
        return self.after(joined)


def test_blocks_that_are_no_chain_are_walked_layer_by_layer() -> None:
    route = route_through(Branches(), {"x": torch.randn(4, 8)})
    assert route.stack is None
    assert [unit.groups for unit in route.units] == [[["branches.0", "branches.1"]], [["after.1"]]]


def test_a_network_is_solved_the_same_through_its_blocks_and_without_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reference = tiny_network()
    through, without = copy.deepcopy(reference), copy.deepcopy(reference)
    units: list[tuple[int, int]] = []

    def note(done: int, total: int) -> None:
        units.append((done, total))

    reconstruct(through, reference, pictures(), half_in_blocks, note)
    monkeypatch.setattr("sparse_transfer_runner.sparsity.walk._stack", lambda *_: None)
    reconstruct(without, reference, pictures(), half_in_blocks, note)
    assert units == [(1, 3), (2, 3), (3, 3), (1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]
    for own, other in zip(*map(prunable_weights, (through, without)), strict=True):
        weight = through.get_parameter(own).detach()
        torch.testing.assert_close(weight, without.get_parameter(other).detach())
        blocks = weight.movedim(1, -1).unflatten(-1, (-1, 4))
        assert int((blocks == 0).all(-1).sum()) == round(blocks[..., 0].numel() / 2)


def test_layers_after_the_blocks_are_solved_like_those_in_them() -> None:
    reference = tiny_network()
    model = copy.deepcopy(reference)
    with torch.no_grad():
        model.last.weight.zero_()
        assert model.last.bias is not None
        model.last.bias.zero_()
    reconstruct(model, reference, pictures(), lambda problem, _: problem.start)
    assert output_error(model, reference) < 1e-10


def test_statistics_of_normalizations_are_those_of_the_batches() -> None:
    model = tiny_network()
    norms = batch_norms(model)
    stem = model.stem[1]
    assert isinstance(stem, nn.BatchNorm2d)
    seen: list[Tensor] = []
    stem.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    reestimate(norms, lambda: [model(**batch) for batch in pictures(3, seed=5)])
    means = torch.stack([each.mean((0, 2, 3)) for each in seen]).mean(0)
    torch.testing.assert_close(stem.running_mean, means)
    assert not any(norm.training for norm in norms)
    assert all(norm.momentum == 0.1 for norm in norms)


class Idle(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used, self.idle = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.used(x)


def test_layers_that_take_no_part_are_named() -> None:
    with pytest.raises(InputError, match="idle and 0 other prunable layers take no part"):
        route_through(Idle(), {"x": torch.zeros(1, 8)})
