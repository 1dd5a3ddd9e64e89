"""The headline file's metric beside the baseline's: what recovery is made of."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sparse_transfer_api.results import MetricResult

from .baseline import constant_metric
from .bootstrap import recovery_interval
from .results import Score
from .task import PackageTask, TrainedModel


def score_of(
    task: PackageTask,
    logits: NDArray[np.float32],
    product: TrainedModel,
    baseline: TrainedModel | None,
) -> Score:
    """Compares the headline's file with the baseline on the same rows.

    Recovery is null where the baseline is unknown, or no better than a constant answer. At level 0
    the product is the baseline, and recovery is 1 by definition.

    Args:
        task: The experiment's task.
        logits: Of the headline's shipped file on the evaluation rows.
        product: The trained model that the file was made from.
        baseline: Its trained dense counterpart, where there is one.
    """
    value = task.metric(logits, task.evaluation.targets)
    dense = _dense_value(task, product, baseline)
    useful = dense if dense is not None and dense > _constant(task, logits.shape[1]) else None
    result = MetricResult(
        name=task.metric_name,
        baseline=dense,
        value=value,
        samples=len(task.evaluation),
        split=task.plan.evaluation_split,
    )
    if task.plan.level == 0:
        return Score(result, 1.0, product.metric)
    if useful is None:
        return Score(result, None, product.metric)
    interval = recovery_interval(
        logits,
        baseline.logits if baseline else None,
        task.evaluation.targets,
        task.metric,
        given=None if baseline else useful,
        seed=task.plan.training.seed,
    )
    return Score(result.model_copy(update={"interval": interval}), value / useful, product.metric)


def _dense_value(
    task: PackageTask, product: TrainedModel, baseline: TrainedModel | None
) -> float | None:
    if task.plan.level == 0:
        return product.metric
    return baseline.metric if baseline else task.context.spec.baseline.value


def _constant(task: PackageTask, labels: int) -> float:
    return constant_metric(task.evaluation.targets, task.metric, task.plan.problem_type, labels)
