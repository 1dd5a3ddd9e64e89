"""How tags are read is told from their names."""

from __future__ import annotations

import pytest

from sparse_transfer_runner.data.tags import Tagging, entity_tags, parts_counted_apart, tagging_of

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
    "BMES": (
        ["B-x", "E-x", "M-x", "O", "S-x"],
        Tagging.ENTITIES,
        ["B-x", "E-x", "I-x", "O", "S-x"],
    ),
    "BMEWO": (["M-x", "O", "W-x"], Tagging.ENTITIES, ["I-x", "O", "S-x"]),
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


APART = {
    "one bare name": (["B-x", "I-x", "O", "PAD"], "'PAD' has no prefix where 'B-x' has one"),
    "one bare name without O": (["B-x", "I-x", "PAD"], "'B-x' and 'I-x'"),
    "underscores": (["B_x", "I_x", "O"], "'B_x' and 'I_x'"),
    "small letters": (["O", "b-x", "i-x"], "'b-x' and 'i-x'"),
    "no types": (["B", "I", "O"], "'B' and 'I'"),
    "different types": (["B_x", "I_y", "O"], None),
    "entities": (["B-x", "I-x", "O"], None),
    "types alone": (["O", "person"], None),
    "parts of speech": (["NOUN", "B-W"], None),
}


@pytest.mark.parametrize(("names", "reason"), APART.values(), ids=APART)
def test_beginnings_and_insides_that_are_no_entities_are_found(
    names: list[str], reason: str | None
) -> None:
    assert parts_counted_apart(names) == reason
