from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import suppress

import pytest
import torch
from tests.runner.tiny_models import WORDS, random_batch, tiny_classifier
from torch import nn
from transformers import DistilBertConfig, DistilBertForSequenceClassification

from sparse_transfer_api.errors import InputError
from sparse_transfer_runner.sparsity.blockwise import Part, reconstruct
from sparse_transfer_runner.sparsity.masks import Masks
from sparse_transfer_runner.sparsity.methods import by_admm
from sparse_transfer_runner.sparsity.patterns import Quota
from sparse_transfer_runner.sparsity.prunable import prunable_weights
from sparse_transfer_runner.sparsity.solve import LayerProblem, magnitude_mask
from sparse_transfer_runner.sparsity.start import start_from_teacher

BATCHES = [random_batch(seed) for seed in range(8)]


def difference(model: nn.Module, reference: nn.Module) -> float:
    with torch.no_grad():
        batch = random_batch(99)
        wanted = reference(**batch, output_hidden_states=True).hidden_states[-1]
        got = model(**batch, output_hidden_states=True).hidden_states[-1]
        return float((got - wanted).square().mean())


def tiny_distilbert() -> nn.Module:
    torch.manual_seed(0)
    return DistilBertForSequenceClassification(
        DistilBertConfig(vocab_size=len(WORDS), dim=16, n_layers=2, n_heads=2, hidden_dim=32)
    ).eval()


def half_pruned(problem: LayerProblem, _: Part) -> torch.Tensor:
    return by_admm(problem, Quota.of(0.5, problem.start[:, : problem.columns].numel())).weights


@pytest.mark.parametrize("build", [tiny_classifier, tiny_distilbert])
def test_every_block_is_pruned_to_the_asked_sparsity(build: object) -> None:
    reference = build()  # type: ignore[operator]
    model = copy.deepcopy(reference)
    blocks: list[int] = []
    reconstruct(
        model,
        reference,
        BATCHES,
        half_pruned,
        lambda done, _: blocks.append(done),
    )
    assert blocks == [1, 2]
    for weight in prunable_weights(model).values():
        assert float((weight == 0).float().mean()) == pytest.approx(0.5, abs=0.01)


def test_an_unpruned_reconstruction_changes_nothing() -> None:
    reference = tiny_classifier()
    model = copy.deepcopy(reference)
    reconstruct(model, reference, BATCHES, lambda problem, _: problem.start)
    assert difference(model, reference) < 1e-10


def test_the_least_squares_start_is_nearer_to_the_teacher_than_its_masked_weights() -> None:
    teacher = tiny_classifier(seed=1)
    foundation = tiny_classifier(seed=1)
    with torch.no_grad():
        for weight in prunable_weights(foundation).values():
            weight.mul_(magnitude_mask(weight, 0.6))
    masked = copy.deepcopy(foundation)
    masks = Masks.take(prunable_weights(foundation))
    start_from_teacher(foundation, teacher, masks, BATCHES)
    masks.check()
    assert difference(foundation, teacher) < difference(masked, teacher)
    assert torch.equal(foundation.classifier.weight, teacher.classifier.weight)  # type: ignore[arg-type,union-attr]


def test_a_model_without_prunable_layers_is_refused() -> None:
    model = nn.Sequential(nn.ReLU())
    with pytest.raises(InputError, match="no prunable Linear or convolution layers"):
        reconstruct(model, model, [{"input": torch.zeros(1, 2)}], half_pruned)


class BrokenOffError(Exception):
    pass


def broken_off_after(looks: int) -> Callable[[], None]:
    left = iter(range(looks))

    def look() -> None:
        if next(left, None) is None:
            raise BrokenOffError

    return look


@pytest.mark.parametrize("looks", [0, 1, 5, 20, 40, 60, 80])
def test_a_reconstruction_that_is_broken_off_is_taken_up_at_the_block_in_which_it_was(
    looks: int,
) -> None:
    reference, whole = tiny_classifier(seed=1), tiny_classifier(seed=2)
    broken = copy.deepcopy(whole)
    reconstruct(whole, reference, BATCHES, half_pruned)
    finished: list[int] = [0]

    def note(done: int, _: int) -> None:
        finished.append(done)

    with suppress(BrokenOffError):
        reconstruct(broken, reference, BATCHES, half_pruned, note, look=broken_off_after(looks))
    reconstruct(broken, reference, BATCHES, half_pruned, note, finished=finished[-1])
    assert finished == [0, 1, 2], "no block is solved twice"
    for name, tensor in broken.state_dict().items():
        assert torch.equal(tensor, whole.state_dict()[name]), name
