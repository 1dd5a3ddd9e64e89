from __future__ import annotations

import pytest
import torch
from tests.runner.tiny_models import random_batch, tiny_classifier
from torch import nn

from sparse_transfer_runner.quantization.fake_quantize import (
    FakeQuantizer,
    fake_quantize_weight,
    weight_scales,
)
from sparse_transfer_runner.sparsity.prunable import prunable_weights


def quantizer_of(model: nn.Module) -> FakeQuantizer:
    names = (name.removesuffix(".weight") for name in prunable_weights(model))
    return FakeQuantizer({name: model.get_submodule(name) for name in names})  # type: ignore[misc]


def test_weights_are_rounded_per_channel_and_zeros_stay_exact() -> None:
    weight = torch.tensor([[0.0, 1.27, -0.634], [100.0, 0.0, 0.4]])
    rounded = fake_quantize_weight(weight)
    assert weight_scales(weight).tolist() == pytest.approx([0.01, 100 / 127])
    assert rounded.flatten().tolist() == pytest.approx([0, 1.27, -0.63, 100, 0, 100 / 127])
    assert rounded[0, 0] == 0
    assert rounded[1, 1] == 0


def test_layers_with_one_input_learn_one_scale() -> None:
    model = tiny_classifier().train()
    quantizer = quantizer_of(model)
    quantizer.attach()
    for seed in range(3):
        model(**random_batch(seed))
    scales = quantizer.record().modules
    attention = "bert.encoder.layer.0.attention.self"
    assert (
        scales[f"{attention}.query"] == scales[f"{attention}.key"] == scales[f"{attention}.value"]
    )
    assert len({each.input_scale for each in scales.values()}) == 8  # 4 distinct inputs a block


def test_attached_it_rounds_and_detached_it_leaves_the_model_as_it_was() -> None:
    model = tiny_classifier()
    batch = random_batch(0)
    plain = model(**batch).logits
    quantizer = quantizer_of(model)
    quantizer.attach()
    model.train()
    model(**batch)
    model.eval()
    rounded = model(**batch).logits
    quantizer.detach()
    assert not torch.equal(rounded, plain)
    assert torch.allclose(rounded, plain, atol=0.1)
    assert torch.equal(model(**batch).logits, plain)


def test_ranges_stand_still_in_evaluation_and_with_observers_off() -> None:
    model = tiny_classifier().train()
    quantizer = quantizer_of(model)
    quantizer.attach()
    model(**random_batch(0))
    learned = quantizer.record()
    model.eval()
    model(**random_batch(1))
    model.train()
    quantizer.observing = False
    model(**random_batch(2))
    assert quantizer.record() == learned


def test_its_state_survives_a_checkpoint() -> None:
    model = tiny_classifier().train()
    quantizer = quantizer_of(model)
    quantizer.attach()
    model(**random_batch(0))
    restored = quantizer_of(model)
    restored.load_state_dict(quantizer.state_dict())
    assert restored.record() == quantizer.record()


def test_gradients_reach_the_weights() -> None:
    model = tiny_classifier().train()
    quantizer = quantizer_of(model)
    quantizer.attach()
    model(**random_batch(0)).logits.sum().backward()
    assert all(float(weight.grad.abs().sum()) > 0 for weight in prunable_weights(model).values())  # type: ignore[union-attr]
