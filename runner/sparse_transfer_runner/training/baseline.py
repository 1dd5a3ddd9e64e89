"""The dense baseline: what recovery is measured against, and with teacher mode Auto the teacher.

It is an output of its own: every level of the same task on the same data shares it.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sparse_transfer_api.contract import TEACHER_FOLDER
from sparse_transfer_api.records import Manifest
from sparse_transfer_runner.output import Attempt, StageFolder
from sparse_transfer_runner.provenance import stage_provenance
from sparse_transfer_runner.recipes import parse_recipe
from sparse_transfer_runner.storage import fetch

from .backend import NativeBackend
from .outputs import write_evaluation, write_model
from .stepped_run import device
from .task import Task


def train_baseline(task: Task, share: float) -> StageFolder:
    """Trains the dense counterpart, or finds it trained.

    Args:
        task: Its plan has a baseline.
        share: Of the stage's time, for the progress.

    Returns:
        Its complete folder.
    """
    key = task.plan.teacher_key
    assert key is not None
    folder = StageFolder(task.context.root.below(f"{TEACHER_FOLDER}-{key}"), TEACHER_FOLDER, key)
    recorded = folder.tidied()
    if recorded is not None:
        with task.context.reporter.activity("baseline (recorded)", share):
            folder.bring(recorded)
            return folder
    with folder.attempt() as work:
        _train(task, work, share)
        work.complete(
            Manifest(
                stage=TEACHER_FOLDER,
                key=key,
                created=datetime.now(UTC),
                files=[],
                provenance=stage_provenance(task.context.experiment, task.context.earlier),
            )
        )
    return folder


def _train(task: Task, work: Attempt, share: float) -> None:
    plan, settings = task.plan, task.plan.baseline
    assert plan.dense is not None and settings is not None
    model = task.use_case.build(fetch(plan.dense.uri), plan).to(device())
    recipe = parse_recipe(settings.recipe)
    backend = NativeBackend(model, recipe, plan.problem_type)
    with task.checkpoints("baseline", settings, work) as checkpoints:
        training = task.training("baseline", model, settings, recipe, backend, checkpoints)
        with task.context.reporter.activity("baseline", share, training.total_steps):
            history = training.fit()
            write_evaluation(task, work, model, history)
            write_model(task, work, model)
