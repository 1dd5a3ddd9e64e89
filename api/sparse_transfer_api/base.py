"""The two base models: what users write (strict) and what parts hand to each other (tolerant)."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

SCHEMA_VERSION = 1


class ApiModel(BaseModel):
    """A part of the resource: camelCase in YAML, snake_case in Python, unknown fields refused."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True
    )

    def to_json_dict(self) -> dict[str, Any]:
        """Returns the JSON form: camelCase, without fields that are None."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class Part(ApiModel):
    """A part of a record or of the status; readers ignore what they do not know."""

    model_config = ConfigDict(extra="ignore", protected_namespaces=())


class Record(Part):
    """A JSON document that one part writes and another reads."""

    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> bytes:
        """Returns the document as UTF-8 JSON, indented, without fields that are None."""
        return self.model_dump_json(by_alias=True, exclude_none=True, indent=2).encode() + b"\n"


def round_ratio(value: float) -> float:
    """Rounds a ratio to the 4 digits that the resource's conventions state."""
    return round(value, 4)


Ratio = Annotated[float, AfterValidator(round_ratio)]
"""A ratio such as recovery or sparsity, kept to 4 digits."""
