"""Families of use cases: those of one family start from the same foundation models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from sparse_transfer_api.use_cases import UseCaseName

Family = Literal["text", "image", "detection", "segmentation"]

FAMILY_OF: Mapping[UseCaseName, Family] = {
    UseCaseName.CV_CLASSIFICATION: "image",
    UseCaseName.CV_DETECTION: "detection",
    UseCaseName.CV_SEGMENTATION: "segmentation",
    UseCaseName.NLP_QUESTION_ANSWERING: "text",
    UseCaseName.NLP_TEXT_CLASSIFICATION: "text",
    UseCaseName.NLP_SENTIMENT_ANALYSIS: "text",
    UseCaseName.NLP_TOKEN_CLASSIFICATION: "text",
    UseCaseName.NLP_NAMED_ENTITY_RECOGNITION: "text",
}
"""What each use case starts from: text encoders, image classifiers, detectors, segmenters."""
