"""Image classification: one class a picture, from an image folder."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from sparse_transfer_api.records import Plan, SplitInfo
from sparse_transfer_runner.catalog.checked import CheckedModel
from sparse_transfer_runner.catalog.image_models import (
    ImageModel,
    check_image_model,
    read_image_model,
)
from sparse_transfer_runner.data.selection import selected_rows
from sparse_transfer_runner.pictures.augmentation import Augmentation
from sparse_transfer_runner.pictures.check import check_pictures
from sparse_transfer_runner.pictures.folders import read_split
from sparse_transfer_runner.pictures.preprocessing import INPUT

from . import image_model, metrics
from .classification_scores import constant_metric, same_answers, scored
from .image_inputs import EncodedPictures, ImagePreprocessor
from .protocol import Batch, DataSummary, EncodedSplit, Preprocessor
from .scores import Scored

if TYPE_CHECKING:
    from torch import nn

    from sparse_transfer_api.spec import SparseTransferSpec


class ImageClassification:
    """The use case behind ``cv-classification``.

    Args:
        name: Canonical name.
    """

    family = "image"
    default_batch_size = 64
    solves_start = False
    program = "classify_images"

    def __init__(self, name: str) -> None:
        self.name = str(name)

    def inspect(self, data: Path, spec: SparseTransferSpec) -> DataSummary:
        """Checks every picture of an image folder; see ``pictures.check``."""
        checked = check_pictures(data)
        return DataSummary(
            problem_type=metrics.SINGLE_LABEL,
            columns={},
            labels=checked.labels,
            splits=[
                SplitInfo(
                    name=cast(Any, name),
                    file=split.path.relative_to(data).as_posix(),
                    samples=len(split.files()),
                    digest=checked.digests[name],
                )
                for name, split in checked.splits.items()
            ],
            digest=checked.digest,
            warnings=checked.warnings,
        )

    def check(self, model: Path, *, trusted: bool) -> CheckedModel:
        """Checks a model's files; see ``catalog.image_models``."""
        return check_image_model(model, trusted=trusted)

    def preprocessor(self, model: Path, plan: Plan | None = None) -> ImagePreprocessor:
        """Returns a model's transforms, or those that the plan decided on."""
        if plan is not None and plan.preprocessing is not None:
            return ImagePreprocessor(plan.preprocessing)
        return ImagePreprocessor.of(_read(model), model)

    def same_inputs(self, first: Preprocessor, second: Preprocessor) -> bool:
        """Whether both normalize pictures alike; their size is the experiment's."""
        return _transforms(first).same_as(_transforms(second))

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
        """Returns the transforms at the experiment's size, with its augmentation."""
        read = _read(model)
        own = ImagePreprocessor.of(read, model)
        side = spec.training.image_size
        if side is not None:
            own = own.sized(side)
        image_model.require_size(read, own.size[0], model)
        return dict(own.augmenting(Augmentation.of(spec.training.augmentation)).config)

    def load(
        self, data: Path, plan: Plan, split: str, preprocessor: Preprocessor
    ) -> EncodedPictures:
        """Lists the pictures of a split: ``train``, ``val``, ``test`` or ``choice``."""
        info, rows = selected_rows(plan, split)
        folder = data / info.file
        every = read_split(folder).files()
        chosen = [every[row] for row in rows]
        index = {label: position for position, label in enumerate(plan.labels)}
        return EncodedPictures(
            root=folder,
            files=[f"{label}/{name}" for label, name in chosen],
            targets=np.asarray([index[label] for label, _ in chosen], dtype=np.int64),
            preprocessor=_transforms(preprocessor),
        )

    def build(self, model: Path, plan: Plan) -> nn.Module:
        """Loads a model with a head for the plan's classes."""
        return image_model.build_classifier(model, plan.labels, plan.training.seed)

    def has_head(self, model: Path, labels: Sequence[str], problem_type: str) -> bool:
        """Whether a model already answers with these classes."""
        return image_model.has_head(model, labels)

    def gains_from_bf16(self, model: Path) -> bool:
        """Whether no convolution looks at each channel by itself: these are slower in bf16."""
        return not image_model.has_depthwise(_read(model).architecture.skeleton())

    def activation_bytes(self, model: Path, plan: Plan) -> int:
        """Returns the memory that a training step in fp32 keeps for its backward pass, in bytes."""
        side = self.preprocessor(model, plan).size[0]
        return image_model.activation_bytes(_read(model), side, plan.training.batch_size)

    def save(self, model: nn.Module, folder: Path) -> None:
        """Writes a model so that ``build`` reads it back."""
        image_model.save_classifier(model, folder)

    def is_head(self, parameter: str) -> bool:
        """Whether a parameter has a name that heads of image classifiers usually have."""
        return parameter.startswith(("classifier.", "fc.", "head.", "heads."))

    def metric_names(self, problem_type: str, labels: Sequence[str]) -> Sequence[str]:
        """Returns the metrics that can be the primary one, the default first."""
        return metrics.names_for_classes(len(labels))

    def primary_metric(self, plan: Plan) -> str:
        """Returns the default primary metric: top-1 accuracy."""
        return metrics.names_for_classes(len(plan.labels))[0]

    def score(self, outputs: NDArray[Any], rows: EncodedSplit, plan: Plan) -> Scored:
        """Scores logits ``[rows, classes]``; top-5 accuracy too where that says something."""
        return scored(outputs, rows.targets, metrics.score_classes)

    def constant_metric(self, metric: str, rows: EncodedSplit, plan: Plan) -> float:
        """Returns a metric of the most frequent class."""
        kind, classes = plan.problem_type, len(plan.labels)
        return constant_metric(rows.targets, classes, kind, metrics.score_classes, metric)

    def same_answers(
        self, outputs: NDArray[Any], reference: NDArray[Any], rows: EncodedSplit, plan: Plan
    ) -> float:
        """Returns the share of pictures with the same class."""
        return same_answers(outputs, reference, plan.problem_type)

    def example_inputs(self, plan: Plan, batch: int, sequence: int | None) -> Batch:
        """Returns arbitrary pictures, the same at every call."""
        assert plan.preprocessing is not None, "prepare records it for pictures"
        height, width = ImagePreprocessor(plan.preprocessing).size
        random = np.random.default_rng(0)
        return {INPUT: random.standard_normal((batch, 3, height, width), dtype=np.float32)}


@lru_cache(maxsize=1)
def _read(model: Path) -> ImageModel:
    """Returns a model's files that were checked; asked for several times in a row."""
    return read_image_model(model, trusted=True)


def _transforms(preprocessor: Preprocessor) -> ImagePreprocessor:
    if not isinstance(preprocessor, ImagePreprocessor):
        raise TypeError(f"an image use case needs an ImagePreprocessor, not {type(preprocessor)}")
    return preprocessor
