from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.runner.exported_model import ExportedModel, numpy_batch, write_exported

from sparse_transfer_runner.engines.forms import InputScale
from sparse_transfer_runner.packaging.calibration import calibrate, most_sensitive


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> ExportedModel:
    return write_exported(tmp_path_factory.mktemp("exported"))


def test_modules_that_read_one_tensor_get_one_scale(exported: ExportedModel) -> None:
    scales = exported.quantizable.scales
    for layer in range(2):
        prefix = f"bert.encoder.layer.{layer}.attention.self"
        assert len({scales[f"{prefix}.{name}"] for name in ("query", "key", "value")}) == 1


def test_a_range_is_the_mean_of_the_batches_extremes(exported: ExportedModel) -> None:
    name = "bert.encoder.layer.1.intermediate.dense"
    seen: list[torch.Tensor] = []
    handle = exported.linear[name].register_forward_pre_hook(
        lambda module, inputs: seen.append(inputs[0])
    )
    batches = [numpy_batch(seed) for seed in (1, 2)]
    try:
        scale = calibrate(exported.module, {name: exported.linear[name]}, batches)[name]
    finally:
        handle.remove()
    low = sum(float(values.min()) for values in seen) / 2
    high = sum(float(values.max()) for values in seen) / 2
    assert scale == InputScale.of_range(low, high)


def test_the_layer_with_the_coarsest_input_is_the_most_sensitive(exported: ExportedModel) -> None:
    coarse = "bert.encoder.layer.0.output.dense"
    scales = dict(exported.quantizable.scales)
    scales[coarse] = InputScale(scales[coarse].scale * 40, scales[coarse].zero_point)
    order = most_sensitive(exported.module, exported.linear, scales, [numpy_batch(1)])
    assert order[0] == coarse
    assert sorted(order) == sorted(exported.linear)


def test_calibration_leaves_no_hooks_behind(exported: ExportedModel, tmp_path: Path) -> None:
    calibrate(exported.module, exported.linear, [numpy_batch(1)])
    assert not any(module._forward_pre_hooks for module in exported.linear.values())
