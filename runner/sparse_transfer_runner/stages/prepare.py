"""Prepare: everything that can be wrong is found here, in seconds, before a GPU is taken.

Resolves use case, level, data, model, recipe and settings; writes what it decided as ``plan.json``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from sparse_transfer_api.contract import ANNOTATION_RETRY, PLAN
from sparse_transfer_api.errors import InputError, Problem
from sparse_transfer_api.keys import planned_digests, planned_teacher_key
from sparse_transfer_api.optim_level import Band, band_of
from sparse_transfer_api.records import Plan, TrainingSettings
from sparse_transfer_api.spec import BaselineMode, SparseTransferSpec, TeacherMode
from sparse_transfer_runner.data.selection import training_rows
from sparse_transfer_runner.disk import write_atomically
from sparse_transfer_runner.engines import engine
from sparse_transfer_runner.recipes import Recipe
from sparse_transfer_runner.storage import fetch, pinned
from sparse_transfer_runner.storage.addresses import data_address, shown
from sparse_transfer_runner.storage.protocol import Place
from sparse_transfer_runner.use_cases import use_case
from sparse_transfer_runner.use_cases.metrics import resolve_metric
from sparse_transfer_runner.use_cases.protocol import DataSummary, TrainsItself, UseCase

from .backends import backend_notes, require_fitting_recipe
from .checked_data import check_data, checked_data
from .context import StageContext, StageOutcome
from .foundation import CheckedFoundation, check_model
from .memory import training_bytes
from .partners import given_teacher, require_same_inputs
from .resolved import resolved_of
from .settings import (
    BASELINE_RECIPE,
    dense_recipe,
    refuse_recipe_at_level_zero,
    settings_of,
    steps,
    transfer_recipe,
)

__all__ = ["check_data", "check_model", "make_plan", "run"]

_MUCH_TRUNCATED = 0.05
Checked = TypeVar("Checked")


def run(context: StageContext) -> StageOutcome:
    """Checks everything, decides, and writes ``plan.json``.

    Raises:
        InputError: With everything that is wrong with data and model.
        AccessError: Something is missing or may not be read.
    """
    spec, reporter = context.spec, context.reporter
    with reporter.activity("data", 0.4):
        data, wrong_data = _attempt(lambda: _check_pinned_data(spec, context.root))
    with reporter.activity("model", 0.4):
        model, wrong_model = _attempt(lambda: check_model(spec))
    if data is None or model is None:
        raise _together({"data": wrong_data, "model": wrong_model})
    context.raise_if_stopped()
    with reporter.activity("plan", 0.2):
        plan = make_plan(*data, model)
        write_atomically(context.work.path / PLAN, plan.to_json())
    return _outcome(plan)


def _check_pinned_data(
    spec: SparseTransferSpec, root: Place
) -> tuple[SparseTransferSpec, DataSummary]:
    """Returns the same spec, its data at the commit where it is now, and what the check found."""
    uri = pinned(data_address(spec.data))
    if uri != spec.data.uri:
        data = spec.data.model_copy(update={"uri": uri, "revision": None})
        spec = spec.model_copy(update={"data": data})
    return spec, checked_data(spec, root)


def make_plan(spec: SparseTransferSpec, data: DataSummary, model: CheckedFoundation) -> Plan:
    """Decides everything else, from data and model without errors.

    Raises:
        InputError: Settings do not fit the data, the model or each other.
        AccessError: Recipe or teacher are not where they should be.
    """
    _refuse_several_levels(spec)
    for target in spec.export.targets:
        engine(target)
    use, band = use_case(spec.use_case), band_of(spec.optim_level)
    resolve_metric(spec.evaluation.metric, use.metric_names(data.problem_type, data.labels))
    preprocessor = use.preprocessor(model.folder)
    length, truncated = use.natural_length(
        fetch(data_address(spec.data)), data, preprocessor, spec.training.max_sequence_length
    ) or (None, None)
    has_test = any(split.name == "test" for split in data.splits)
    runs = _runs(spec, use, band, model)
    teacher_uri = given_teacher(spec, use, data, preprocessor)
    plan = Plan(
        use_case=use.name,
        level=spec.optim_level,
        band=band.name,
        problem_type=data.problem_type,
        columns={role: list(names) for role, names in data.columns.items()},
        labels=list(data.labels),
        splits=list(data.splits),
        evaluation_split="test" if has_test else "val",
        choice_split="val" if has_test else "train",
        data_digest=data.digest,
        data_uri=data_address(spec.data),
        inputs=use.input_names(data, preprocessor),
        max_sequence_length=length,
        preprocessing=use.preprocessing(model.folder, spec),
        truncated_share=truncated,
        answers=data.answers,
        marks=data.marks,
        max_eval_samples=spec.data.max_eval_samples,
        model=model.source,
        dense=model.dense,
        teacher_uri=teacher_uri,
        shares_parent=model.shares_parent and runs.baseline is not None and teacher_uri is None,
        quantize=runs.quantize,
        training=runs.training,
        baseline=runs.baseline,
        recipe_source=runs.recipe_source,
        total_steps=0,
        expected_memory_bytes=0,
        licences={
            name: source.licence
            for name, source in (("foundation", model.source), ("dense", model.dense))
            if source is not None and source.licence is not None
        },
        warnings=[
            *data.warnings,
            *model.warnings,
            *runs.warnings,
            *_more_warnings(spec, runs, truncated),
        ],
    )
    _require_known_recovery(spec, plan)
    require_fitting_recipe(plan, use, model.folder)
    if plan.baseline is not None:
        require_same_inputs(use, preprocessor, model)
    return plan.model_copy(
        update={
            "teacher_key": planned_teacher_key(plan),
            "total_steps": _total_steps(plan),
            "expected_memory_bytes": training_bytes(plan, use, model.folder),
        }
    )


@dataclass(frozen=True)
class _Runs:
    """The training runs of an experiment."""

    training: TrainingSettings
    recipe_source: str
    baseline: TrainingSettings | None
    quantize: bool
    warnings: tuple[str, ...]


def _runs(spec: SparseTransferSpec, use: UseCase, band: Band, model: CheckedFoundation) -> _Runs:
    # Learning needs torch, which a refusal should not wait for.
    from sparse_transfer_runner.training.hardware import resolved_precision

    batch = spec.training.batch_size or use.default_batch_size
    precision = resolved_precision(
        spec.training.precision, lambda: use.gains_from_bf16(model.folder)
    )

    def settings(recipe: Recipe) -> TrainingSettings:
        return settings_of(recipe, spec, batch_size=batch, precision=precision)

    baseline = settings(dense_recipe(spec, use.family)) if model.dense else None
    if spec.optim_level == 0:
        refuse_recipe_at_level_zero(spec)
        if baseline is None:
            raise AssertionError("at level 0 the model is its own dense counterpart")
        return _Runs(baseline, BASELINE_RECIPE, baseline, quantize=False, warnings=())
    recipe, source = transfer_recipe(
        spec,
        use.family,
        sparse=model.sparse,
        quantize=band.quantize,
        catalogued=model.recipe,
    )
    if isinstance(use, TrainsItself):
        use.require_recipe(recipe)
    warnings = [*recipe.notes, *backend_notes(recipe)]
    if band.quantize and not recipe.quantizes:
        warnings.append("the recipe has no QuantizationModifier: the product is not INT8")
    return _Runs(
        settings(recipe),
        source,
        baseline if spec.baseline.mode == BaselineMode.AUTO else None,
        quantize=recipe.quantizes,
        warnings=tuple(warnings),
    )


def _refuse_several_levels(spec: SparseTransferSpec) -> None:
    """Refuses what nobody took apart into its levels: a stage is of one level."""
    if spec.search.levels not in ((), (spec.optim_level,)):
        levels = ", ".join(f"{level:g}" for level in spec.search.levels)
        raise InputError(
            f"spec.search.levels: {levels}: a stage works at one level; run the experiment with "
            "'sparse-transfer run', or on a cluster, where each level has stages of its own"
        )


def _require_known_recovery(spec: SparseTransferSpec, plan: Plan) -> None:
    if plan.baseline is not None or spec.baseline.mode == BaselineMode.GIVEN:
        return
    wanted = {
        "spec.acceptance.minRecovery": spec.acceptance.min_recovery,
        "spec.search.minRecovery": spec.search.min_recovery,
    }
    problems = [
        Problem(
            field,
            f"{value:g} cannot be judged: {shown(plan.model.uri)} has no dense counterpart; state "
            "the dense value with spec.baseline.mode: Given, give a model that 'sparse-transfer "
            "upstream' made, or remove it (on a cluster with a new value of the annotation "
            f"{ANNOTATION_RETRY}: no key follows from it)",
        )
        for field, value in wanted.items()
        if value is not None
    ]
    if problems:
        raise InputError("recovery stays unknown, but is asked for", problems)


def _more_warnings(spec: SparseTransferSpec, runs: _Runs, truncated: float | None) -> list[str]:
    found = []
    if truncated is not None and truncated > _MUCH_TRUNCATED:
        found.append(
            f"{truncated:.1%} of the training texts are cut to spec.training.maxSequenceLength"
        )
    if spec.teacher.mode == TeacherMode.AUTO and runs.baseline is None:
        found.append("there is no baseline to teach: the transfer learns from the labels alone")
    return found


def _total_steps(plan: Plan) -> int:
    """Returns the optimizer steps of the whole train stage, the baseline's counted."""
    train = next(split for split in plan.splits if split.name == "train")
    rows = len(training_rows(train.samples, held_out=plan.choice_split == "train"))
    rows = min(rows, plan.training.max_train_samples or rows)
    transfer = steps(plan.training, rows) if plan.level > 0 else 0
    return transfer + (steps(plan.baseline, rows) if plan.baseline else 0)


def _attempt(check: Callable[[], Checked]) -> tuple[Checked | None, InputError | None]:
    try:
        return check(), None
    except InputError as error:
        return None, error


def _together(errors: dict[str, InputError | None]) -> InputError:
    """Returns one error with the problems of all checks."""
    found = {what: error for what, error in errors.items() if error is not None}
    if len(found) == 1:
        return next(iter(found.values()))
    problems: list[Problem] = []
    for what, error in found.items():
        problems += error.problems or [Problem(what, str(error))]
    return InputError(f"{' and '.join(found)} cannot be used", problems)


def _outcome(plan: Plan) -> StageOutcome:
    samples = {split.name: split.samples for split in plan.splits}
    return StageOutcome(
        message=(
            f"{plan.band}: {shown(plan.model.uri)} (sparsity {plan.model.sparsity:.2f}), "
            f"{samples['train']} training rows, {len(plan.labels)} labels, "
            f"{plan.total_steps} steps"
        ),
        digests=planned_digests(plan),
        headline={
            "trainSamples": samples["train"],
            "sparsity": plan.model.sparsity,
            "totalSteps": plan.total_steps,
        },
        resolved=resolved_of(plan),
        licences=plan.licences,
    )
