"""Passes over a model's layers: measuring what zeros cost, pruning, and measuring what was made."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sparse_transfer_runner.sparsity.blockwise import Part, Solve, reconstruct
from sparse_transfer_runner.sparsity.budgets import Curve, allocate, measured_quotas, uniform
from sparse_transfer_runner.sparsity.masks import Masks
from sparse_transfer_runner.sparsity.methods import METHODS, Pruned
from sparse_transfer_runner.sparsity.normalization import batch_norms, reestimate
from sparse_transfer_runner.sparsity.patterns import Quota, fits
from sparse_transfer_runner.sparsity.prunable import prunable_weights
from sparse_transfer_runner.sparsity.refinement import refine
from sparse_transfer_runner.sparsity.solve import LayerProblem
from sparse_transfer_runner.sparsity.tuning import Tuning
from sparse_transfer_runner.sparsity.walk import Call, Inputs, Route, route_through

from .notes import Notes, Tally, weighted_mean
from .options import LAYER_ERROR, UpstreamOptions

_CURVES_BY = METHODS["sparsegpt"]
"""What layers' errors are measured with where the method trains: the quickest that solves."""

OnUnit = Callable[[int, int], None]
Look = Callable[[], None]


@dataclass
class Passes:
    """The passes over one model.

    Args:
        model: Changed in place.
        parent: Dense.
        batches: Calibration data.
        options: The user's.
        notes: Findings; filled.
        look: Called between two pieces of work.
    """

    model: nn.Module
    parent: nn.Module
    batches: Sequence[Inputs]
    options: UpstreamOptions
    notes: Notes
    look: Look

    def __post_init__(self) -> None:
        self.route: Route = route_through(self.parent, self.batches[0])
        self._method = METHODS.get(self.options.method, _CURVES_BY)
        self._tallies: dict[str, Tally] = {}

    @property
    def weights(self) -> dict[str, nn.Parameter]:
        """The prunable weights."""
        return prunable_weights(self.model)

    @property
    def quotas(self) -> dict[str, Quota]:
        """Each prunable weight's zeros, by parameter name."""
        pattern = self.options.zeros_as
        return {
            name: Quota(self.notes.quotas[_layer(name)], pattern)
            if fits(pattern, weight)
            else Quota(0)
            for name, weight in self.weights.items()
        }

    @property
    def _fitting(self) -> dict[str, int]:
        """Weights of the layers that the pattern fits; the others stay dense."""
        pattern = self.options.zeros_as
        return {
            _layer(name): weight.numel()
            for name, weight in self.weights.items()
            if fits(pattern, weight)
        }

    @property
    def _total(self) -> Quota:
        weights = sum(weight.numel() for weight in self.weights.values())
        return Quota.of(self.options.sparsity, weights, self.options.zeros_as)

    def measure_curves(self, finished: int, on_unit: OnUnit) -> None:
        """Measures each layer's error at a few sparsities; the model stays as it is."""
        pattern, sparsity = self.options.zeros_as, self.options.sparsity
        uniform(self._fitting, self._total)  # says at once where there is no room
        energy = 0.0

        def solve(problem: LayerProblem, part: Part) -> Tensor:
            nonlocal energy
            name, weight = part.layer.name, part.layer.module.weight
            points = self.notes.curves.setdefault(name, {})
            if part.group == 0:
                points.clear()
                energy = 0.0
            assert problem.energy is not None, "statistics are collected with energies"
            energy += problem.energy
            if fits(pattern, weight):
                for quota in dict.fromkeys(measured_quotas(sparsity, weight.numel(), pattern)):
                    own = quota.split(part.layer.groups)[part.group]
                    error = problem.error(self._method(problem, own).weights) * problem.energy
                    points[quota.zeros] = points.get(quota.zeros, 0.0) + error
                    self.look()
            if part.group == part.layer.groups - 1:
                # Relative to the whole layer: a layer of many products costs no more for that.
                points.update({zeros: each / (energy or 1.0) for zeros, each in points.items()})
            return problem.start

        self._pass(solve, finished, on_unit)

    def divide(self) -> None:
        """Decides how many zeros each layer gets.

        Raises:
            InputError: The layers that the pattern fits are too few for the sparsity.
        """
        given = uniform(self._fitting, self._total)
        if self.options.budgets == LAYER_ERROR:
            curves = self.notes.curves
            measured = {name: Curve.measured(curves[name]) for name in self._fitting}
            given = allocate(measured, self._total)
        self.notes.quotas = {_layer(name): given.get(_layer(name), 0) for name in self.weights}

    def prune(self, finished: int, on_unit: OnUnit) -> None:
        """Prunes unit after unit, from the one on in which earlier work was broken off."""
        self._reset(finished)
        quotas = self.quotas

        def solve(problem: LayerProblem, part: Part) -> Tensor:
            quota = quotas[f"{part.layer.name}.weight"]
            pruned, seconds = _timed(
                lambda: self._pruned(problem, quota.split(part.layer.groups)[part.group])
            )
            self._note(problem, part, pruned, seconds, quota.zeros)
            return pruned.weights

        self._pass(solve, finished, on_unit, tuned=True)
        outside = [norm for norm in batch_norms(self.model) if norm not in self._inside()]
        if outside:
            reestimate(outside, lambda: [self.model(**batch) for batch in self.batches])
        self._summarize("error_before", "layerErrorBefore")
        self._summarize("error_after", "layerErrorAfter")

    def measure_recovered(self, on_unit: OnUnit) -> None:
        """Measures the layers of the model as it is now, which stays so."""
        sums: dict[str, Tally] = {}

        def solve(problem: LayerProblem, part: Part) -> Tensor:
            current = _current(part)
            sums.setdefault(part.layer.name, Tally()).add(
                problem, Pruned(current, current != 0), 0.0
            )
            return current

        self._pass(solve, 0, on_unit)
        weights = self.weights
        for name, tally in sums.items():
            size = weights[f"{name}.weight"].numel()
            found = tally.quality(name, size, self.notes.quotas[name])
            nothing = dict.fromkeys(("error_before", "error_after", "seconds"))
            own = self.notes.layers.get(name) or found.model_copy(update=nothing)
            self.notes.layers[name] = own.model_copy(update={"error_recovered": found.error_after})
        self._summarize("error_recovered", "layerErrorRecovered")

    def _pass(self, solve: Solve, finished: int, on_unit: OnUnit, tuned: bool = False) -> None:
        reconstruct(
            self.model,
            self.parent,
            self.batches,
            solve,
            on_unit,
            finished=finished,
            look=self.look,
            energies=True,
            tune=self._tune if tuned else None,
        )

    def _pruned(self, problem: LayerProblem, quota: Quota) -> Pruned:
        pruned = self._method(problem, quota)
        if not self.options.refine_rounds:
            return pruned
        return refine(problem, pruned, quota.pattern, self.options.refine_rounds)

    def _note(
        self, problem: LayerProblem, part: Part, pruned: Pruned, seconds: float, zeros: int
    ) -> None:
        name = part.layer.name
        if part.group == 0:
            self._tallies[name] = Tally()
        tally = self._tallies[name]
        tally.add(problem, pruned, seconds)
        weights = part.layer.module.weight.numel()
        self.notes.layers[name] = tally.quality(name, weights, zeros)

    def _tune(self, block: nn.Module, calls: Sequence[Call], wanted: Sequence[Call]) -> None:
        def run() -> None:
            for call in calls:
                call.run(block)

        norms = batch_norms(block)
        if norms:
            reestimate(norms, run)
        if not self.options.block_steps:
            return
        masks = Masks.take(prunable_weights(block), self.options.zeros_as)
        seed = self.options.seed
        Tuning(self.options.block_steps, seed, look=self.look).run(block, calls, wanted, masks)

    def _reset(self, finished: int) -> None:
        """Puts back what earlier work may have begun to change."""
        blocks, originals = self.route.blocks(self.model), self.route.blocks(self.parent)
        for unit in self.route.units[finished:]:
            if unit.block is not None:
                blocks[unit.block].load_state_dict(originals[unit.block].state_dict())

    def _inside(self) -> set[nn.Module]:
        solved = {unit.block for unit in self.route.units if unit.block is not None}
        blocks = self.route.blocks(self.model)
        return {norm for index in solved for norm in batch_norms(blocks[index])}

    def _summarize(self, which: str, name: str) -> None:
        mean = weighted_mean(self.notes.layers, which)
        if mean is not None:
            self.notes.quality[name] = mean


def _layer(weight: str) -> str:
    return weight.removesuffix(".weight")


def _current(part: Part) -> Tensor:
    """Returns the weights of a layer's product as they are, its bias as the last column."""
    module = part.layer.module
    weights = part.of(module.weight.detach())
    if module.bias is None:
        return weights
    bias = module.bias.detach().view(part.layer.groups, -1)[part.group]
    return torch.cat([weights, bias[:, None]], dim=1)


def _timed(work: Callable[[], Pruned]) -> tuple[Pruned, float]:
    begun = time.monotonic()
    done = work()
    return done, time.monotonic() - begun
