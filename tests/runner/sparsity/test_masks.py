from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.runner.tiny_models import random_batch, tiny_classifier
from torch import nn

from sparse_transfer_api.errors import InputError
from sparse_transfer_runner.sparsity.masks import MaskBroken, Masks
from sparse_transfer_runner.sparsity.prunable import prunable_weights, sparsity_of
from sparse_transfer_runner.sparsity.solve import magnitude_mask


def sparse_classifier(sparsity: float = 0.5) -> nn.Module:
    model = tiny_classifier()
    with torch.no_grad():
        for weight in prunable_weights(model).values():
            weight.mul_(magnitude_mask(weight, sparsity))
    return model


def train_a_little(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 5) -> None:
    for step in range(steps):
        loss = model(**random_batch(step)).logits.square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def test_embeddings_pooler_and_head_are_not_prunable() -> None:
    names = set(prunable_weights(tiny_classifier()))
    assert len(names) == 12
    assert all(name.startswith("bert.encoder.layer.") for name in names)


@pytest.mark.parametrize("optimizer", [torch.optim.AdamW, torch.optim.SGD])
def test_zeros_stay_zero_through_training(optimizer: type[torch.optim.Optimizer]) -> None:
    model = sparse_classifier()
    masks = Masks.take(prunable_weights(model))
    before = {name: weight.detach().clone() for name, weight in masks.weights.items()}
    working = optimizer(model.parameters(), lr=0.1, weight_decay=0.1)  # type: ignore[call-arg]
    masks.attach(working)
    train_a_little(model, working)
    masks.check()
    assert sparsity_of(masks.weights) == pytest.approx(0.5)
    assert all(not torch.equal(weight, before[name]) for name, weight in masks.weights.items())


def test_a_weight_that_trains_to_zero_is_not_pruned_for_ever(tmp_path: Path) -> None:
    masks = Masks.take(prunable_weights(sparse_classifier()))
    before = {name: bits.clone() for name, bits in masks.bits.items()}
    name, weight = next(iter(masks.weights.items()))
    alive = tuple(masks.kept[name].nonzero()[0])
    with torch.no_grad():
        weight[alive] = 0.0
    masks.save(tmp_path / "masks.safetensors")
    saved = load_file(tmp_path / "masks.safetensors")
    assert saved[name][alive] == 1
    assert sum(int((mask == 0).sum()) for mask in saved.values()) == masks.masked
    masks.require(before)


def test_masks_hold_when_a_wrapper_renames_the_modules() -> None:
    model = sparse_classifier()
    masks = Masks.take(prunable_weights(model))
    wrapped = nn.ModuleDict({"inner": model})
    working = torch.optim.AdamW(wrapped.parameters(), lr=0.05)
    masks.attach(working)
    train_a_little(model, working)
    masks.check()


def test_a_revived_weight_is_noticed() -> None:
    model = sparse_classifier()
    masks = Masks.take(prunable_weights(model))
    name, weight = next(iter(masks.weights.items()))
    dead = (masks.kept[name] == 0).nonzero()[0]
    with torch.no_grad():
        weight[tuple(dead)] = 1e-12
    with pytest.raises(MaskBroken, match=name):
        masks.check()


def test_a_bit_a_weight_tells_one_foundation_from_another() -> None:
    model = sparse_classifier()
    masks = Masks.take(prunable_weights(model))
    assert 8 * sum(bits.numel() for bits in masks.bits.values()) == masks.total
    masks.require(masks.bits)
    Masks.take(prunable_weights(sparse_classifier())).require(masks.bits)
    with pytest.raises(InputError, match=r"set spec\.model\.revision"):
        Masks.take(prunable_weights(sparse_classifier(0.6))).require(masks.bits)
    name = next(iter(masks.weights))
    with pytest.raises(InputError, match="changed since"):
        masks.require({other: bits for other, bits in masks.bits.items() if other != name})


def test_a_copy_of_the_weights_is_masked_like_them() -> None:
    model = nn.Linear(4, 3)
    with torch.no_grad():
        model.weight[0] = 0
    masks = Masks.take({"weight": model.weight})
    copies = {"weight": torch.ones(3, 4), "other": torch.ones(2)}
    masks.apply_to(copies)
    assert copies["weight"].sum(dim=1).tolist() == [0, 4, 4]
    assert copies["other"].tolist() == [1, 1]
