"""Stage keys, as in a build system: what decides a result decides its key, and nothing else.

A key is the first 10 lower-case base32 characters (50 bits) of SHA-256 over canonical JSON. Fields
at their default do not enter, so that a new optional field changes no existing key.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeGuard

from pydantic import BaseModel

from .contract import Stage
from .records import Plan, TrainingSettings
from .spec import SparseTransferSpec
from .spec.types import DECIDES

KEY_LENGTH = 10


def stage_key(
    spec: SparseTransferSpec,
    stage: Stage | str,
    previous_key: str | None,
    digests: Mapping[str, str],
) -> str:
    """Returns the key of a stage.

    Args:
        spec: The user's spec.
        stage: ``prepare``, ``train`` or ``package``.
        previous_key: The key of the stage before; None for prepare.
        digests: What the stage before recorded (model, recipe and data after prepare, weights
            after train); empty for prepare.
    """
    return _key(
        {
            "fields": deciding_fields(spec, Stage(stage)),
            "previous": previous_key,
            "digests": dict(digests),
        }
    )


def data_key(spec: SparseTransferSpec) -> str:
    """Returns the key of a check of the data: levels of one task share it."""
    fields = deciding_fields(spec, Stage.PREPARE)
    return _key(
        {
            "useCase": spec.use_case,
            "data": {path: fields[path] for path in fields if path.startswith("data.")},
        }
    )


def teacher_key(
    *,
    dense_digest: str,
    data_digest: str,
    use_case: str,
    settings: TrainingSettings,
    inputs: Mapping[str, Any] | None = None,
) -> str:
    """Returns the key of a baseline: levels, recipes and masks of one task share it.

    Args:
        dense_digest: Of the dense model's files.
        data_digest: Of the data's files.
        use_case: Canonical name.
        settings: The baseline's own training settings; the recipe among them does not count.
        inputs: What else decides what the baseline sees and is scored on, resolved: columns,
            problem type, sequence length, evaluation samples.
    """
    return _key(
        {
            "dense": dense_digest,
            "data": data_digest,
            "useCase": use_case,
            "settings": settings.model_dump(mode="json", exclude_none=True, exclude={"recipe"}),
            "inputs": dict(inputs or {}),
        }
    )


def planned_teacher_key(plan: Plan) -> str | None:
    """Returns the key of the baseline that a plan asks for; None where it asks for none."""
    if plan.baseline is None or plan.dense is None:
        return None
    return teacher_key(
        dense_digest=plan.dense.digest,
        data_digest=plan.data_digest,
        use_case=plan.use_case,
        settings=plan.baseline,
        inputs={
            "columns": plan.columns,
            "problemType": plan.problem_type,
            "maxSequenceLength": plan.max_sequence_length,
            "maxEvalSamples": plan.max_eval_samples,
        },
    )


def planned_digests(plan: Plan) -> dict[str, str]:
    """Returns the digests, by name, that prepare records of a plan: train's key follows."""
    recipes = f"{plan.training.recipe}\0{plan.baseline.recipe if plan.baseline else ''}"
    digests = {
        "model": plan.model.digest,
        "data": plan.data_digest,
        "recipe": hashlib.sha256(recipes.encode()).hexdigest(),
    }
    return digests if plan.dense is None else {**digests, "dense": plan.dense.digest}


def deciding_fields(spec: SparseTransferSpec, stage: Stage | str) -> dict[str, Any]:
    """Returns the fields that decide a stage and differ from their default, by dotted path."""
    return dict(_differing(spec, str(stage), ""))


def _differing(block: BaseModel, stage: str, prefix: str) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    dumped: dict[str, Any] | None = None
    for field in _deciding(type(block), stage):
        value = getattr(block, field.name)
        path = f"{prefix}{field.alias}"
        if field.decides and value != field.default:
            dumped = dumped or block.model_dump(mode="json", by_alias=True)
            found.append((path, dumped[field.alias]))
        elif not field.decides and isinstance(value, BaseModel):
            found.extend(_differing(value, stage, f"{path}."))
    return found


@dataclass(frozen=True)
class _Deciding:
    """A field that decides a stage, or a block that may hold such fields."""

    name: str
    alias: str
    decides: bool
    default: Any


@cache
def _deciding(block: type[BaseModel], stage: str) -> tuple[_Deciding, ...]:
    """Returns a block's fields that matter to a stage; most, such as a pod's, matter to none."""
    found: list[_Deciding] = []
    for name, field in block.model_fields.items():
        extra = field.json_schema_extra
        alias = field.alias or name
        if isinstance(extra, dict) and DECIDES in extra:
            stages = extra[DECIDES]
            if isinstance(stages, list) and stage in stages:
                default = field.get_default(call_default_factory=True)
                found.append(_Deciding(name, alias, True, default))
        elif not _is_block(field.annotation) or _deciding(field.annotation, stage):
            found.append(_Deciding(name, alias, False, None))
    return tuple(found)


def _is_block(annotation: Any) -> TypeGuard[type[BaseModel]]:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _key(content: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(canonical_json(content)).digest()
    return base64.b32encode(digest).decode().lower()[:KEY_LENGTH]


def canonical_json(content: Any) -> bytes:
    """Returns the one JSON text of a value: keys sorted, whole floats as integers.

    A number keeps its meaning and loses its spelling on its way through the API server, where
    ``1.0`` comes back as ``1``.
    """
    return json.dumps(
        _plain(content), sort_keys=True, separators=(",", ":"), allow_nan=False
    ).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
