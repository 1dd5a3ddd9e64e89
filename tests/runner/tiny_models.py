"""Small random models, cheap enough to train in every test."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import BertConfig, BertForSequenceClassification, BertModel, BertTokenizerFast

WORDS = [
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    *("a", "bad", "dull", "film", "fine", "good", "great", "is", "it", "never", "poor", "the"),
    *("this", "was", "weak", "what", "."),
]


def tiny_config(labels: int = 2, layers: int = 2) -> BertConfig:
    """Returns a BERT of a few thousand weights, without dropout so that tests are exact."""
    return BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
        num_labels=labels,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        pad_token_id=0,
    )


def tiny_classifier(seed: int = 0, labels: int = 2) -> BertForSequenceClassification:
    torch.manual_seed(seed)
    return BertForSequenceClassification(tiny_config(labels)).eval()


def write_tiny_encoder(folder: Path, seed: int = 0, layers: int = 2) -> Path:
    """Writes a dense encoder with its tokenizer as a Hugging Face folder."""
    torch.manual_seed(seed)
    folder.mkdir(parents=True)
    model = BertModel(tiny_config(layers=layers))
    with torch.no_grad():  # real models are no multiples of the initialisation's 0.02
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(10)
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


def random_batch(seed: int, rows: int = 8, tokens: int = 10) -> dict[str, torch.Tensor]:
    """Returns token ids of mixed lengths, padded."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, len(WORDS), (rows, tokens), generator=generator)
    mask = torch.ones_like(ids)
    for row in range(rows):
        mask[row, 3 + row % (tokens - 3) :] = 0
    return {"input_ids": ids * mask, "attention_mask": mask}
