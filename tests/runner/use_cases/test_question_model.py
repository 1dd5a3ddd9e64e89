"""Models of question answering: their heads, their outputs, and what padding is worth."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.runner.tiny_models import random_batch, tiny_classifier, write_tiny_encoder
from transformers import (
    DistilBertConfig,
    DistilBertModel,
    ModernBertConfig,
    ModernBertModel,
    RobertaConfig,
    RobertaModel,
    ViTConfig,
    ViTModel,
)

from sparse_transfer_api.errors import InputError
from sparse_transfer_runner.training.distillation import logit_loss, task_loss
from sparse_transfer_runner.use_cases import use_case
from sparse_transfer_runner.use_cases.question_model import build_answerer, has_head, is_head
from sparse_transfer_runner.use_cases.text_model import save_classifier

SMALL = {"vocab_size": 40, "max_position_embeddings": 40}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tiny_encoder(tmp_path / "model")


def test_a_bare_encoder_gets_a_new_head_from_the_seed_alone(folder: Path) -> None:
    torch.manual_seed(1)
    first = build_answerer(folder, seed=7)
    torch.manual_seed(2)
    second = build_answerer(folder, seed=7)
    third = build_answerer(folder, seed=8)

    head = dict(first.named_parameters())["qa_outputs.weight"]
    assert is_head("qa_outputs.weight")
    assert not has_head(folder)
    assert torch.equal(head, dict(second.named_parameters())["qa_outputs.weight"])
    assert not torch.equal(head, dict(third.named_parameters())["qa_outputs.weight"])


def test_a_saved_model_is_read_back_with_its_head(folder: Path, tmp_path: Path) -> None:
    model = build_answerer(folder, seed=7)
    save_classifier(model, tmp_path / "saved")

    again = build_answerer(tmp_path / "saved", seed=8)

    batch = random_batch(0)
    assert has_head(tmp_path / "saved")
    assert torch.equal(model(**batch).logits, again(**batch).logits)


def test_another_kind_of_head_is_left_behind(tmp_path: Path) -> None:
    tiny_classifier().save_pretrained(tmp_path / "classifier")

    model = build_answerer(tmp_path / "classifier", seed=7)

    assert not has_head(tmp_path / "classifier")
    assert "qa_outputs.weight" in dict(model.named_parameters())


def test_every_token_has_the_logits_of_start_and_end(folder: Path) -> None:
    model, batch = build_answerer(folder, seed=7), random_batch(0)

    found = model(**batch)

    assert found.logits.shape == (*batch["input_ids"].shape, 2)
    assert torch.equal(found.logits[..., 0], found.start_logits)
    assert torch.equal(found.logits[..., 1], found.end_logits)


@pytest.mark.parametrize(
    "encoder",
    [
        RobertaModel(
            RobertaConfig(
                **SMALL,
                hidden_size=16,
                num_hidden_layers=1,
                num_attention_heads=2,
                intermediate_size=32,
            )
        ),
        DistilBertModel(DistilBertConfig(**SMALL, dim=16, n_layers=1, n_heads=2, hidden_dim=32)),
    ],
    ids=["roberta", "distilbert"],
)
def test_other_encoders_answer_too(encoder: torch.nn.Module, tmp_path: Path) -> None:
    encoder.save_pretrained(tmp_path / "model")  # type: ignore[operator]

    model = build_answerer(tmp_path / "model", seed=0)

    assert model(**random_batch(0)).logits.shape == (8, 10, 2)


def test_a_model_that_cannot_answer_is_refused(tmp_path: Path) -> None:
    config = ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=32,
    )
    ViTModel(config).save_pretrained(tmp_path / "model")

    with pytest.raises(InputError, match="a vit cannot answer questions"):
        build_answerer(tmp_path / "model", seed=0)


def test_a_head_of_another_kind_is_refused_before_training(folder: Path) -> None:
    config = ModernBertConfig(
        **SMALL,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        **dict.fromkeys(("pad_token_id", "bos_token_id", "cls_token_id"), 0),
        **dict.fromkeys(("eos_token_id", "sep_token_id"), 1),
    )
    ModernBertModel(config).save_pretrained(folder)

    with pytest.raises(InputError, match="a modernbert answers questions by a head of its own"):
        use_case("qa").check(folder, trusted=False)


def test_in_training_padding_weighs_nothing_in_the_loss(folder: Path) -> None:
    model, batch = build_answerer(folder, seed=7).train(), random_batch(0)
    targets = torch.ones(8, 2, dtype=torch.long)
    wider = {name: torch.nn.functional.pad(values, (0, 9)) for name, values in batch.items()}

    narrow, wide = (
        task_loss(model(**inputs).logits, targets, "question_answering")
        for inputs in (batch, wider)
    )

    assert wide.item() == pytest.approx(narrow.item(), rel=1e-5)


def test_a_student_follows_its_teacher_where_there_are_tokens_and_nowhere_else(
    folder: Path,
) -> None:
    student, teacher = build_answerer(folder, seed=7).train(), build_answerer(folder, seed=8)
    batch = random_batch(0)
    ours, theirs = student(**batch).logits, teacher(**batch).logits.detach()
    padding = batch["attention_mask"] == 0
    # As gathered over other batches: zero where the teacher's were narrower.
    gathered = theirs.masked_fill(padding.unsqueeze(-1), 0.0)

    loss = logit_loss(ours, gathered, 2.0, "question_answering")
    same = logit_loss(
        ours, ours.detach().masked_fill(padding.unsqueeze(-1), 5.0), 2.0, "question_answering"
    )

    assert loss.item() == pytest.approx(
        logit_loss(ours, theirs, 2.0, "question_answering").item(), rel=1e-5
    )
    assert 0 < loss.item() < 10
    assert same.item() == pytest.approx(0, abs=1e-5)


def test_outside_of_training_logits_are_what_an_exported_file_gives(folder: Path) -> None:
    model, batch = build_answerer(folder, seed=7).eval(), random_batch(0)

    assert model(**batch).logits.abs().max() < 1e3
