"""The points at which latencies are measured, and inputs of their shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparse_transfer_api.errors import InputError, Problem
from sparse_transfer_api.spec import SparseTransferSpec
from sparse_transfer_runner.use_cases.protocol import Batch

DEFAULT_SEQUENCE = 128


@dataclass(frozen=True)
class Point:
    """One shape of inputs; ``sequence`` is None where inputs have no length."""

    batch: int
    sequence: int | None

    def __str__(self) -> str:
        tokens = "" if self.sequence is None else f", {self.sequence} tokens"
        return f"batch {self.batch}{tokens}"


@dataclass(frozen=True)
class HeadlinePoint:
    """The one point that stands for the experiment, and its engine."""

    engine: str
    point: Point


def headline_point(spec: SparseTransferSpec, longest: int | None) -> HeadlinePoint:
    """Returns the headline's engine and point, defaults applied.

    Args:
        spec: The experiment's.
        longest: Tokens that the model can take; None where inputs have no length.
    """
    wanted = spec.benchmark.headline
    engine = wanted.engine or spec.export.targets[0]
    sequence = None
    if longest is not None:
        sequence = wanted.sequence or min(DEFAULT_SEQUENCE, longest)
    return HeadlinePoint(str(engine), Point(wanted.batch, sequence))


def measured_points(spec: SparseTransferSpec, longest: int | None) -> tuple[Point, ...]:
    """Returns all points to measure, the headline's first.

    Raises:
        InputError: A length is more than the model can take.
    """
    headline = headline_point(spec, longest).point
    lengths: Sequence[int | None] = (headline.sequence,)
    if longest is not None:
        lengths = spec.benchmark.sequence_lengths or lengths
    points = (headline, *all_points(spec.benchmark.batch_sizes, lengths))
    too_long = {p.sequence for p in points if p.sequence and longest and p.sequence > longest}
    if too_long:
        raise InputError(
            "spec.benchmark asks for inputs that the model cannot take",
            [
                Problem("spec.benchmark", f"{length} tokens, but the model takes at most {longest}")
                for length in sorted(too_long)
            ],
        )
    return tuple(dict.fromkeys(points))


def all_points(
    batch_sizes: Sequence[int], sequence_lengths: Sequence[int | None]
) -> tuple[Point, ...]:
    """Returns every combination."""
    return tuple(Point(batch, length) for length in sequence_lengths for batch in batch_sizes)


def longest_input(config: Mapping[str, Any], trained_length: int | None) -> int | None:
    """Returns how many tokens a model can take; None where inputs have no length.

    Args:
        config: The model's ``config.json``.
        trained_length: The length that it was trained with, None where inputs have none.
    """
    if trained_length is None:
        return None
    limit = config.get("max_position_embeddings")
    # Without a table of positions, as in models with relative ones, there is no limit to keep.
    return int(limit) if limit else max(trained_length, DEFAULT_SEQUENCE)


def shaped(example: Batch, point: Point) -> Batch:
    """Returns one example row repeated to a point's batch and length."""
    return {name: _shaped(values, point) for name, values in example.items()}


def _shaped(values: NDArray[Any], point: Point) -> NDArray[Any]:
    if point.sequence is not None and values.ndim == 2:
        values = values[:, np.arange(point.sequence) % values.shape[1]]
    return np.repeat(values[:1], point.batch, axis=0)
