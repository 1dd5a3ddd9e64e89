"""How tags are read is told from their names."""

from __future__ import annotations

import pytest

from sparse_transfer_runner.data.tags import Tagging, entity_tags, tagging_of

READINGS = {
    "IOB2": (["B-x", "I-x", "O"], Tagging.ENTITIES, ["B-x", "I-x", "O"]),
    "without O": (["B-x", "I-x"], Tagging.ENTITIES, ["B-x", "I-x"]),
    "BIOES": (
        ["B-x", "E-x", "I-x", "O", "S-x"],
        Tagging.ENTITIES,
        ["B-x", "E-x", "I-x", "O", "S-x"],
    ),
    "BILOU": (
        ["B-x", "I-x", "L-x", "O", "U-x"],
        Tagging.ENTITIES,
        ["B-x", "I-x", "E-x", "O", "S-x"],
    ),
    "types with hyphens": (["B-geo-loc", "O"], Tagging.ENTITIES, ["B-geo-loc", "O"]),
    "types alone": (["O", "person"], Tagging.RUNS, ["O", "I-person"]),
    "parts of speech": (["NOUN", "B-W"], Tagging.WORDS, ["S-NOUN", "S-B-W"]),
    "numbers": (["0", "1"], Tagging.WORDS, ["S-0", "S-1"]),
    "nothing but O": (["O"], Tagging.RUNS, ["O"]),
}


@pytest.mark.parametrize(("names", "tagging", "read_as"), READINGS.values(), ids=READINGS)
def test_tags_are_read_by_their_names(
    names: list[str], tagging: Tagging, read_as: list[str]
) -> None:
    assert tagging_of(names) == tagging
    assert entity_tags(names) == read_as
