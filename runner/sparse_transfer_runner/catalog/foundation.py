"""The record beside a foundation model's weights: where it came from and how good it is."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from sparse_transfer_api.base import Part, Ratio, Record

FOUNDATION_FILE = "foundation.json"
SINGLE = "unstructured"
"""The pattern of zeros that are single weights."""


class Parent(Part):
    """The dense model that a foundation was made from: its baseline and teacher start there."""

    uri: str
    digest: str = Field(description="SHA-256 over the model's files.")


class LayerQuality(Part):
    """What making a foundation did to one layer.

    Errors are of the layer's outputs on the calibration data, squared and relative to the wanted
    ones', which are the parent's on its own inputs: 0 is a perfect copy.
    """

    name: str
    weights: int
    sparsity: Ratio = Field(description="Zeros / weights.")
    error_before: float | None = Field(
        None, description="Weights chosen, the kept ones as the parent has them."
    )
    error_after: float | None = Field(None, description="The kept weights as the method sets them.")
    error_recovered: float | None = Field(
        None, description="After distillation; also of gradual pruning."
    )
    seconds: float | None = Field(None, description="Of choosing and setting its weights.")


class Foundation(Record):
    """``foundation.json`` in a foundation's folder, written by ``sparse-transfer upstream``."""

    name: str
    family: str = Field(description="text, image, detection or segmentation.")
    architecture: str
    parent: Parent | None = None
    sparsity: Ratio = Field(description="Zeros / prunable weights.")
    pattern: str = SINGLE
    method: str = Field(description="Such as admm or magnitude.")
    budgets: str = Field("uniform", description="How zeros were divided among layers.")
    prunable: list[str] = Field(description="Names of the pruned weights.")
    licence: str | None = None
    quality: dict[str, float] = Field(
        default_factory=dict, description="Relative errors against the parent, rows, seconds."
    )
    layers: list[LayerQuality] = Field(default_factory=list, description="Each pruned layer's.")

    @property
    def pattern_of_blocks(self) -> str | None:
        """The pattern as a catalogue names it: None where zeros are single weights."""
        return self.pattern if self.pattern != SINGLE else None


def read_foundation(folder: Path) -> Foundation | None:
    """Returns the folder's record, or None where there is none."""
    path = folder / FOUNDATION_FILE
    return Foundation.model_validate_json(path.read_bytes()) if path.is_file() else None
