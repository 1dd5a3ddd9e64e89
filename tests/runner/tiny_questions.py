"""A small task of questions that a tiny random model can learn: what stands behind a word."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SUBJECTS = ("film", "it")
SAID = ("bad", "dull", "fine", "good", "great", "poor", "weak")
FILLERS = ("a", "never", "the", "this")


def write_questions(folder: Path, *, unanswerable: bool = True) -> Path:
    """Writes train as nested SQuAD, val as flat JSON lines, and test as a flat array.

    Args:
        folder: Made here.
        unanswerable: Whether a fifth of the questions has no answer.
    """
    folder.mkdir(parents=True)
    draw = random.Random(0)
    paragraphs = [_paragraph(draw, f"train-{i}", unanswerable) for i in range(90)]
    nested = {"version": "v2.0", "data": [{"title": "films", "paragraphs": paragraphs}]}
    (folder / "train.json").write_text(json.dumps(nested, indent=1))
    val, test = (
        [row for i in range(30) for row in _flat(_paragraph(draw, f"{name}-{i}", unanswerable))]
        for name in ("val", "test")
    )
    (folder / "val.jsonl").write_text("".join(json.dumps(row) + "\n" for row in val))
    (folder / "test.json").write_text(json.dumps(test))
    return folder


def _paragraph(draw: random.Random, name: str, unanswerable: bool) -> dict[str, Any]:
    """Returns a context that says one thing of each subject, some of them longer than a window."""
    words: list[str] = []
    answers = {}
    for subject in SUBJECTS:
        words += draw.choices(FILLERS, k=draw.choice((2, 3, 4, 16)))
        words += [subject, "was"]
        answers[subject] = (draw.choice(SAID), len(" ".join(words)) + 1)
        words.append(answers[subject][0])
    questions = []
    for number, (subject, (text, start)) in enumerate(answers.items()):
        impossible = unanswerable and draw.random() < 0.2
        questions.append(
            {
                "id": f"{name}-{number}",
                "question": f"{'what is a' if impossible else 'what was'} {subject}",
                "answers": [] if impossible else [{"text": text, "answer_start": start}],
                "is_impossible": impossible,
            }
        )
    return {"context": " ".join(words), "qas": questions}


def _flat(paragraph: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for row in paragraph["qas"]:
        answers = row["answers"]
        yield {
            "id": row["id"],
            "question": row["question"],
            "context": paragraph["context"],
            "answers": {
                name: [answer[name] for answer in answers] for name in ("text", "answer_start")
            },
        }
