"""The headline file's metric beside the baseline's: what recovery is made of."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sparse_transfer_api.results import MetricResult

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
    scored = task.score(logits, task.evaluation)
    value = scored.metrics[task.metric_name]
    dense = _dense_value(task, product, baseline)
    useful = dense if dense is not None and dense > _constant(task) else None
    result = MetricResult(
        name=task.metric_name,
        baseline=dense,
        value=value,
        samples=scored.samples,
        split=task.plan.evaluation_split,
    )
    if task.plan.level == 0:
        return Score(result, 1.0, product.metric)
    if useful is None:
        return Score(result, None, product.metric)
    interval = recovery_interval(
        scored,
        baseline.score if baseline else None,
        task.metric_name,
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


def _constant(task: PackageTask) -> float:
    return task.use_case.constant_metric(task.metric_name, task.evaluation, task.plan)
