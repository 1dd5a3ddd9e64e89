"""Object detection: a box and a class for each object, from YOLO's data by YOLO's networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from sparse_transfer_api.errors import InputError
from sparse_transfer_api.records import Plan, SplitInfo
from sparse_transfer_runner.catalog.checked import CheckedModel
from sparse_transfer_runner.data.findings import Findings
from sparse_transfer_runner.data.selection import selected_rows
from sparse_transfer_runner.detection.check import check_objects, digest_of_objects
from sparse_transfer_runner.detection.detections import INPUT
from sparse_transfer_runner.detection.layout import find_layout
from sparse_transfer_runner.recipes import SPARSEML, Recipe
from sparse_transfer_runner.yolo.architecture import DETECT
from sparse_transfer_runner.yolo.files import YoloModel, check_yolo, read_yolo
from sparse_transfer_runner.yolo.library import LICENCE, require_ultralytics

from .object_inputs import AUGMENTATION, EncodedObjects, ObjectPreprocessor
from .object_scores import NAMES, same_answers, scored
from .protocol import Batch, DataSummary, EncodedSplit, Preprocessor
from .scores import Scored

if TYPE_CHECKING:
    from torch import nn

    from sparse_transfer_api.spec import SparseTransferSpec


class ObjectDetection:
    """The use case behind ``cv-detection``.

    Args:
        name: Canonical name.
    """

    family = "detection"
    default_batch_size = 16
    solves_start = False
    program = "detect_objects"
    encoded: type[EncodedObjects] = EncodedObjects
    problem = "object_detection"
    head = DETECT
    """Of the networks that it trains."""
    polygons = False
    """Whether objects are outlined, rather than boxed."""
    loop_licences: Mapping[str, str] = {"ultralytics, which trained it": LICENCE}

    def __init__(self, name: str) -> None:
        self.name = str(name)

    def inspect(self, data: Path, spec: SparseTransferSpec) -> DataSummary:
        """Checks pictures and labels; see ``detection.check``."""
        checked = check_objects(data, polygons=self.polygons)
        return DataSummary(
            problem_type=self.problem,
            columns={},
            labels=checked.layout.labels,
            splits=[
                SplitInfo(
                    name=cast(Any, name),
                    file=split.place,
                    samples=len(split.items),
                    digest=checked.digests[name],
                )
                for name, split in checked.layout.splits.items()
            ],
            digest=checked.digest,
            warnings=checked.warnings,
        )

    def split_digest(self, data: Path, name: str) -> str | None:
        """Returns the digest of a split's pictures, labels and names of classes."""
        return digest_of_objects(data, name, polygons=self.polygons)

    def check(self, model: Path, *, trusted: bool) -> CheckedModel:
        """Checks a model's files; see ``yolo.files``."""
        return check_yolo(model, trusted=trusted, head=self.head)

    def preprocessor(self, model: Path, plan: Plan | None = None) -> ObjectPreprocessor:
        """Returns how a model's pictures are letterboxed, or what the plan decided of it."""
        if plan is not None and plan.preprocessing is not None:
            return ObjectPreprocessor(plan.preprocessing)
        return ObjectPreprocessor.of(model)

    def same_inputs(self, first: Preprocessor, second: Preprocessor) -> bool:
        """Returns True: all of them see colours from 0 to 1, of any size."""
        return True

    def input_names(self, summary: DataSummary, preprocessor: Preprocessor) -> list[str]:
        """Returns the model's one input."""
        return [INPUT]

    def natural_length(
        self,
        data: Path,
        summary: DataSummary,
        preprocessor: Preprocessor,
        asked: int | None = None,
    ) -> None:
        """Returns None: pictures have no length."""

    def preprocessing(self, model: Path, spec: SparseTransferSpec) -> dict[str, Any]:
        """Returns how pictures are letterboxed at the experiment's size."""
        from sparse_transfer_runner.yolo.network import largest_stride

        own = ObjectPreprocessor.of(model)
        side = spec.training.image_size or own.side
        stride = largest_stride(self.read(model))
        if side % stride or side < 2 * stride:
            raise InputError(
                f"spec.training.imageSize: {side}; expected a multiple of {stride} pixels, "
                f"{2 * stride} or more, such as {max(2, round(side / stride)) * stride}"
            )
        augmentation = str(spec.training.augmentation)
        return dict(own.with_(side=side, **{AUGMENTATION: augmentation}).config)

    def load(
        self, data: Path, plan: Plan, split: str, preprocessor: Preprocessor
    ) -> EncodedObjects:
        """Lists the pictures of a split: ``train``, ``val``, ``test`` or ``choice``."""
        info, rows = selected_rows(plan, split)
        found = find_layout(data, Findings(), polygons=self.polygons).splits[info.name]
        return self.encoded(
            root=data,
            items=[found.items[row] for row in rows],
            labels=plan.labels,
            preprocessor=_letterbox(preprocessor),
        )

    def build(self, model: Path, plan: Plan) -> nn.Module:
        """Loads a model with a head for the plan's classes."""
        from sparse_transfer_runner.yolo.network import build_detector

        return build_detector(model, plan.labels, plan.training.seed, head=self.head)

    def has_head(self, model: Path, labels: Sequence[str], problem_type: str) -> bool:
        """Whether a model already answers with these classes."""
        return self.read(model).labels == tuple(labels)

    def gains_from_bf16(self, model: Path) -> bool:
        """Returns True: a YOLO's convolutions are dense."""
        return True

    def activation_bytes(self, model: Path, plan: Plan) -> int:
        """Returns the memory that a training step in fp32 keeps for its backward pass, in bytes."""
        from sparse_transfer_runner.yolo.network import activation_bytes

        side = self.preprocessor(model, plan).side
        return activation_bytes(self.read(model), side, plan.training.batch_size)

    def save(self, model: nn.Module, folder: Path) -> None:
        """Writes a model so that ``build`` reads it back."""
        from sparse_transfer_runner.yolo.network import Detector, save_detector

        assert isinstance(model, Detector)
        save_detector(model, folder)

    def is_head(self, parameter: str) -> bool:
        """Whether a parameter belongs to the branch of a YOLO head that tells classes."""
        return ".cv3." in parameter

    def metric_names(self, problem_type: str, labels: Sequence[str]) -> Sequence[str]:
        """Returns the metrics that can be the primary one, the default first."""
        return NAMES

    def primary_metric(self, plan: Plan) -> str:
        """Returns the default primary metric: mAP over thresholds from 0.50 to 0.95."""
        return NAMES[0]

    def score(self, outputs: NDArray[Any], rows: EncodedSplit, plan: Plan) -> Scored:
        """Scores detections ``[rows, 300, 6]``."""
        return scored(outputs, _objects(rows))

    def constant_metric(self, metric: str, rows: EncodedSplit, plan: Plan) -> float:
        """Returns 0: no box is right wherever the objects are."""
        return 0.0

    def same_answers(
        self, outputs: NDArray[Any], reference: NDArray[Any], rows: EncodedSplit, plan: Plan
    ) -> float:
        """Returns the share of sure detections that both make."""
        return same_answers(outputs, reference)

    def example_inputs(self, plan: Plan, batch: int, sequence: int | None) -> Batch:
        """Returns arbitrary pictures, the same at every call."""
        assert plan.preprocessing is not None, "prepare records it for pictures"
        side = ObjectPreprocessor(plan.preprocessing).side
        values = np.random.default_rng(0).random((batch, 3, side, side), dtype=np.float32)
        return {INPUT: values}

    def require_recipe(self, recipe: Recipe) -> None:
        """Makes sure that Ultralytics' loop honours a recipe: it knows answers, no hidden states.

        Raises:
            InputError: The recipe distils hidden states, or is for SparseML.
        """
        if recipe.backend == SPARSEML:
            raise InputError(
                "recipe: SparseML cannot join Ultralytics' training loop; leave "
                "spec.recipe.backend out, and use modifiers that the native backend knows"
            )
        if recipe.hidden_distillation is not None:
            raise InputError(
                f"recipe: {self.name} follows a teacher's answers alone; remove "
                "PerLayerDistillationModifier, and use DistillationModifier"
            )

    def training_run(self, **run: Any) -> Any:
        """Returns a run of Ultralytics' loop."""
        require_ultralytics()
        from sparse_transfer_runner.yolo.training import DetectorRun

        return DetectorRun(**run)

    def read(self, model: Path) -> YoloModel:
        """Reads files that were checked before, with the head that is trained."""
        # Whether the origin is trusted was decided when the files were checked.
        return read_yolo(model, trusted=True, head=self.head)


def _letterbox(preprocessor: Preprocessor) -> ObjectPreprocessor:
    assert isinstance(preprocessor, ObjectPreprocessor)
    return preprocessor


def _objects(rows: EncodedSplit) -> EncodedObjects:
    assert isinstance(rows, EncodedObjects)
    return rows
