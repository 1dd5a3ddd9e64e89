"""Object segmentation: the pixels of each object, from YOLO's polygons by YOLO's networks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from sparse_transfer_api.records import Plan
from sparse_transfer_runner.yolo.architecture import SEGMENT

from .object_detection import ObjectDetection
from .object_scores import same_answers
from .protocol import EncodedSplit
from .scores import Scored
from .segment_inputs import EncodedSegments
from .segment_scores import NAMES, alike_masks, scored

if TYPE_CHECKING:
    from sparse_transfer_api.spec import SparseTransferSpec


class ObjectSegmentation(ObjectDetection):
    """The use case behind ``cv-segmentation``: detection, and a mask for each box."""

    family = "segmentation"
    program = "segment_objects"
    encoded = EncodedSegments
    problem = "object_segmentation"
    head = SEGMENT
    polygons = True

    def preprocessing(self, model: Path, spec: SparseTransferSpec) -> dict[str, Any]:
        """Returns how pictures are letterboxed, and how masks are put together, at that size."""
        from sparse_transfer_runner.yolo.network import mask_grid

        config = super().preprocessing(model, spec)
        prototypes, side = mask_grid(self.read(model), config["side"])
        return {**config, "prototypes": prototypes, "mask_side": side}

    def metric_names(self, problem_type: str, labels: Sequence[str]) -> Sequence[str]:
        """Returns the metrics that can be the primary one, the default first."""
        return NAMES

    def primary_metric(self, plan: Plan) -> str:
        """Returns the default primary metric: mAP of masks over thresholds from 0.50 to 0.95."""
        return NAMES[0]

    def score(self, outputs: NDArray[Any], rows: EncodedSplit, plan: Plan) -> Scored:
        """Scores objects with their masks, as ``EncodedSegments.reduced`` keeps them."""
        return scored(outputs, _segments(rows))

    def same_answers(
        self, outputs: NDArray[Any], reference: NDArray[Any], rows: EncodedSplit, plan: Plan
    ) -> float:
        """Returns the share of sure objects that both find, by their masks."""
        alike = partial(alike_masks, side=_segments(rows).masks.side)
        return same_answers(outputs, reference, alike)


def _segments(rows: EncodedSplit) -> EncodedSegments:
    assert isinstance(rows, EncodedSegments)
    return rows
