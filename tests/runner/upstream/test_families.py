"""A family is what it brings along: here pictures, and a network of convolutions."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from tests.runner.tiny_images import pictures, tiny_network
from torch import Tensor, nn

from sparse_transfer_api.errors import InputError
from sparse_transfer_runner.sparsity.masks import Masks
from sparse_transfer_runner.sparsity.patterns import Pattern, Quota
from sparse_transfer_runner.sparsity.prunable import prunable_weights
from sparse_transfer_runner.sparsity.walk import Inputs
from sparse_transfer_runner.upstream import UpstreamOptions
from sparse_transfer_runner.upstream.gradual import Schedule, masks_by_size
from sparse_transfer_runner.upstream.notes import Notes
from sparse_transfer_runner.upstream.options import GRADUAL, METHODS
from sparse_transfer_runner.upstream.pruning import Passes
from sparse_transfer_runner.upstream.recovery import Training, mean_error


class Pictures:
    """Random pictures; a model is as good as its answers."""

    def calibration(self) -> Sequence[Inputs]:
        return pictures(6, seed=1)

    def held_out(self) -> Sequence[Inputs]:
        return pictures(2, seed=2)

    def step(self, number: int) -> Inputs:
        return pictures(1, seed=100 + number)[0]

    def error(self, model: nn.Module, parent: nn.Module, inputs: Inputs) -> Tensor:
        with torch.no_grad():
            wanted: Tensor = parent(**inputs)
        missed: Tensor = model(**inputs) - wanted
        return missed.square().sum() / wanted.square().sum()

    def facts(self) -> dict[str, float]:
        return {}


def passes(
    method: str, pattern: Pattern, parent: nn.Module | None = None, **changes: object
) -> Passes:
    options = UpstreamOptions(
        model="",
        data=Path(),
        output=Path("nowhere"),
        method=method,
        pattern=pattern,
        **{"sparsity": 0.7, **changes},  # type: ignore[arg-type]
    )
    parent = parent or tiny_network()
    return Passes(
        copy.deepcopy(parent), parent, Pictures().calibration(), options, Notes(), lambda: None
    )


def zeros(model: nn.Module, pattern: Pattern) -> int:
    units = [
        weight.detach().movedim(1, -1).unflatten(-1, (-1, pattern.width)) == 0
        for weight in prunable_weights(model).values()
    ]
    return pattern.width * sum(int(each.all(-1).sum()) for each in units)


@pytest.mark.parametrize("budgets", ["uniform", "layer-error"])
@pytest.mark.parametrize("pattern", Pattern)
@pytest.mark.parametrize("method", [name for name in METHODS if name != GRADUAL])
def test_a_network_of_convolutions_is_pruned_exactly_and_its_layers_are_recorded(
    method: str, pattern: Pattern, budgets: str
) -> None:
    work = passes(method, pattern, budgets=budgets)
    if budgets == "layer-error":
        work.measure_curves(0, lambda done, total: None)
    work.divide()
    work.prune(0, lambda done, total: None)
    total = sum(weight.numel() for weight in work.weights.values())
    assert zeros(work.model, pattern) == Quota.of(0.7, total, pattern).zeros
    assert list(work.notes.layers) == work.route.layers
    assert 0 < work.notes.quality["layerErrorAfter"] <= work.notes.quality["layerErrorBefore"]
    for name in ("stem.0.weight", "blocks.0.layers.3.weight", "classifier.weight"):
        own, dense = (each.get_parameter(name) for each in (work.model, work.parent))
        assert torch.equal(own, dense), "what is not prunable stays as it is"


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_recovery_brings_a_network_nearer_to_its_parent_on_the_same_zeros(precision: str) -> None:
    material = Pictures()
    work = passes("admm", Pattern.BLOCK4)
    work.divide()
    work.prune(0, lambda done, total: None)
    held_out = material.held_out()
    before = mean_error(work.model, work.parent, material, held_out)
    masks = Masks.take(work.weights, Pattern.BLOCK4)
    training = Training(work.model, work.parent, material, 60, masks, 1e-3, precision=precision)
    training.run(lambda done: masks.check())
    assert all(weight.dtype == torch.float32 for weight in work.weights.values())
    assert mean_error(work.model, work.parent, material, held_out) < before
    assert zeros(work.model, Pattern.BLOCK4) == masks.masked


class OddInside(nn.Module):
    """A layer of six inputs between two of eight."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.odd, self.last = nn.Linear(8, 6), nn.Linear(6, 8), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.odd(self.first(x.mean((2, 3)).repeat(1, 3)[:, :8]).relu())
        return self.last(hidden.relu())


@pytest.mark.parametrize("method", METHODS)
def test_layers_that_blocks_do_not_fit_stay_dense_and_others_make_up_for_it(method: str) -> None:
    work = passes(method, Pattern.BLOCK4, parent=OddInside(), sparsity=0.5)
    work.divide()
    assert work.notes.quotas == {"first": 36, "odd": 0, "last": 44}
    if method == GRADUAL:
        masks_by_size(work.weights, work.quotas, 1.0).apply()
    else:
        work.prune(0, lambda done, total: None)
    assert [int((weight == 0).sum()) for weight in work.weights.values()] == [36, 0, 44]


def test_more_zeros_than_blocks_can_take_are_refused() -> None:
    work = passes("admm", Pattern.BLOCK4, parent=OddInside(), sparsity=0.9)
    with pytest.raises(InputError, match="only 112 weights are in layers that the pattern block4"):
        work.divide()


class Grouped(nn.Module):
    """A convolution of eight products side by side."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 32, 1)
        self.grouped = nn.Conv2d(32, 32, 3, groups=8)
        self.last = nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.grouped(self.first(x).relu()).relu()
        return self.last(hidden.mean((2, 3)))


def test_errors_of_a_layer_of_many_products_are_relative_to_the_whole_layer() -> None:
    work = passes("admm", Pattern.UNSTRUCTURED, parent=Grouped(), budgets="layer-error")
    work.measure_curves(0, lambda done, total: None)
    errors = list(work.notes.curves["grouped"].values())
    assert errors == sorted(errors)
    assert 0 < errors[-1] < 1, "all weights at zero would miss everything: 1"


@torch.no_grad()
def block_outputs(model: nn.Module, batches: Sequence[Inputs]) -> Tensor:
    given: list[Tensor] = []
    model.get_submodule("blocks.1").register_forward_hook(lambda _, __, out: given.append(out))
    for batch in batches:
        model(**batch)
    return torch.cat(given)


def test_tuned_blocks_give_more_of_what_the_dense_ones_give() -> None:
    errors = {}
    for steps in (0, 40):
        work = passes("magnitude", Pattern.BLOCK4, block_steps=steps)
        work.divide()
        work.prune(0, lambda done, total: None)
        own, wanted = (block_outputs(model, work.batches) for model in (work.model, work.parent))
        errors[steps] = float((own - wanted).square().mean())
        assert zeros(work.model, Pattern.BLOCK4) == sum(q.zeros for q in work.quotas.values())
    assert errors[40] < errors[0]


@pytest.mark.parametrize("pattern", Pattern)
def test_a_network_is_pruned_gradually(pattern: Pattern) -> None:
    work = passes(GRADUAL, pattern, gradual_steps=20)
    work.divide()
    weights = work.weights
    seen: list[float] = []
    training = Training(
        work.model,
        work.parent,
        Pictures(),
        25,
        masks_by_size(weights, work.quotas, 0.0),
        1e-3,
        Schedule(20, 5),
        work.quotas,
    )
    training.run(lambda done: seen.append(training.masks.sparsity))
    expected = [1 - (1 - step / 20) ** 3 for step in (0, 5, 10, 15, 20)]
    assert seen[::5] == [pytest.approx(0.7 * share, abs=0.01) for share in expected]
    assert zeros(work.model, pattern) == sum(each.zeros for each in work.quotas.values())
    training.masks.check()
