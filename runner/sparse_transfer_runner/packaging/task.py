"""What package works on: the plan, the rows, and the trained models to be made into files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sparse_transfer_api.contract import TEACHER_FOLDER, Stage
from sparse_transfer_api.errors import OutputVanished
from sparse_transfer_api.records import Plan
from sparse_transfer_runner.data.recorded import recorded_data
from sparse_transfer_runner.engines.forms import InputScale
from sparse_transfer_runner.engines.protocol import Quantizable, Session
from sparse_transfer_runner.output import StageFolder
from sparse_transfer_runner.quantization.fake_quantize import (
    QuantizationRecord,
    quantizable_layers,
)
from sparse_transfer_runner.sparsity.prunable import foundation_weights
from sparse_transfer_runner.stages.context import StageContext
from sparse_transfer_runner.training.batches import sorted_by_length
from sparse_transfer_runner.training.loop import lengths_of
from sparse_transfer_runner.training.outputs import (
    MASKS,
    MODEL,
    QUANTIZATION,
    predictions_file,
)
from sparse_transfer_runner.use_cases import use_case
from sparse_transfer_runner.use_cases.metrics import resolve_metric
from sparse_transfer_runner.use_cases.protocol import Batch, EncodedSplit, Preprocessor, UseCase
from sparse_transfer_runner.use_cases.scores import Scored

from .bootstrap import recovery_interval
from .calibration import BATCH, ROWS, calibrate, most_sensitive
from .choice import ChoiceScore
from .export import export_onnx
from .mask_check import Masks, load_masks
from .points import Point, shaped
from .scoring import outputs_of

_TRACED = Point(2, 16)
"""Shape of the traced example; the exported file takes others."""
_INTERVAL_DEVIATIONS = 2 * 1.96
"""Width of a 95 % interval in standard deviations."""


@dataclass(frozen=True)
class PackageTask:
    """One experiment's task, loaded for package.

    Args:
        context: The package stage's.
        plan: What prepare decided.
        use_case: The kind of task.
        preprocessor: The product's.
        metric_name: The primary metric, higher is better.
        evaluation: The rows that are reported on.
        choice: The rows on which choices are made.
        calibration: Batches of training rows.
    """

    context: StageContext
    plan: Plan
    use_case: UseCase
    preprocessor: Preprocessor
    metric_name: str
    evaluation: EncodedSplit
    choice: EncodedSplit
    calibration: Sequence[Batch]

    @classmethod
    def load(cls, context: StageContext) -> PackageTask:
        """Reads the plan and encodes the splits.

        Raises:
            InputError: The data is not what prepare checked.
        """
        plan = context.plan()
        use = use_case(plan.use_case)
        data = recorded_data(plan.data_uri or context.spec.data.uri, plan)
        preprocessor = use.preprocessor(context.earlier[Stage.TRAIN].path / MODEL, plan)
        return cls(
            context,
            plan,
            use,
            preprocessor,
            resolve_metric(
                context.spec.evaluation.metric, use.metric_names(plan.problem_type, plan.labels)
            ),
            evaluation=use.load(data, plan, plan.evaluation_split, preprocessor),
            choice=use.load(data, plan, "choice", preprocessor),
            calibration=_in_batches(use.load(data, _with_few_rows(plan), "train", preprocessor)),
        )

    def score(self, outputs: NDArray[np.float32], rows: EncodedSplit) -> Scored:
        """Scores a model's outputs for all rows of a split."""
        return self.use_case.score(outputs, rows, self.plan)

    def metric(self, outputs: NDArray[np.float32], rows: EncodedSplit) -> float:
        """Returns the primary metric of a model's outputs for all rows of a split."""
        return self.score(outputs, rows).metrics[self.metric_name]

    def example(self, point: Point) -> Batch:
        """Returns inputs of a point's shape."""
        return shaped(self.use_case.example_inputs(self.plan, 1, point.sequence), point)

    def product(self) -> TrainedModel:
        """Returns the model that the experiment is about."""
        return TrainedModel(self, "product", self.context.earlier[Stage.TRAIN])

    def baseline(self) -> TrainedModel | None:
        """Returns the dense counterpart, where one was trained and is not the product itself."""
        folder = self.context.earlier.get(TEACHER_FOLDER)
        return TrainedModel(self, "dense", folder) if folder and self.plan.level > 0 else None


@dataclass(frozen=True)
class TorchSession:
    """A torch model in an engine's place, on the CPU."""

    module: nn.Module

    def run(self, batch: Batch) -> NDArray[np.float32]:
        """Returns the logits, batch first."""
        with torch.inference_mode():
            inputs = {name: torch.as_tensor(values) for name, values in batch.items()}
            logits: NDArray[np.float32] = self.module(**inputs).logits.float().numpy()
        return logits


@dataclass(frozen=True)
class TrainedModel:
    """A trained model and what is derived from it once.

    Args:
        task: The experiment's task.
        label: ``dense`` or ``product``.
        folder: The stage output it lies in.
    """

    task: PackageTask
    label: str
    folder: StageFolder

    @cached_property
    def masks(self) -> Masks:
        """The masks that training kept; none for a dense model."""
        return load_masks(self.folder.path / MASKS)

    @cached_property
    def logits(self) -> NDArray[np.float32]:
        """The trained model's own outputs on the evaluation rows.

        Raises:
            OutputVanished: They are missing, or belong to other rows.
        """
        path = self.folder.path / predictions_file(self.task.plan.evaluation_split)
        try:
            with np.load(path) as saved:
                logits: NDArray[np.float32] = saved["logits"]
        except (OSError, KeyError, ValueError) as error:
            raise OutputVanished(
                f"{path}: cannot be read ({error}); {self.folder.stage} has to run again"
            ) from error
        if len(logits) != len(self.task.evaluation):
            raise OutputVanished(
                f"{path}: holds {len(logits)} rows, but {self.task.plan.evaluation_split} has "
                f"{len(self.task.evaluation)}; {self.folder.stage} has to run again"
            )
        return logits

    @cached_property
    def score(self) -> Scored:
        """The trained model's own score on the evaluation rows."""
        return self.task.score(self.logits, self.task.evaluation)

    @property
    def metric(self) -> float:
        """The trained model's primary metric on the evaluation rows."""
        return self.score.metrics[self.task.metric_name]

    @cached_property
    def choice_scored(self) -> Scored:
        """The trained model's score on the choice rows, computed in fp32."""
        rows = self.task.choice
        return self.task.score(outputs_of(TorchSession(self.module), rows), rows)

    @property
    def choice_metric(self) -> float:
        """The trained model's primary metric on the choice rows."""
        return self.choice_scored.metrics[self.task.metric_name]

    def choice_score(self, session: Session) -> ChoiceScore:
        """Scores a file that was made from this model on the choice rows."""
        name, rows = self.task.metric_name, self.task.choice
        found = self.task.score(outputs_of(session, rows), rows)
        spread = recovery_interval(found, self.choice_scored, name)
        deviations = 0.0 if spread is None else (spread.high - spread.low) / _INTERVAL_DEVIATIONS
        return ChoiceScore(found.metrics[name], deviations * self.choice_metric)

    @cached_property
    def module(self) -> nn.Module:
        """The model in torch, on the CPU."""
        return self.task.use_case.build(self.folder.path / MODEL, self.task.plan).cpu().eval()

    def export(self, path: Path) -> None:
        """Writes the model as fp32 ONNX."""
        sequence = _TRACED.sequence if self.task.plan.max_sequence_length else None
        example = self.task.example(Point(_TRACED.batch, sequence))
        export_onnx(self.module, example, path, dynamic_sequence=sequence is not None)

    def quantizable(self, source: Path) -> Quantizable:
        """Returns what INT8 files are made from: learned scales, or calibrated ones.

        Args:
            source: The exported fp32 file.
        """
        convolutional = any(
            isinstance(self.module.get_submodule(name), nn.Conv2d) for name in self.scales
        )
        return Quantizable(source, self.scales, self.task.calibration, convolutional)

    @cached_property
    def scales(self) -> Mapping[str, InputScale]:
        """The input scale of each layer to quantize."""
        path = self.folder.path / QUANTIZATION
        if not path.is_file():
            return calibrate(self.module, self._layers(), self.task.calibration)
        record = QuantizationRecord.model_validate_json(path.read_bytes())
        return {
            name: InputScale(scale.input_scale, scale.input_zero_point)
            for name, scale in record.modules.items()
        }

    def sensitive(self) -> Sequence[str]:
        """Returns the quantized modules, that which INT8 disturbs most first."""
        layers = {name: module for name, module in self._layers().items() if name in self.scales}
        return most_sensitive(self.module, layers, self.scales, self.task.calibration)

    def _layers(self) -> dict[str, nn.Module]:
        return quantizable_layers(self.module, foundation_weights(self.module))


def _with_few_rows(plan: Plan) -> Plan:
    """Returns the plan with no more training rows than calibration needs."""
    rows = min(ROWS, plan.training.max_train_samples or ROWS)
    training = plan.training.model_copy(update={"max_train_samples": rows})
    return plan.model_copy(update={"training": training})


def _in_batches(rows: EncodedSplit) -> list[Batch]:
    return [rows.collate(places) for places in sorted_by_length(lengths_of(rows), BATCH)]
