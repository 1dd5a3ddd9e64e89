"""What SparseML really saves in the middle of quantization-aware training is a foundation."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

pytest.importorskip("sparseml", reason="make test-neuralmagic")

from tests.runner.tiny_models import WORDS, random_batch, tiny_classifier
from transformers import BertForSequenceClassification, BertTokenizerFast

from sparse_transfer_runner.catalog.hugging_face import check_text_model
from sparse_transfer_runner.neuralmagic.manager import build_manager, initialize
from sparse_transfer_runner.recipes import SPARSEML, parse_recipe
from sparse_transfer_runner.sparsity.prunable import prunable_weights
from sparse_transfer_runner.use_cases.text_model import build_classifier

LABELS = ["LABEL_0", "LABEL_1"]
RECIPE = """
modifiers:
  - !EpochRangeModifier {start_epoch: 0.0, end_epoch: 2.0}
  - !SetLearningRateModifier {start_epoch: 0.0, learning_rate: 0.1}
  - !ConstantPruningModifier {start_epoch: 0.0, params: __ALL_PRUNABLE__}
  - !QuantizationModifier
      start_epoch: 0.0
      ignore: [LayerNorm, GELUActivation, Tanh]
"""


@pytest.fixture(scope="module")
def trained() -> BertForSequenceClassification:
    """A sparse model while SparseML quantizes it: after one step, its wrappers on."""
    model = tiny_classifier()
    with torch.no_grad():
        for weight in prunable_weights(model).values():
            weight.view(-1)[weight.abs().flatten().argsort()[: weight.numel() // 2]] = 0
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    manager = build_manager(parse_recipe(RECIPE, backend=SPARSEML).text)
    initialize(manager, model, epoch=0.0)
    wrapped = manager.modify(model, optimizer, steps_per_epoch=1)
    model.train()
    for seed in range(2):
        model(**random_batch(seed)).logits.square().mean().backward()
        wrapped.step()
        wrapped.zero_grad()
    assert any(".module.weight" in name for name in model.state_dict())
    return model.eval()


@pytest.fixture(scope="module")
def folder(
    trained: BertForSequenceClassification, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """As SparseML saved it: weights with their wrapped names, and the recipe."""
    folder = tmp_path_factory.mktemp("saved") / "checkpoint"
    folder.mkdir()
    trained.config.save_pretrained(folder)
    torch.save(trained.state_dict(), folder / "pytorch_model.bin")
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    (folder / "recipe.yaml").write_text(RECIPE)
    return folder


def test_its_zeros_are_counted(folder: Path) -> None:
    assert check_text_model(folder, trusted=False).sparsity == pytest.approx(0.5)


def test_its_weights_are_those_of_the_built_model(
    folder: Path, trained: BertForSequenceClassification
) -> None:
    built = build_classifier(folder, LABELS, "single_label_classification", seed=0)
    saved = trained.state_dict()
    for name, weight in prunable_weights(built).items():
        wrapped = name.replace(".weight", ".module.weight")
        assert torch.equal(weight, saved[wrapped]), name
    assert torch.equal(built.get_parameter("classifier.weight"), saved["classifier.module.weight"])
