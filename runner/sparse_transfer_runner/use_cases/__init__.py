"""Use cases by their canonical names; adding one is a module and a line here."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from sparse_transfer_api.use_cases import UseCaseName, resolve_use_case

from .protocol import UseCase

_USE_CASES = {
    UseCaseName.CV_CLASSIFICATION: ("image_classification", "ImageClassification"),
    UseCaseName.CV_DETECTION: ("object_detection", "ObjectDetection"),
    UseCaseName.CV_SEGMENTATION: ("object_segmentation", "ObjectSegmentation"),
    UseCaseName.NLP_TEXT_CLASSIFICATION: ("text_classification", "TextClassification"),
    UseCaseName.NLP_SENTIMENT_ANALYSIS: ("text_classification", "TextClassification"),
    UseCaseName.NLP_TOKEN_CLASSIFICATION: ("token_classification", "TokenClassification"),
    UseCaseName.NLP_NAMED_ENTITY_RECOGNITION: ("token_classification", "TokenClassification"),
    UseCaseName.NLP_QUESTION_ANSWERING: ("question_answering", "QuestionAnswering"),
}
"""Canonical name to module and class; the class is called with the name."""


def use_case(name: str) -> UseCase:
    """Returns a use case by its canonical name or an alias.

    Raises:
        InputError: The name is unknown.
    """
    canonical = resolve_use_case(name)
    module, kind = _USE_CASES[canonical]
    return cast(UseCase, getattr(import_module(f"{__name__}.{module}"), kind)(canonical))
