"""The container's environment: the contract's variables, a home, and the template's own.

The contract's cannot be set by a template, and that is said instead of done in silence.
Kubernetes expands ``$(NAME)`` in a variable's value, so that every dollar of ours is doubled.
"""

from __future__ import annotations

from typing import Any

from sparse_transfer_api.contract import (
    ENV_CACHE,
    ENV_CATALOG,
    ENV_EXPERIMENT,
    ENV_IMAGE,
    ENV_PREFIX,
    ENV_PROGRESS_CA,
    ENV_PROGRESS_URL,
    ENV_STAGE_KEY,
    SCRATCH_MOUNT,
)
from sparse_transfer_api.errors import InputError, Problem
from sparse_transfer_api.handover import stage_document
from sparse_transfer_api.spec import PodTemplate, SparseTransferExperiment, SparseTransferSpec
from sparse_transfer_operator.actions import CreateJob
from sparse_transfer_operator.settings import OperatorSettings

from .image import runner_image
from .mounts import CA_BUNDLE, cache_folder
from .progress_access import ProgressAccess

Json = dict[str, Any]

_CA_BUNDLE_VARIABLE = "AWS_CA_BUNDLE"

HOME = {
    "HOME": SCRATCH_MOUNT,
    "XDG_CACHE_HOME": f"{SCRATCH_MOUNT}/.cache",
    "TMPDIR": "/tmp",
    "USER": "sparse-transfer",
}
"""What libraries ask of a user who has no home and no name; a template may change it."""


def environment(
    experiment: SparseTransferExperiment,
    order: CreateJob,
    settings: OperatorSettings,
    template: PodTemplate,
    progress: ProgressAccess | None,
) -> list[Json]:
    """Returns the container's variables, the contract's first.

    Raises:
        InputError: The template sets one of the contract's, or the experiment is too large.
    """
    _refuse_overrides(experiment.spec, template)
    contract = _contract(experiment, order, settings, progress)
    own = {name: {"name": name, "value": _literal(value)} for name, value in contract.items()}
    home = {name: {"name": name, "value": value} for name, value in HOME.items()}
    theirs = {each.name: each.to_json_dict() for each in template.env if each.name not in own}
    return list({**own, **home, **theirs}.values())


def env_from(spec: SparseTransferSpec) -> Json:
    """Returns the field that takes the credentials' variables; their values are never seen here."""
    reference = spec.credentials.secret_ref
    return {} if reference is None else {"envFrom": [{"secretRef": {"name": reference.name}}]}


def _contract(
    experiment: SparseTransferExperiment,
    order: CreateJob,
    settings: OperatorSettings,
    progress: ProgressAccess | None,
) -> dict[str, str]:
    storage = experiment.spec.storage
    found: dict[str, str | None] = {
        ENV_EXPERIMENT: stage_document(experiment),
        ENV_STAGE_KEY: order.key,
        ENV_IMAGE: runner_image(experiment.spec, settings),
        ENV_CATALOG: settings.catalog,
        ENV_CACHE: cache_folder(storage.cache),
        ENV_PROGRESS_URL: None if progress is None else progress.url,
        ENV_PROGRESS_CA: None if progress is None else progress.ca_pem,
        _CA_BUNDLE_VARIABLE: None if storage.s3.ca_bundle is None else CA_BUNDLE,
    }
    return {name: value for name, value in found.items() if value is not None}


def _refuse_overrides(spec: SparseTransferSpec, template: PodTemplate) -> None:
    taken = [each.name for each in template.env if each.name.startswith(ENV_PREFIX)]
    problems = [
        Problem(
            f"env.{name}",
            "is the contract's between operator and runner; remove it from the template, from the "
            "stage, or from the operator's settings",
        )
        for name in taken
    ]
    blocks = (spec.template, spec.stages.prepare, spec.stages.train, spec.stages.package)
    theirs = {each.name for block in blocks for each in block.env}
    if spec.storage.s3.ca_bundle is not None and _CA_BUNDLE_VARIABLE in theirs:
        problems.append(
            Problem(
                f"env.{_CA_BUNDLE_VARIABLE}",
                "is what spec.storage.s3.caBundle sets; keep one of them",
            )
        )
    if problems:
        raise InputError("the template's environment cannot be used", problems)


def _literal(value: str) -> str:
    return value.replace("$", "$$")
