"""What a finished training run leaves in its folder, for package and for the user."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import nn

from sparse_transfer_runner.disk import write_json
from sparse_transfer_runner.output import Attempt
from sparse_transfer_runner.packaging.evaluation import HistoryPoint
from sparse_transfer_runner.use_cases.protocol import ReducedSplit

from .inference import logits_of
from .task import Task

MODEL = "model"
MASKS = "masks.safetensors"
QUANTIZATION = "quantization.json"
HISTORY = "history.json"
METRICS = "evaluation.json"


def predictions_file(split: str) -> str:
    """Returns the name of the file with a split's logits and targets."""
    return f"predictions-{split}.npz"


def write_evaluation(
    task: Task, work: Attempt, model: nn.Module, history: Sequence[HistoryPoint]
) -> dict[str, float]:
    """Scores the model as it computes now, and writes predictions, metrics and learning curve.

    Returns:
        Every metric on the evaluation split.
    """
    split, rows = task.plan.evaluation_split, task.evaluation
    work.path.mkdir(parents=True, exist_ok=True)
    logits = logits_of(model, rows, on_batch=task.stop_check())
    metrics = dict(task.use_case.score(logits, rows, task.plan).metrics)
    # What is reduced is mostly room for more: boxes that are not there, masks that are empty.
    write = np.savez_compressed if isinstance(rows, ReducedSplit) else np.savez
    write(work.path / predictions_file(split), logits=logits, targets=rows.targets)
    write_json(work.path / METRICS, {"schemaVersion": 1, "split": split, "metrics": metrics})
    points = [point.model_dump(mode="json", by_alias=True, exclude_none=True) for point in history]
    write_json(work.path / HISTORY, points)
    return metrics


def write_model(task: Task, work: Attempt, model: nn.Module) -> None:
    """Writes the model, free of rounding, with its preprocessor."""
    target = work.path / MODEL
    task.use_case.save(model, target)
    task.preprocessor.save(target)
