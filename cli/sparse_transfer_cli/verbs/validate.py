"""``validate``: what a run would find wrong, found before it costs time."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from sparse_transfer_api.errors import SparseTransferError
from sparse_transfer_api.optim_level import band_of
from sparse_transfer_api.search import at_level
from sparse_transfer_api.spec import SparseTransferSpec
from sparse_transfer_cli.console import print_plain, stderr, stdout
from sparse_transfer_cli.experiment_file import read_experiment
from sparse_transfer_cli.requirements import require, require_runner
from sparse_transfer_cli.storage import reaching
from sparse_transfer_cli.summary import percent


def validate_file(path: Path, *, data: bool, model: bool, catalog: str | None) -> None:
    """Checks an experiment file, and says what it stands for.

    Data and model are checked as prepare does, each without the other: where both are wrong, both
    are explained.

    Args:
        path: The YAML file.
        data: Check the data too.
        model: Check the model too.
        catalog: Path or address of the user's own catalogue instead of the one in force.

    Raises:
        SparseTransferError: Of the first check that failed.
    """
    experiment = read_experiment(path)
    spec = experiment.spec
    print_plain(
        stdout(), f"{path}: valid; {experiment.metadata.name}, {spec.use_case}, {_levels(spec)}"
    )
    if spec.output.uri is not None:
        print_plain(stdout(), f"results go to {spec.output.uri}")
    checks: list[Callable[[], None]] = []
    if data:
        checks.append(lambda: _check_data(spec))
    if model:
        levels = [at_level(experiment, level).spec for level in spec.search.levels]
        checks += [partial(_check_model, each, catalog) for each in levels or [spec]]
    with reaching(spec.storage):
        errors = [error for check in checks if (error := _attempt(check)) is not None]
    for error in errors[1:]:
        print_plain(stderr(), f"error: {error}")
    if errors:
        raise errors[0]


def _levels(spec: SparseTransferSpec) -> str:
    """Returns what is done at the level, or at each level of a search."""
    if not spec.search.levels:
        return band_of(spec.optim_level).name
    bands = ", ".join(f"{level:g} {band_of(level).name}" for level in spec.search.levels)
    return f"a search over {bands}"


def _check_data(spec: SparseTransferSpec) -> None:
    require(("numpy", "orjson"), "runner")
    from sparse_transfer_runner.stages.prepare import check_data

    found = check_data(spec)
    labels = f"{len(found.labels)} labels: " if len(found.labels) > 1 else ""
    print_plain(stdout(), f"data: {found.problem_type}, {labels}{', '.join(found.labels)}")
    for role, columns in found.columns.items():
        print_plain(stdout(), f"  {role} in {', '.join(columns)}")
    for split in found.splits:
        print_plain(stdout(), f"  {split.name}: {split.samples} rows ({split.file})")
    for warning in found.warnings:
        print_plain(stdout(), f"  note: {warning}")


def _check_model(spec: SparseTransferSpec, catalog: str | None) -> None:
    require_runner()
    from sparse_transfer_runner.catalog.reading import load_catalog
    from sparse_transfer_runner.stages.prepare import check_model

    found = check_model(spec, load_catalog(catalog))
    source = found.source
    level = f" at level {spec.optim_level:g}" if spec.search.levels else ""
    print_plain(
        stdout(),
        f"model{level}: {source.uri}, {source.architecture}, {source.parameters} parameters, "
        f"{percent(source.sparsity)} sparse",
    )
    if found.dense is not None:
        print_plain(stdout(), f"  dense counterpart: {found.dense.uri}")
    for warning in found.warnings:
        print_plain(stdout(), f"  note: {warning}")


def _attempt(check: Callable[[], None]) -> SparseTransferError | None:
    try:
        check()
    except SparseTransferError as error:
        return error
    return None
