"""The model that an experiment starts from: resolved, checked, with its dense counterpart."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from sparse_transfer_api.errors import AccessError, InputError
from sparse_transfer_api.optim_level import band_of
from sparse_transfer_api.records import ModelSource
from sparse_transfer_api.spec import BaselineMode, SparseTransferSpec, Trust
from sparse_transfer_runner.catalog.checked import CheckedModel
from sparse_transfer_runner.catalog.foundation import read_foundation
from sparse_transfer_runner.catalog.models import Catalog, Source
from sparse_transfer_runner.catalog.reading import load_catalog
from sparse_transfer_runner.catalog.resolution import (
    ResolvedModel,
    fetched_model,
    require_digest,
    resolve_model,
)
from sparse_transfer_runner.storage.addresses import model_address, shown
from sparse_transfer_runner.use_cases import use_case
from sparse_transfer_runner.use_cases.protocol import UseCase

SPARSE_FROM = 0.30
"""Sparsity from which a model counts as sparse (definitions of the design)."""

_RECORD_TOLERANCE = 0.005
"""Between the sparsity that a foundation's record states and the measured one."""


@dataclass(frozen=True)
class CheckedFoundation:
    """A foundation without errors.

    Args:
        source: The foundation.
        folder: Its files, read-only.
        sparse: It has zeros to be kept.
        dense: The dense counterpart, checked; None where there is none.
        dense_folder: Its files.
        shares_parent: The foundation was pruned from exactly that counterpart, or is it itself.
        recipe: Address of the catalogue's recipe for it.
        warnings: What a user should know, though nothing is wrong.
    """

    source: ModelSource
    folder: Path
    sparse: bool
    dense: ModelSource | None = None
    dense_folder: Path | None = None
    shares_parent: bool = False
    recipe: str | None = None
    warnings: tuple[str, ...] = field(default=())


def check_model(spec: SparseTransferSpec, catalog: Catalog | None = None) -> CheckedFoundation:
    """Resolves and checks the model of an experiment; needs neither its data nor a hub.

    Args:
        spec: The user's spec.
        catalog: By default the one in force.

    Raises:
        InputError: The model is unknown, unreachable, damaged, unsafe, or not sparse where the
            level needs it.
        AccessError: It is not where it should be.
    """
    use = use_case(spec.use_case)
    resolved = resolve_model(
        model_address(spec.model),
        family=use.family,
        band=band_of(spec.optim_level),
        use_case=use.name,
        catalog=load_catalog() if catalog is None else catalog,
    )
    found = _checked(spec, use, resolved)
    return replace(found, warnings=(*resolved.notes, *found.warnings))


def _checked(spec: SparseTransferSpec, use: UseCase, resolved: ResolvedModel) -> CheckedFoundation:
    checked = use.check(resolved.folder, trusted=spec.model.trust == Trust.PICKLE)
    resolved.require_digest(checked.digest)
    sparse = checked.sparsity >= SPARSE_FROM
    if band_of(spec.optim_level).sparse and not sparse:
        raise InputError(_not_sparse(resolved.uri, checked.sparsity, spec.optim_level))
    _require_recorded_sparsity(resolved, checked)
    source = _model_source(resolved.uri, checked, resolved.licence)
    if sparse and spec.optim_level == 0 and resolved.dense is not None:
        # The product of level 0 is the baseline that the other levels share: the parent's.
        folder, dense = _counterpart(spec, use, resolved.dense, source)
        return CheckedFoundation(
            dense, folder, sparse=False, dense=dense, dense_folder=folder, shares_parent=True
        )
    if not sparse or spec.optim_level == 0:
        return CheckedFoundation(
            source,
            resolved.folder,
            sparse=False,
            dense=source,
            dense_folder=resolved.folder,
            shares_parent=True,
            recipe=resolved.recipe,
            warnings=_zeros_are_lost(spec, sparse, checked.sparsity),
        )
    return _with_counterpart(spec, use, resolved, source)


def _with_counterpart(
    spec: SparseTransferSpec, use: UseCase, resolved: ResolvedModel, source: ModelSource
) -> CheckedFoundation:
    warnings: list[str] = []
    dense: ModelSource | None = None
    folder: Path | None = None
    if resolved.dense is not None:
        try:
            folder, dense = _counterpart(spec, use, resolved.dense, source)
        except (InputError, AccessError) as error:
            if spec.baseline.mode == BaselineMode.AUTO:
                raise type(error)(
                    f"the dense counterpart of {shown(source.uri)}: {error} (to do without it set "
                    "spec.baseline.mode: None; recovery then stays unknown)"
                ) from error
            warnings.append(f"without the dense counterpart: {error}")
    elif spec.baseline.mode == BaselineMode.AUTO:
        warnings.append(
            f"{shown(source.uri)} has no known dense counterpart (no foundation.json beside it): "
            "there is no baseline, and recovery stays unknown"
        )
    return CheckedFoundation(
        source,
        resolved.folder,
        sparse=True,
        dense=dense,
        dense_folder=folder,
        shares_parent=dense is not None and resolved.shares_parent,
        recipe=resolved.recipe,
        warnings=tuple(warnings),
    )


def _counterpart(
    spec: SparseTransferSpec, use: UseCase, dense: Source, foundation: ModelSource
) -> tuple[Path, ModelSource]:
    uri, folder = fetched_model(dense.address)
    checked = use.check(folder, trusted=spec.model.trust == Trust.PICKLE)
    require_digest(uri, dense.digest, checked.digest)
    if (checked.architecture, checked.parameters) != (
        foundation.architecture,
        foundation.parameters,
    ):
        raise InputError(
            f"{shown(uri)}: is a {checked.architecture} with {checked.parameters} parameters; "
            f"expected the foundation's {foundation.architecture} with {foundation.parameters}"
        )
    return folder, _model_source(uri, checked, dense.licence)


def _model_source(uri: str, checked: CheckedModel, licence: str | None) -> ModelSource:
    return ModelSource(
        uri=uri,
        digest=checked.digest,
        format=checked.format,
        architecture=checked.architecture,
        sparsity=checked.sparsity,
        parameters=checked.parameters,
        licence=licence,
    )


def _not_sparse(uri: str, sparsity: float, level: float) -> str:
    return (
        f"{shown(uri)}: is not sparse: {sparsity:.4f} of its prunable weights are zero, and level "
        f"{level:g} needs at least {SPARSE_FROM:.2f}; make it sparse with 'sparse-transfer "
        "upstream', leave spec.model out for the catalogue's, or choose a level below 0.25"
    )


def _require_recorded_sparsity(resolved: ResolvedModel, checked: CheckedModel) -> None:
    record = read_foundation(resolved.folder)
    if record and abs(record.sparsity - checked.sparsity) > _RECORD_TOLERANCE:
        raise InputError(
            f"{shown(resolved.uri)}: foundation.json records a sparsity of {record.sparsity:.4f}, "
            f"but {checked.sparsity:.4f} is measured: the weights changed; make the model again"
        )


def _zeros_are_lost(spec: SparseTransferSpec, sparse: bool, sparsity: float) -> tuple[str, ...]:
    if not sparse:
        return ()
    return (
        f"level 0 trains all weights: the model's zeros ({sparsity:.2f} of its prunable weights) "
        f"are not kept; a level above 0 keeps them, not {spec.optim_level:g}",
    )
