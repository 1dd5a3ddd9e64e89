"""An experiment's YAML made ready for a cluster: checked as a whole, sent as the user wrote it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sparse_transfer_api.errors import InputError, Problem, UsageError
from sparse_transfer_api.handover import stage_document
from sparse_transfer_api.spec import SparseTransferExperiment, parse_experiment
from sparse_transfer_api.spec.plain import plain_document
from sparse_transfer_api.spec.types import (
    DATA_SCHEMES,
    MODEL_SCHEMES,
    OUTPUT_SCHEMES,
    RECIPE_SCHEMES,
    Schemes,
)

_ADDRESSES: Mapping[tuple[str, str], Schemes] = {
    ("data", "uri"): DATA_SCHEMES,
    ("model", "uri"): MODEL_SCHEMES,
    ("output", "uri"): OUTPUT_SCHEMES,
    ("teacher", "uri"): MODEL_SCHEMES,
    ("recipe", "uri"): RECIPE_SCHEMES,
}
_WAYS_OUT = {
    "file": "pods cannot read files of this machine; copy it to a bucket or a claim and give that "
    "address",
    "package": "pods have no such package; copy what is in it to a bucket or a claim and give that "
    "address",
}
_RECIPE_WAY_OUT = ", or put the recipe into spec.recipe.inline"
_OUTPUT_WAY_OUT = (
    "results in a pod's files would be lost with the pod; give a bucket or a claim, or leave it "
    "out where the operator's settings name a place"
)
_KEPT_METADATA = ("name", "namespace", "labels", "annotations")


@dataclass(frozen=True)
class Submission:
    """An experiment that is ready for a cluster.

    Args:
        experiment: With its defaults, to look at.
        document: To be applied: what the user wrote, so that nothing else gets managed.
        namespace: As the YAML names it; None where it leaves that open.
    """

    experiment: SparseTransferExperiment
    document: Mapping[str, Any]
    namespace: str | None


def submission(document: Mapping[str, Any], source: str) -> Submission:
    """Checks an experiment for a cluster.

    Args:
        document: As read from YAML.
        source: What to call it in messages.

    Raises:
        InputError: With every problem, those that only concern a cluster too.
    """
    plain, _ = plain_document(document)
    local = list(_local_addresses(plain))
    try:
        experiment = parse_experiment(document, source)
    except InputError as error:
        raise InputError(f"{source}: not a valid experiment", [*error.problems, *local]) from error
    if local:
        raise InputError(f"{source}: cannot run on a cluster", local)
    stage_document(experiment)
    metadata = {
        name: plain["metadata"][name] for name in _KEPT_METADATA if name in plain["metadata"]
    }
    body = {
        "apiVersion": experiment.api_version,
        "kind": experiment.kind,
        "metadata": metadata,
        "spec": plain["spec"],
    }
    return Submission(experiment, body, metadata.get("namespace"))


def _local_addresses(plain: Mapping[str, Any]) -> Iterator[Problem]:
    spec = plain.get("spec")
    for (block, name), schemes in _ADDRESSES.items():
        part = spec.get(block) if isinstance(spec, Mapping) else None
        uri = part.get(name) if isinstance(part, Mapping) else None
        scheme = uri.partition("://")[0] if isinstance(uri, str) else ""
        if scheme in schemes.local:
            yield Problem(f"spec.{block}.{name}", _refusal(block, str(uri), scheme, schemes))


def _refusal(block: str, uri: str, scheme: str, schemes: Schemes) -> str:
    way_out = _OUTPUT_WAY_OUT if block == "output" else _WAYS_OUT[scheme]
    if block == "recipe":
        way_out += _RECIPE_WAY_OUT
    return f"found {uri!r}; {way_out}: on a cluster, expected {schemes.on_cluster}"


def namespaced(
    prepared: Submission, wanted: str | None, otherwise: str
) -> tuple[Mapping[str, Any], str]:
    """Returns what to apply, and in which namespace.

    Args:
        prepared: The experiment.
        wanted: As the user typed it, if so.
        otherwise: The kubeconfig's.

    Raises:
        UsageError: YAML and user name different ones.
    """
    own = prepared.namespace
    if own is not None and wanted is not None and own != wanted:
        raise UsageError(
            f"the YAML says namespace {own} (metadata.namespace), the command line {wanted}; "
            "leave one of them out"
        )
    namespace = wanted or own or otherwise
    metadata = {**prepared.document["metadata"], "namespace": namespace}
    return {**prepared.document, "metadata": metadata}, namespace
