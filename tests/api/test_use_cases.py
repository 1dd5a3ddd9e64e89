from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparse_transfer_api.errors import InputError
from sparse_transfer_api.use_cases import ALIASES, ALL_NAMES, UseCaseName, resolve_use_case

TABLE = {
    "cv-classification": ["ic", "classification", "image-classification"],
    "cv-detection": ["od", "detection", "object-detection", "yolo"],
    "cv-segmentation": ["segmentation", "image-segmentation", "instance-segmentation"],
    "nlp-question_answering": ["qa", "question-answering"],
    "nlp-text_classification": ["text-classification", "glue"],
    "nlp-sentiment_analysis": ["sentiment", "sentiment-analysis"],
    "nlp-token_classification": ["token-classification"],
    "nlp-named_entity_recognition": ["ner", "named-entity-recognition"],
}


def test_the_use_cases_and_aliases_are_those_of_the_documentation() -> None:
    assert {name.value: list(aliases) for name, aliases in ALIASES.items()} == TABLE


@pytest.mark.parametrize(
    ("name", "canonical"),
    [(name, canonical) for canonical, names in TABLE.items() for name in (canonical, *names)],
)
def test_every_name_resolves(name: str, canonical: str) -> None:
    assert resolve_use_case(name) == canonical


@given(st.data())
def test_case_and_separators_do_not_count(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(ALL_NAMES))
    spelled = "".join(
        data.draw(st.sampled_from("-_ ")) if character in "-_" else character for character in name
    )
    spelled = "".join(
        character.upper() if data.draw(st.booleans()) else character for character in spelled
    )
    assert resolve_use_case(spelled) == resolve_use_case(name)


def test_no_two_use_cases_share_a_name() -> None:
    plain = [name.replace("_", "-") for name in ALL_NAMES]
    assert len(plain) == len(set(plain))


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("sentimnt", "sentiment"),
        ("nlp-sentiment-analisys", "nlp-sentiment_analysis"),
        ("objectdetection", "object-detection"),
        ("Yolo8", "yolo"),
    ],
)
def test_an_unknown_name_lists_the_valid_ones_and_suggests_the_nearest(
    name: str, meant: str
) -> None:
    with pytest.raises(InputError) as raised:
        resolve_use_case(name)
    message = str(raised.value)
    assert f"did you mean {meant}?" in message
    assert all(use_case in message for use_case in UseCaseName)


@pytest.mark.parametrize("name", ["", "  ", "custom", "x" * 10_000, "\udc80"])
def test_a_name_like_no_other_is_refused_without_a_guess(name: str) -> None:
    with pytest.raises(InputError) as raised:
        resolve_use_case(name)
    assert "did you mean" not in str(raised.value)
    assert len(str(raised.value)) < 1000
