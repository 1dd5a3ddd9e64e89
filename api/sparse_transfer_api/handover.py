"""How an experiment reaches a stage: one JSON text in the environment, ``STE_EXPERIMENT``.

It leaves out what only shapes pods. A stage ignores fields that it does not know, so that an older
runner's image works under a newer operator; a stage's key, which the operator sends beside it,
still tells when such a field would have mattered.
"""

from __future__ import annotations

import json
from typing import Any

from .base import SCHEMA_VERSION
from .contract import ENV_EXPERIMENT, MAX_EXPERIMENT_BYTES
from .errors import InputError
from .schema import Schema, inlined
from .spec import SparseTransferExperiment, parse_experiment
from .spec.expected import schema_at
from .spec.types import PRESERVE

_PODS_ONLY = ("template", "stages", "image", "credentials")


def stage_document(experiment: SparseTransferExperiment) -> str:
    """Returns the experiment as the stages read it.

    Raises:
        InputError: It is larger than the contract allows.
    """
    document = experiment.to_json_dict()
    for block in _PODS_ONLY:
        document["spec"].pop(block, None)
    document["metadata"] = {
        name: document["metadata"][name]
        for name in ("name", "namespace", "uid")
        if name in document["metadata"]
    }
    text = json.dumps({"schemaVersion": SCHEMA_VERSION, **document}, separators=(",", ":"))
    if len(text.encode()) > MAX_EXPERIMENT_BYTES:
        raise InputError(
            f"{experiment.metadata.name}: takes {len(text.encode())} bytes as JSON, at most "
            f"{MAX_EXPERIMENT_BYTES} are allowed; put the recipe into a file, and name it in "
            "spec.recipe.uri instead of spec.recipe.inline"
        )
    return text


def read_stage_document(text: str, source: str = ENV_EXPERIMENT) -> SparseTransferExperiment:
    """Reads what ``stage_document`` wrote, by this version or a newer one.

    Raises:
        InputError: It is no JSON, or not a valid experiment.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source}: not valid JSON ({error})") from error
    return parse_experiment(_known(document, inlined(SparseTransferExperiment)), source)


def _known(value: Any, node: Schema) -> Any:
    """Returns a value without the fields that its schema does not have."""
    if isinstance(value, list):
        return [_known(item, node.get("items", {})) for item in value]
    if not isinstance(value, dict) or node.get(PRESERVE):
        return value
    fields = node.get("properties", value)
    return {
        name: _known(item, schema_at(node, (name,)))
        for name, item in value.items()
        if name in fields
    }
