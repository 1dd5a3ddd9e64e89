"""What upstream work has found so far: part of every checkpoint, and in the end of the record."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sparse_transfer_runner.catalog.foundation import LayerQuality
from sparse_transfer_runner.sparsity.methods import Pruned
from sparse_transfer_runner.sparsity.solve import LayerProblem

_DIGITS = 6


@dataclass
class Notes:
    """Findings.

    Args:
        curves: Of each layer, the error by zeros.
        quotas: Zeros of each layer.
        layers: What became of each layer.
        quality: Figures of the whole.
    """

    curves: dict[str, dict[int, float]] = field(default_factory=dict)
    quotas: dict[str, int] = field(default_factory=dict)
    layers: dict[str, LayerQuality] = field(default_factory=dict)
    quality: dict[str, float] = field(default_factory=dict)
    _earlier: float = 0.0
    _begun: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Of work, that of earlier processes included."""
        return self._earlier + time.monotonic() - self._begun

    def state(self) -> dict[str, Any]:
        """Returns them as plain values."""
        return {
            "curves": {name: dict(points) for name, points in self.curves.items()},
            "quotas": dict(self.quotas),
            "layers": {name: each.to_json_dict() for name, each in self.layers.items()},
            "quality": dict(self.quality),
            "seconds": self.seconds,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes over what another process found."""
        self.curves, self.quotas, self.quality = (
            dict(state[name]) for name in ("curves", "quotas", "quality")
        )
        self.layers = {
            name: LayerQuality.model_validate(each) for name, each in state["layers"].items()
        }
        self._earlier, self._begun = state["seconds"], time.monotonic()


@dataclass
class Tally:
    """Sums over the products of one layer.

    Args:
        before: Squared error with the chosen weights as they were.
        after: With the weights as the method set them.
        energy: Of the wanted outputs.
        seconds: Of the method.
    """

    before: float = 0.0
    after: float = 0.0
    energy: float = 0.0
    seconds: float = 0.0

    def add(self, problem: LayerProblem, pruned: Pruned, seconds: float) -> None:
        """Adds a solved product."""
        assert problem.energy is not None, "statistics are collected with energies"
        self.before += problem.error(problem.start * pruned.kept) * problem.energy
        self.after += problem.error(pruned.weights) * problem.energy
        self.energy += problem.energy
        self.seconds += seconds

    def quality(self, name: str, weights: int, zeros: int) -> LayerQuality:
        """Returns the record of the layer."""
        return LayerQuality(
            name=name,
            weights=weights,
            sparsity=zeros / weights,
            error_before=self._relative(self.before),
            error_after=self._relative(self.after),
            seconds=round(self.seconds, 3),
        )

    def _relative(self, error: float) -> float:
        return round(error / self.energy, _DIGITS) if self.energy else 0.0


def weighted_mean(layers: Mapping[str, LayerQuality], which: str) -> float | None:
    """Returns the mean of a layers' error, weights counting alike; None where one is unknown."""
    errors = [(each.weights, getattr(each, which)) for each in layers.values()]
    if not errors or any(error is None for _, error in errors):
        return None
    total = sum(weights for weights, _ in errors)
    return round(sum(weights * error for weights, error in errors) / total, _DIGITS)
