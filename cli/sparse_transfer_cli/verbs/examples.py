"""``examples``: packaged data, written in the formats that experiments read."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from sparse_transfer_api.errors import AccessError, UsageError
from sparse_transfer_api.suggest import did_you_mean
from sparse_transfer_cli import (
    example_pictures,
    example_questions,
    example_tweets,
)
from sparse_transfer_cli.console import stdout
from sparse_transfer_cli.example_data import (
    LICENCE,
    PACKAGE,
    as_rows,
    labelled_splits,
    packaged_reviews,
    unlabelled_sentences,
)
from sparse_transfer_cli.example_nuclei import NUCLEI
from sparse_transfer_cli.example_tiles import TileSet
from sparse_transfer_cli.example_trees import TREES
from sparse_transfer_cli.requirements import require

FileFormat = Literal["csv", "json", "jsonl"]
Row = Mapping[str, Any]

SETS = {
    "film-reviews": "Rotten Tomatoes sentences with a sentiment: train, val and test",
    "film-sentences": "IMDB sentences without labels, for 'sparse-transfer upstream'",
    "tweets-entities": "tweets with the persons, places, … in them: train, val and test",
    "digits": "handwritten digits of MNIST as pictures, in an image folder: train, val and test",
    "county-questions": "questions on an invented county, in the SQuAD format: train, val and test",
    "trees": "tiles of aerial pictures with a box around each tree, in YOLO's folders",
    "nuclei": "tiles of a microscope's picture, a polygon around each nucleus, in YOLO's folders",
}

_TILES = {"trees": TREES, "nuclei": NUCLEI}


def list_sets() -> None:
    """Prints the sets' names and what is in them."""
    for name, content in SETS.items():
        stdout().print(f"{name:<16} {content}", highlight=False, soft_wrap=True)


def extract(
    name: str, output: Path, *, file_format: FileFormat | None, rows: int | None, seed: int
) -> None:
    """Writes a set into a folder, one file a split.

    Args:
        name: One of ``SETS``.
        output: The folder; created when missing, files of the same name are replaced.
        file_format: Default: csv for labelled texts, jsonl for sentences and tagged words. Pictures
            are PNG, questions nested JSON.
        rows: At most so many rows of each file, or pictures or contexts of each split; all when
            None.
        seed: Of the choice and the order of rows.

    Raises:
        UsageError: No such set, a format that cannot hold it, or the package that holds it is not
            installed.
        AccessError: The folder cannot be written to.
    """
    if name not in SETS:
        raise UsageError(
            f"there is no example {name!r}; there are {', '.join(SETS)}{did_you_mean(name, SETS)}"
        )
    if name == "digits":
        _write_digits(output, rows, seed)
        return
    if name == "tweets-entities":
        _write_tweets(output, file_format or "jsonl", rows, seed)
        return
    if name == "county-questions":
        _write_questions(output, rows, seed)
        return
    if name in _TILES:
        _write_tiles(_TILES[name], output, rows, seed)
        return
    require((PACKAGE,), "examples")
    reviews = list(packaged_reviews())
    if name == "film-reviews":
        splits = {
            split: list(as_rows(chosen[:rows]))
            for split, chosen in labelled_splits(reviews, seed).items()
        }
        _write_all(splits, output, file_format or "csv")
    else:
        sentences = unlabelled_sentences(reviews, seed)[:rows]
        _write_all(
            {"sentences": [{"text": text} for text in sentences]}, output, file_format or "jsonl"
        )
    stdout().print(f"licence: {LICENCE}", highlight=False, soft_wrap=True)


def _write_tweets(output: Path, file_format: FileFormat, rows: int | None, seed: int) -> None:
    if file_format == "csv":
        raise UsageError("csv cannot hold lists of words; choose json or jsonl")
    require((example_tweets.PACKAGE,), "examples-entities")
    splits = example_tweets.tweet_splits(example_tweets.packaged_tweets(), seed)
    _write_all(
        {split: list(example_tweets.as_rows(chosen[:rows])) for split, chosen in splits.items()},
        output,
        file_format,
    )
    stdout().print(f"licence: {example_tweets.LICENCE}", highlight=False, soft_wrap=True)


def _write_digits(output: Path, rows: int | None, seed: int) -> None:
    require((example_pictures.PACKAGE, "PIL"), "examples-pictures")
    splits = example_pictures.digit_splits(seed, rows)
    for split, digits in splits.items():
        try:
            example_pictures.write_split(output / split, digits)
        except OSError as error:
            raise AccessError(
                f"{output / split}: cannot be written ({error.strerror}); choose another --output"
            ) from error
        stdout().print(f"{output / split}: {len(digits)} pictures", highlight=False, soft_wrap=True)
    stdout().print(f"licence: {example_pictures.LICENCE}", highlight=False, soft_wrap=True)


def _write_questions(output: Path, rows: int | None, seed: int) -> None:
    for split, content in example_questions.question_splits(seed, rows).items():
        path = output / f"{split}.json"
        _write(path, json.dumps(content, ensure_ascii=False, indent=1) + "\n")
        paragraphs = content["data"][0]["paragraphs"]
        questions = sum(len(paragraph["qas"]) for paragraph in paragraphs)
        stdout().print(
            f"{path}: {len(paragraphs)} contexts, {questions} questions",
            highlight=False,
            soft_wrap=True,
        )
    stdout().print(f"licence: {example_questions.LICENCE}", highlight=False, soft_wrap=True)


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise AccessError(
            f"{path}: cannot be written ({error.strerror}); choose another --output"
        ) from error


def _write_tiles(chosen: TileSet, output: Path, rows: int | None, seed: int) -> None:
    if find_spec(chosen.package) is None:
        raise UsageError(
            f"this needs the package {chosen.package}, for its pictures alone; install it without "
            f"what it depends on: pip install --no-deps {chosen.package}=={chosen.version}"
        )
    require(("PIL",), "runner")
    for split, tiles in chosen.splits(seed, rows).items():
        try:
            chosen.write(output, split, tiles)
        except OSError as error:
            raise AccessError(
                f"{output}: cannot be written ({error.strerror}); choose another --output"
            ) from error
        objects = sum(len(tile.objects) for tile in tiles)
        stdout().print(
            f"{output / 'images' / split}: {len(tiles)} pictures, {objects} {chosen.shapes}",
            highlight=False,
            soft_wrap=True,
        )
    stdout().print(f"licence: {chosen.licence}", highlight=False, soft_wrap=True)


def _write_all(splits: Mapping[str, list[Row]], output: Path, file_format: FileFormat) -> None:
    for split, rows in splits.items():
        path = output / f"{split}.{file_format}"
        _write(path, _encoded(rows, file_format))
        stdout().print(f"{path}: {len(rows)} rows", highlight=False, soft_wrap=True)


def _encoded(rows: Iterable[Row], file_format: FileFormat) -> str:
    """Returns a file's text; the guide's ``json`` is one object a line too."""
    if file_format != "csv":
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    text = io.StringIO(newline="")
    rows = list(rows)
    writer = csv.DictWriter(text, fieldnames=list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
