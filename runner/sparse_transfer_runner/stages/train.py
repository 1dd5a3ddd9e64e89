"""Train: the dense baseline first, then the transfer that follows it on the foundation's mask."""

from __future__ import annotations

import shutil
from contextlib import AbstractContextManager
from dataclasses import replace

from sparse_transfer_api.contract import MANIFEST
from sparse_transfer_api.errors import InputError
from sparse_transfer_api.records import Plan
from sparse_transfer_runner.output import StageFolder
from sparse_transfer_runner.training.backoff import Backoff
from sparse_transfer_runner.training.baseline import train_baseline
from sparse_transfer_runner.training.memory_notes import learning_from_kills
from sparse_transfer_runner.training.outputs import MODEL
from sparse_transfer_runner.training.task import Task
from sparse_transfer_runner.training.transfer import Shares, transfer, transfer_digests
from sparse_transfer_runner.training.whole_batches import whole_batches
from sparse_transfer_runner.use_cases import use_case
from sparse_transfer_runner.use_cases.protocol import TrainsItself

from .context import StageContext, StageOutcome


def run(context: StageContext) -> StageOutcome:
    """Trains what the plan says; resumes from checkpoints, and reuses a finished baseline."""
    plan = context.plan()
    with _backoff(context, plan) as backoff:
        outcome = _trained(Task.load(context, backoff))
    told = [each for each in (outcome.message, backoff.sentence) if each is not None]
    return replace(outcome, message="; ".join(told))


def _backoff(context: StageContext, plan: Plan) -> AbstractContextManager[Backoff]:
    batch_size = plan.training.batch_size
    if isinstance(use_case(plan.use_case), TrainsItself):
        return whole_batches(context.work, batch_size)
    return learning_from_kills(context.work, batch_size)


def _trained(task: Task) -> StageOutcome:
    plan, context = task.plan, task.context
    product_is_baseline = plan.level == 0
    shares = Shares.of(
        plan.baseline.epochs if plan.baseline else 0.0,
        0.0 if product_is_baseline else plan.training.epochs,
    )
    baseline = train_baseline(task, shares.baseline) if plan.baseline else None
    if product_is_baseline:
        return _ship(task, baseline)
    metrics = transfer(task, baseline, shares)
    metric = task.use_case.primary_metric(plan)
    return StageOutcome(
        message=f"{metric} {metrics[metric]:.4f} on {plan.evaluation_split}",
        digests=transfer_digests(context.work.path),
        headline={metric: metrics[metric]},
        licences=plan.licences,
    )


def restore(context: StageContext) -> None:
    """Trains the baseline anew, where its folder has vanished after the stage had finished."""
    batch_size = context.plan().training.batch_size
    train_baseline(Task.load(context, Backoff(batch_size)), share=1.0)


def _ship(task: Task, baseline: StageFolder | None) -> StageOutcome:
    """At level 0 the baseline is the product: its files are the stage's."""
    if baseline is None:
        raise InputError("level 0 ships the dense baseline, but spec.baseline.mode is None")
    target = task.context.work.path
    for source in baseline.path.iterdir():
        if source.is_dir() and source.name == MODEL:
            shutil.copytree(source, target / source.name, dirs_exist_ok=True)
        elif source.is_file() and source.name != MANIFEST:
            shutil.copy2(source, target / source.name)
    return StageOutcome(
        message="the dense baseline is the product",
        digests=transfer_digests(task.context.work.path),
        licences=task.plan.licences,
    )
