"""Activation ranges of a model that was not trained for INT8, and which of its layers suffer.

This is what dense INT8 baselines are made from; they must be as good as they can cheaply be, or
sparse models would be flattered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from sparse_transfer_runner.engines.forms import ACTIVATION_LEVELS, InputScale
from sparse_transfer_runner.quantization.fake_quantize import (
    fake_quantize_weight,
    weight_of,
    with_weight,
)
from sparse_transfer_runner.use_cases.protocol import Batch

ROWS = 256
"""Training rows to calibrate on; ranges hardly move beyond that."""
BATCH = 32


def calibrate(
    model: nn.Module, modules: Mapping[str, nn.Module], batches: Iterable[Batch]
) -> dict[str, InputScale]:
    """Returns the input scale of each module: the mean over batches of the batches' extremes.

    The mean, as in training's running ranges, is less moved by single outliers than the extremes
    over all rows.

    Args:
        model: In evaluation mode.
        modules: Its layers to quantize, by name.
        batches: Model inputs of training rows.
    """
    bounds: dict[str, list[tuple[float, float]]] = {name: [] for name in modules}

    def observe(name: str, module: nn.Module, values: Tensor) -> None:
        low, high = values.aminmax()
        bounds[name].append((float(low), float(high)))

    _run_observed(model, modules, batches, observe)
    scales = {}
    for name, found in bounds.items():
        low, high = np.mean(found, axis=0)
        scales[name] = InputScale.of_range(float(low), float(high))
    return scales


def most_sensitive(
    model: nn.Module,
    modules: Mapping[str, nn.Module],
    scales: Mapping[str, InputScale],
    batches: Iterable[Batch],
) -> list[str]:
    """Returns the module names, that which INT8 disturbs most first.

    The measure is the squared error of the module's output relative to its squared size.
    """
    errors = dict.fromkeys(modules, 0.0)
    sizes = dict.fromkeys(modules, 0.0)

    def observe(name: str, module: nn.Module, values: Tensor) -> None:
        scale = scales[name]
        rounded = torch.fake_quantize_per_tensor_affine(
            values, scale.scale, scale.zero_point, 0, ACTIVATION_LEVELS
        )
        weight = weight_of(module)
        # The bias, which rounding does not touch, must not make a layer look robust.
        bias = with_weight(module, torch.zeros_like(weight), values)
        exact = with_weight(module, weight, values) - bias
        error = with_weight(module, fake_quantize_weight(weight), rounded) - bias - exact
        errors[name] += float(error.square().sum())
        sizes[name] += float(exact.square().sum())

    _run_observed(model, modules, batches, observe)
    return sorted(modules, key=lambda name: -errors[name] / max(sizes[name], 1e-30))


Observer = Callable[[str, nn.Module, Tensor], None]


def _run_observed(
    model: nn.Module,
    modules: Mapping[str, nn.Module],
    batches: Iterable[Batch],
    observe: Observer,
) -> None:
    model.eval()
    with torch.inference_mode(), _observed(modules, observe):
        for batch in batches:
            model(**{name: torch.as_tensor(values) for name, values in batch.items()})


@contextmanager
def _observed(modules: Mapping[str, nn.Module], observe: Observer) -> Iterator[None]:
    def hook(name: str) -> Callable[[nn.Module, Sequence[Tensor]], None]:
        def before(module: nn.Module, inputs: Sequence[Tensor]) -> None:
            observe(name, module, inputs[0])

        return before

    handles = [module.register_forward_pre_hook(hook(name)) for name, module in modules.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
