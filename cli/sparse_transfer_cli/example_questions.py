"""Questions on the chronicle of an invented county, in the SQuAD format, for the example.

No data set of questions can be had where this is built, so it is written here: sentences and
questions from ``example_questions.yaml``, put together by a seed. A tenth of the contexts is longer
than a window of 384 tokens, and a quarter of the questions has no answer in its context. Limits: it
shows that everything works, and what a model keeps; it says nothing of real texts.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, TypeVar

import yaml

LICENCE = "written for this project: Apache-2.0"
CONTEXTS = {"train": 240, "val": 40, "test": 80}
"""Of each split."""

_LONG_SHARE = 0.1
_SUBJECTS_OF_A_LONG_CONTEXT = range(9, 13)
_SUBJECTS = range(1, 4)
_FACTS = range(3, 6)
_QUESTIONS = range(3, 6)
_UNANSWERABLE_SHARE = 0.25
_ASIDE_SHARE = 0.3
_NUMBERS = {
    "year": (1610, 1960, "{}"),
    "metres": (12, 310, "{} metres"),
    "crowns": (3, 900, "{} crowns"),
    "volumes": (400, 9000, "{} volumes"),
    "visitors": (200, 9000, "{} visitors"),
    "pupils": (20, 480, "{} pupils"),
}
"""Values that are numbers: the least, the greatest, and how they are written."""

T = TypeVar("T")


@dataclass(frozen=True)
class _Draw:
    """Seeded choices that are the same in every version of Python: only ``random()`` is drawn."""

    source: random.Random

    def chance(self, share: float) -> bool:
        return self.source.random() < share

    def one(self, items: Sequence[T]) -> T:
        return items[int(self.source.random() * len(items))]

    def some(self, items: Sequence[T], count: int) -> list[T]:
        """Returns different items in any order."""
        left = list(items)
        return [left.pop(int(self.source.random() * len(left))) for _ in range(count)]


def question_splits(seed: int, contexts: int | None = None) -> dict[str, dict[str, Any]]:
    """Returns the splits as nested SQuAD 2.0.

    Args:
        seed: Another seed gives other contexts.
        contexts: At most so many of each split.
    """
    # Each split draws by itself, so that a smaller one is the beginning of the larger one.
    return {
        split: {
            "version": "2.0",
            "data": [
                {
                    "title": "A county chronicle",
                    "paragraphs": list(_paragraphs(split, seed, min(count, contexts or count))),
                }
            ],
        }
        for split, count in CONTEXTS.items()
    }


def _paragraphs(split: str, seed: int, count: int) -> Iterator[dict[str, Any]]:
    draw = _Draw(random.Random(f"{seed} {split}"))
    for number in range(count):
        yield _paragraph(draw, f"{split}-{number:04}")


def _paragraph(draw: _Draw, name: str) -> dict[str, Any]:
    long = draw.chance(_LONG_SHARE)
    count = draw.one(_SUBJECTS_OF_A_LONG_CONTEXT if long else _SUBJECTS)
    sentences: list[str] = []
    told: list[tuple[str, str, int]] = []
    untold: list[str] = []
    names: set[str] = set()
    for _ in range(count):
        kind = draw.one(_chronicle()["kinds"])
        subject = _new_name(draw, kind, names)
        facts = draw.some(kind["facts"], draw.one(_FACTS))
        for fact in facts:
            before, _, after = _filled(draw.one(fact["said"]), subject).partition("{value}")
            value = _value(draw, fact["value"])
            start = len(" ".join([*sentences, ""])) + len(before)
            sentence = f"{before}{value}{after}"
            sentences.append(sentence[0].upper() + sentence[1:])
            # A sentence begins with its answer: then the answer is written as the sentence is.
            value = sentences[-1][len(before) : len(before) + len(value)]
            told.append((_filled(draw.one(fact["asked"]), subject), value, start))
            if draw.chance(_ASIDE_SHARE):
                sentences.append(draw.one(_chronicle()["asides"]))
        untold += [
            _filled(draw.one(fact["asked"]), subject) for fact in kind["facts"] if fact not in facts
        ]
    questions = []
    for number, (question, answer, start) in enumerate(draw.some(told, _few(draw, told))):
        impossible = draw.chance(_UNANSWERABLE_SHARE)
        questions.append(
            {
                "id": f"{name}-{number}",
                "question": draw.one(untold) if impossible else question,
                "answers": [] if impossible else [{"text": answer, "answer_start": start}],
                "is_impossible": impossible,
            }
        )
    return {"context": " ".join(sentences), "qas": questions}


def _few(draw: _Draw, items: Sequence[Any]) -> int:
    return min(len(items), draw.one(_QUESTIONS))


def _new_name(draw: _Draw, kind: Mapping[str, Any], names: set[str]) -> str:
    """Returns a name that no other subject of the context has."""
    values = _chronicle()["values"]
    while True:
        pattern = draw.one(kind["names"])
        name = pattern.format(place=draw.one(values["place"]), last=draw.one(values["last"]))
        if name not in names:
            names.add(name)
            return str(name)


def _filled(text: str, name: str) -> str:
    return text.replace("{name}", name)


def _value(draw: _Draw, kind: str) -> str:
    values = _chronicle()["values"]
    if kind == "person":
        return f"{draw.one(values['first'])} {draw.one(values['last'])}"
    if kind in _NUMBERS:
        least, greatest, written = _NUMBERS[kind]
        return written.format(draw.one(range(least, greatest + 1)))
    return str(draw.one(values[kind]))


@cache
def _chronicle() -> dict[str, Any]:
    text = (files(__package__) / "example_questions.yaml").read_text(encoding="utf-8")
    found: dict[str, Any] = yaml.safe_load(text)
    return found
