"""The headline file's metric beside the baseline's: what recovery is made of."""

from __future__ import annotations

from sparse_transfer_api.results import MetricResult
from sparse_transfer_runner.use_cases.protocol import EncodedSplit

from .bootstrap import recovery_interval
from .results import Score
from .task import PackageTask, TrainedModel
from .verification import VerifiedFile


def score_of(
    task: PackageTask,
    shipped: VerifiedFile,
    product: TrainedModel,
    baseline: TrainedModel | None,
) -> Score:
    """Compares the headline's file with the baseline on the same rows.

    Recovery is null where the baseline is unknown, or no better than a constant answer. At level 0
    the product is the baseline, and recovery is 1 by definition.

    Args:
        task: The experiment's task.
        shipped: The headline's file.
        product: The trained model that the file was made from.
        baseline: Its trained dense counterpart, where there is one.
    """
    scored = task.score(shipped.logits, task.evaluation)
    value = scored.metrics[task.metric_name]
    dense = _dense_value(task, product, baseline)
    useful = _if_useful(task, dense, task.evaluation)
    result = MetricResult(
        name=task.metric_name,
        baseline=dense,
        value=value,
        samples=scored.samples,
        split=task.plan.evaluation_split,
    )
    if task.plan.level == 0:
        return Score(result, 1.0, product.metric, choice_recovery=1.0)
    if useful is None:
        return Score(result, None, product.metric)
    interval = recovery_interval(
        scored,
        baseline.score if baseline else None,
        task.metric_name,
        given=None if baseline else useful,
        seed=task.plan.training.seed,
    )
    return Score(
        result.model_copy(update={"interval": interval}),
        value / useful,
        product.metric,
        _choice_recovery(task, shipped, baseline),
    )


def _dense_value(
    task: PackageTask, product: TrainedModel, baseline: TrainedModel | None
) -> float | None:
    if task.plan.level == 0:
        return product.metric
    return baseline.metric if baseline else task.context.spec.baseline.value


def _choice_recovery(
    task: PackageTask, shipped: VerifiedFile, baseline: TrainedModel | None
) -> float | None:
    """Returns the recovery on the rows that choices are made on."""
    given = task.context.spec.baseline.value
    dense = _if_useful(task, baseline.choice_metric if baseline else given, task.choice)
    found = shipped.record.choice_metric
    return None if dense is None or found is None else found / dense


def _if_useful(task: PackageTask, dense: float | None, rows: EncodedSplit) -> float | None:
    """Returns a baseline's metric where it is better than a constant answer's."""
    constant = task.use_case.constant_metric(task.metric_name, rows, task.plan)
    return dense if dense is not None and dense > constant else None
