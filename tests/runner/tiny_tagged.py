"""Tagged sentences for tiny models: what a word is follows from the word."""

from __future__ import annotations

import json
import random
from pathlib import Path

import torch
from tests.runner.tiny_models import write_tiny_encoder
from tests.runner.tiny_sources import BAD, GOOD

from sparse_transfer_runner.training.distillation import PROBLEM_POSITIONS, task_loss
from sparse_transfer_runner.use_cases.tagged_text import (
    load_word_tokenizer,
    pieces_of,
    tag_arrays,
    tags_of,
)
from sparse_transfer_runner.use_cases.text_model import save_classifier
from sparse_transfer_runner.use_cases.token_model import build_tagger

TAGS = ("B-bad", "B-good", "I-bad", "I-good", "O")
FILLERS = ("a", "film", "it", "the", "this", "was")


def write_tagged(folder: Path, rows: int = 120, others: int = 40, *, prefixes: bool = True) -> Path:
    """Writes sentences in which one or two telling words make up an entity of their kind.

    Without prefixes every word has a tag of its own, as parts of speech have.
    """
    folder.mkdir()
    words = random.Random(0)
    for split, count in (("train", rows), ("val", others), ("test", others)):
        lines = (json.dumps(_sentence(words, prefixes)) for _ in range(count))
        (folder / f"{split}.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return folder


def write_tiny_tagger(folder: Path, data: Path, steps: int = 400) -> Path:
    """Writes a dense encoder that has learned the sentences' tags, with its head and tokenizer.

    With the few steps and small rates of a default recipe a random encoder would learn nothing.
    """
    encoder = write_tiny_encoder(folder.with_name(f"{folder.name}-untrained"))
    tokenizer = load_word_tokenizer(encoder)
    rows = [json.loads(line) for line in (data / "train.jsonl").read_text().splitlines()]
    pieces = pieces_of(tokenizer, [row["tokens"] for row in rows], None)
    tags = [[TAGS.index(tag) for tag in row["ner_tags"]] for row in rows]
    split = tags_of(tag_arrays(pieces, tags), 0)
    model = build_tagger(encoder, TAGS, seed=0).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
    order = random.Random(0)
    for _ in range(steps):
        batch = order.sample(range(len(split)), 16)
        inputs = {name: torch.as_tensor(each) for name, each in split.collate(batch).items()}
        targets = torch.as_tensor(split.targets[batch])
        loss = task_loss(model(**inputs).logits, targets, PROBLEM_POSITIONS)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    save_classifier(model.eval(), folder)
    tokenizer.save(folder)
    return folder


def _sentence(words: random.Random, prefixes: bool) -> dict[str, list[str]]:
    tokens = words.choices(FILLERS, k=words.randint(3, 8))
    tags = ["O"] * len(tokens)
    kind = words.choice(("good", "bad"))
    telling = words.choices(GOOD if kind == "good" else BAD, k=words.randint(1, 2))
    place = words.randrange(len(tokens))
    tokens[place:place] = telling
    tags[place:place] = [f"B-{kind}", f"I-{kind}"][: len(telling)]
    if not prefixes:
        tags = ["other" if tag == "O" else tag[2:] for tag in tags]
    return {"tokens": tokens, "ner_tags": tags}
