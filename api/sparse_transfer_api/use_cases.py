"""The eight use cases and the other names they go by."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from .errors import InputError
from .suggest import did_you_mean, listed


class UseCaseName(StrEnum):
    """Canonical names."""

    CV_CLASSIFICATION = "cv-classification"
    CV_DETECTION = "cv-detection"
    CV_SEGMENTATION = "cv-segmentation"
    NLP_QUESTION_ANSWERING = "nlp-question_answering"
    NLP_TEXT_CLASSIFICATION = "nlp-text_classification"
    NLP_SENTIMENT_ANALYSIS = "nlp-sentiment_analysis"
    NLP_TOKEN_CLASSIFICATION = "nlp-token_classification"
    NLP_NAMED_ENTITY_RECOGNITION = "nlp-named_entity_recognition"


ALIASES: Mapping[UseCaseName, tuple[str, ...]] = MappingProxyType(
    {
        UseCaseName.CV_CLASSIFICATION: ("ic", "classification", "image-classification"),
        UseCaseName.CV_DETECTION: ("od", "detection", "object-detection", "yolo"),
        UseCaseName.CV_SEGMENTATION: (
            "segmentation",
            "image-segmentation",
            "instance-segmentation",
        ),
        UseCaseName.NLP_QUESTION_ANSWERING: ("qa", "question-answering"),
        UseCaseName.NLP_TEXT_CLASSIFICATION: ("text-classification", "glue"),
        UseCaseName.NLP_SENTIMENT_ANALYSIS: ("sentiment", "sentiment-analysis"),
        UseCaseName.NLP_TOKEN_CLASSIFICATION: ("token-classification",),
        UseCaseName.NLP_NAMED_ENTITY_RECOGNITION: ("ner", "named-entity-recognition"),
    }
)
"""Canonical name to its aliases; case does not count, and ``-``, ``_`` and space are alike."""


def normalised(name: str) -> str:
    """Returns a name as it is compared: lower case, every separator a hyphen."""
    return name.strip().lower().translate(_SEPARATORS)


def resolve_use_case(name: str) -> UseCaseName:
    """Returns the canonical name behind a name or an alias.

    Raises:
        InputError: The name is unknown; the message lists the valid ones and the nearest.
    """
    found = _BY_NAME.get(normalised(name))
    if found is None:
        shown = name[:_SHOWN]
        raise InputError(
            f"unknown use case {shown!r}; expected {listed(UseCaseName)}"
            f"{did_you_mean(shown, ALL_NAMES)}"
        )
    return found


ALL_NAMES = (*UseCaseName, *(alias for aliases in ALIASES.values() for alias in aliases))
"""Every name that is understood, canonical ones first."""

_SHOWN = 64
_SEPARATORS = str.maketrans("_ ", "--")
_BY_NAME = {
    normalised(alias): name for name in UseCaseName for alias in (name.value, *ALIASES[name])
}
