"""The table of experiments."""

from __future__ import annotations

import io
from datetime import timedelta

import pytest
from rich.console import Console
from tests.cli.cluster.experiments import NOW, Document, missed, queued, seen, succeeded, training

from sparse_transfer_cli.cluster.listing import age, columns, listing


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0s"), (0, "0s"), (119, "119s"), (120, "2m"), (7199, "119m"), (7200, "2h"),
        (172_799, "47h"), (172_800, "2d"), (400 * 86_400, "400d"),
    ],
)  # fmt: skip
def test_ages_are_shortened_as_kubectl_does(seconds: int, text: str) -> None:
    assert age(NOW - timedelta(seconds=seconds), NOW) == text


@pytest.mark.parametrize(
    ("status", "rest"),
    [
        (None, ("sentiment-analysis", "0.5", "-", "-", "-", "-", "-")),
        (queued(), ("sentiment-analysis", "0.5", "Queued", "-", "-", "-", "-")),
        (training(), ("nlp-sentiment_analysis", "0.5", "Training", "45 %", "-", "-", "-")),
        (
            succeeded(),
            ("nlp-sentiment_analysis", "0.5", "Succeeded", "-", "80.0 %", "0.9762", "2.00x"),
        ),
        (missed(), ("nlp-sentiment_analysis", "0.5", "Failed", "-", "80.0 %", "0.9762", "2.00x")),
    ],
)
def test_a_row_says_what_the_printer_columns_say(
    status: Document | None, rest: tuple[str, ...]
) -> None:
    assert columns(seen(status), NOW) == ("film-reviews", *rest, "10m")


def test_one_that_is_being_deleted_says_so() -> None:
    row = columns(seen(training(), deletionTimestamp="2026-11-25T11:59:00Z"), NOW)
    assert row[3] == "Deleting"


@pytest.mark.parametrize("everywhere", [False, True])
def test_namespaces_are_named_where_they_differ(everywhere: bool) -> None:
    console = Console(file=io.StringIO(), width=120)
    console.print(listing([seen(queued())], NOW, everywhere=everywhere))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert ("namespace" in text) is everywhere
    assert (" ml " in text) is everywhere
    assert "speed-up" in text
