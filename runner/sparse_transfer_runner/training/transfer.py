"""The transfer: the foundation's mask, the teacher's knowledge, the user's data.

An attempt that finds a checkpoint goes on from it: within the least-squares start, after it, or
within training. The teacher's pass over the data, cheaper than a step on each batch, is repeated.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from sparse_transfer_api.errors import InputError
from sparse_transfer_runner.catalog.foundation import read_foundation
from sparse_transfer_runner.digests import digest_of_tree, sha256_of
from sparse_transfer_runner.disk import write_atomically
from sparse_transfer_runner.output import Attempt, StageFolder
from sparse_transfer_runner.quantization.fake_quantize import quantizable_layers
from sparse_transfer_runner.recipes import NATIVE, SPARSEML, Recipe, matches, parse_recipe
from sparse_transfer_runner.sparsity.masks import Masks
from sparse_transfer_runner.sparsity.patterns import Pattern, pattern_named
from sparse_transfer_runner.sparsity.prunable import foundation_weights, prunable_weights
from sparse_transfer_runner.stages.foundation import SPARSE_FROM
from sparse_transfer_runner.storage import fetch
from sparse_transfer_runner.use_cases.protocol import AugmentedSplit, TrainsItself

from .backend import Backend, NativeBackend, Teacher
from .checkpoint import Checkpoints
from .hardware import device, precision_context
from .inference import logits_bytes, logits_of
from .outputs import MASKS, MODEL, QUANTIZATION, write_evaluation, write_model
from .start import start
from .stepped_run import steps_per_epoch
from .task import Task

_KEPT_LOGITS_BYTES = 1 << 30
"""Of a teacher's logits; more of them, as of many tags on long texts, are computed batch by batch:
the memory that training needs is planned without them."""


@dataclass(frozen=True)
class Shares:
    """How the train stage's time is divided, 0 to 1, for the progress.

    Estimated in passes over the data: a forward pass costs a third of a training step.
    """

    baseline: float
    start: float
    teacher: float
    transfer: float

    @classmethod
    def of(cls, baseline_epochs: float, epochs: float) -> Shares:
        """Returns the shares for the given budgets."""
        passes = (baseline_epochs + 0.2, 0.4, 0.3, epochs + 0.4)
        return cls(*(each / sum(passes) for each in passes))


def transfer(task: Task, baseline: StageFolder | None, shares: Shares) -> dict[str, float]:
    """Trains the product and writes it into the stage's folder.

    Args:
        task: The experiment's task.
        baseline: The trained dense counterpart, where there is one.
        shares: For the progress.

    Returns:
        Every metric on the evaluation split, as the quantized model computes.
    """
    plan, work, reporter = task.plan, task.context.work, task.context.reporter
    model = task.use_case.build(fetch(plan.model.uri), plan).to(device())
    recipe = parse_recipe(plan.training.recipe, backend=plan.training.backend or NATIVE)
    pattern = _pattern(fetch(plan.model.uri))
    masks = _masks(model, recipe, work, pattern)
    teacher = _teacher_model(task, baseline)
    with task.checkpoints("transfer", plan.training, work) as checkpoints:
        with reporter.activity("least-squares start", shares.start):
            if _starts_from(task, teacher, masks) and not checkpoints.resumes("step"):
                assert teacher is not None
                start(task, model, teacher, masks, checkpoints)
        follows = teacher is not None and recipe.distils
        with reporter.activity("teacher", shares.teacher):
            backend = _backend(
                task, model, recipe, masks, teacher if follows else None, checkpoints
            )
        if follows:
            _without_dropout(model)
        training = task.training("transfer", model, plan.training, recipe, backend, checkpoints)
        with reporter.activity("transfer", shares.transfer, training.total_steps):
            history = training.fit()
            metrics = write_evaluation(task, work, model, history)
        quantization = backend.finish()
        if quantization is not None:
            write_atomically(work.path / QUANTIZATION, quantization.to_json())
        if masks is not None and recipe.pruning is not None and not recipe.pruning.constant:
            _write_final_masks(masks, pattern, work)
        write_model(task, work, model)
    return metrics


def _starts_from(task: Task, teacher: nn.Module | None, masks: Masks | None) -> bool:
    """Whether the teacher's weights are what training starts from."""
    if teacher is None or not task.plan.shares_parent:
        return False
    return masks is None or task.use_case.solves_start


def _without_dropout(model: nn.Module) -> None:
    """Switches dropout off: a student that follows a teacher learns better, and faster, without.

    The teacher's outputs are the regularizer; noise in the student only blurs what it follows.
    """
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0


def transfer_digests(folder: Path) -> dict[str, str]:
    """Returns what package's key depends on."""
    files = (folder / name for name in (MASKS, QUANTIZATION))
    return {
        "weights": digest_of_tree(folder / MODEL),
        **{path.stem: sha256_of(path) for path in files if path.is_file()},
    }


def _pattern(foundation: Path) -> Pattern:
    """Returns how the foundation's zeros lie, by its record; without one nothing is assumed."""
    record = read_foundation(foundation)
    return Pattern.UNSTRUCTURED if record is None else pattern_named(record.pattern)


def _masks(model: nn.Module, recipe: Recipe, work: Attempt, pattern: Pattern) -> Masks | None:
    """Returns the masks of the foundation's zeros, and writes them for package."""
    if recipe.pruning is None:
        return None
    weights = {
        name: weight
        for name, weight in prunable_weights(model).items()
        if matches(recipe.pruning.params, name)
    }
    if not weights:
        raise InputError(
            f"recipe: the pruning modifier's params {list(recipe.pruning.params)} match no "
            "prunable weight of the model"
        )
    masks = Masks.take(weights, pattern)
    masks.save(work.path / MASKS)
    return masks


def _teacher_model(task: Task, baseline: StageFolder | None) -> nn.Module | None:
    mode = task.context.spec.teacher.mode
    if mode == "None":
        return None
    if task.plan.teacher_uri is not None:
        source = fetch(task.plan.teacher_uri)
    elif baseline is not None:
        source = baseline.path / MODEL
    else:
        return None
    return task.use_case.build(source, task.plan).to(device()).eval()


def _backend(
    task: Task,
    model: nn.Module,
    recipe: Recipe,
    masks: Masks | None,
    teacher: nn.Module | None,
    checkpoints: Checkpoints,
) -> Backend:
    """Returns what runs the recipe."""
    plan = task.plan
    if recipe.backend == SPARSEML:
        from sparse_transfer_runner.neuralmagic.backend import SparseMlBackend

        return SparseMlBackend(
            model,
            recipe,
            plan.problem_type,
            steps_per_epoch=steps_per_epoch(len(task.train), plan.training),
            masks=masks,
            teacher=teacher,
        )
    return NativeBackend(
        model,
        recipe,
        plan.problem_type,
        masks=masks,
        quantizable=_quantizable(model, recipe) if plan.quantize else {},
        teacher=_followed(task, teacher, recipe, checkpoints),
    )


def _followed(
    task: Task, teacher: nn.Module | None, recipe: Recipe, checkpoints: Checkpoints
) -> Teacher | None:
    """Returns the teacher to follow.

    Its logits are computed before where nothing else is needed, and they do not fill the memory.
    """
    if teacher is None:
        return None
    precision = task.plan.training.precision
    logits = None
    # Where rows look different in every epoch, the teacher has to look at them with the student.
    changing = isinstance(task.train, AugmentedSplit) or isinstance(task.use_case, TrainsItself)
    fixed = recipe.hidden_distillation is None and not changing
    if fixed and logits_bytes(teacher, task.train, precision=precision) <= _KEPT_LOGITS_BYTES:
        stop_check = task.stop_check()

        def look(done: int) -> None:
            checkpoints.look()
            stop_check(done)

        computed = logits_of(teacher, task.train, precision=precision, on_batch=look)
        logits = torch.as_tensor(computed, device=device())
    return Teacher(teacher, lambda: precision_context(precision), logits)


def _write_final_masks(start: Masks, pattern: Pattern, work: Attempt) -> None:
    """Writes the masks of the zeros that training ended with.

    Raises:
        InputError: There are too few of them for a sparse model.
    """
    final = Masks.take(start.weights, pattern)
    if final.sparsity < SPARSE_FROM <= start.sparsity:
        raise InputError(
            f"recipe: training ended with {final.sparsity:.4f} of the prunable weights at zero, "
            f"and began with {start.sparsity:.4f}; a sparse model has at least {SPARSE_FROM:.2f}: "
            "add a ConstantPruningModifier, or correct the modifier that prunes"
        )
    final.save(work.path / MASKS)


def _quantizable(model: nn.Module, recipe: Recipe) -> dict[str, nn.Module]:
    if recipe.quantization is None:
        return {}
    return {
        name: module
        for name, module in quantizable_layers(model, foundation_weights(model)).items()
        if recipe.quantization.quantizes(name, type(module).__name__)
    }
