"""Bounded, strict types for what users write, and how a field says which stages it decides.

Scalars are strict, so that YAML's ``yes`` is no number and ``3`` no text; every text and list has
a bound, because the API server's rules pay for the longest value that a type allows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    Strict,
    StringConstraints,
)
from pydantic.alias_generators import to_snake
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from ..base import ApiModel
from ..suggest import did_you_mean, listed

DECIDES = "decides"
"""Key in a field's ``json_schema_extra``: the stages whose key the field enters."""
EXPECTED = "x-expected"
"""Key in a type's JSON schema: what is expected, in words, where bounds do not say it."""
PRESERVE = "x-kubernetes-preserve-unknown-fields"
LIST_TYPE = "x-kubernetes-list-type"
MAP_TYPE = "x-kubernetes-map-type"
LIST_MAP_KEYS = "x-kubernetes-list-map-keys"
INT_OR_STRING = "x-kubernetes-int-or-string"


def decides(*stages: str) -> dict[str, Any]:
    """Returns ``json_schema_extra`` for a field that decides these stages.

    Args:
        stages: Of ``prepare``, ``teacher``, ``train`` and ``package``; none for a field that
            changes no result.
    """
    return {DECIDES: list(stages)}


NOTHING = decides()
PREPARE = decides("prepare")
BUDGET = decides("prepare", "teacher")
"""Of training and of what it reads: prepare resolves these into the plan, the baseline's too."""
PACKAGE = decides("package")


class Block(ApiModel):
    """A block of the spec; absent blocks are default-constructed."""

    model_config = ConfigDict(protected_namespaces=())


@dataclass(frozen=True)
class Hint:
    """Adds to a type's JSON schema, or replaces it, whatever field the type is used in.

    Args:
        expected: What is expected, in words.
        instead: The whole schema, where Kubernetes wants another than pydantic's.
    """

    expected: str
    instead: tuple[tuple[str, Any], ...] = ()

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {**(dict(self.instead) or handler(schema)), EXPECTED: self.expected}


@dataclass(frozen=True)
class Distinct:
    """A list without duplicates, and how the API server merges it.

    Args:
        key: The field (its YAML name) that items are known by; None where items are values.
        ordered: The order has a meaning, so that the list is replaced as a whole.
    """

    key: str | None = None
    ordered: bool = False

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        if self.key is not None:
            merging = {LIST_TYPE: "map", LIST_MAP_KEYS: [self.key]}
        else:
            merging = {LIST_TYPE: "atomic" if self.ordered else "set"}
        return {**handler(schema), **merging}

    def _check(self, items: tuple[Any, ...]) -> tuple[Any, ...]:
        field = to_snake(self.key) if self.key is not None else None
        known = [item if field is None else getattr(item, field) for item in items]
        twice = next((item for index, item in enumerate(known) if item in known[:index]), None)
        if twice is not None:
            hint = f"; {twice} is there twice"
            raise PydanticCustomError("twice", "{hint}", {"hint": hint})
        return items


def _bounded(max_length: int, pattern: str | None = None, *, min_length: int = 1) -> Any:
    return StringConstraints(
        strict=True, min_length=min_length, max_length=max_length, pattern=pattern
    )


_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"

Text = Annotated[str, _bounded(256)]
LongText = Annotated[str, _bounded(32 * 1024)]
"""A file's content written in place."""
Value = Annotated[str, _bounded(4096, min_length=0)]
"""The value of an environment variable or annotation; may be empty."""
Revision = Annotated[str, _bounded(128)]
AbsolutePath = Annotated[str, _bounded(256, "^/"), Hint("an absolute path")]
DnsLabel = Annotated[
    str,
    _bounded(63, f"^{_LABEL}$"),
    Hint("lower-case letters, digits and hyphens (a DNS label), at most 63"),
]
DnsSubdomain = Annotated[
    str,
    _bounded(253, rf"^{_LABEL}(\.{_LABEL})*$"),
    Hint("lower-case letters, digits, hyphens and dots (a DNS name), at most 253"),
]
MAX_NAME = 40
"""Of ``metadata.name``: short enough that no derived name is ever cut."""
Name = Annotated[
    str,
    _bounded(MAX_NAME, f"^{_LABEL}$"),
    Hint(f"lower-case letters, digits and hyphens (a DNS label), at most {MAX_NAME}"),
]
LabelKey = Annotated[str, _bounded(317)]
LabelValue = Annotated[
    str,
    _bounded(63, "^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$", min_length=0),
    Hint("a label's value: letters, digits and -_. within, at most 63"),
]

Flag = Annotated[bool, Strict()]
Count = Annotated[int, Strict(), Field(ge=1, le=1_000_000_000)]
Seconds = Annotated[int, Strict(), Field(ge=0, le=315_360_000)]
"""Up to ten years."""
Number = Annotated[float, Strict(), Field(allow_inf_nan=False)]
Level = Annotated[Number, Field(ge=0, le=1)]


def _quantity(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Quantity = Annotated[
    str,
    BeforeValidator(_quantity),
    _bounded(32, "^[0-9]+([.][0-9]+)?([eE][-+]?[0-9]+|[kMGTPE]|[KMGTPE]i|[num])?$"),
    Hint(
        "an amount such as 2, 500m or 16Gi (with a fraction, in quotes)",
        instead=(
            (INT_OR_STRING, True),
            ("pattern", "^[0-9]+([.][0-9]+)?([eE][-+]?[0-9]+|[kMGTPE]|[KMGTPE]i|[num])?$"),
            ("maxLength", 32),
        ),
    ),
]
"""An amount as Kubernetes writes it, not negative; whole numbers need no quotes."""


@dataclass(frozen=True)
class Schemes:
    """The schemes that an address may have.

    Args:
        cluster: Understood everywhere.
        local: Understood by the command line only.
    """

    cluster: tuple[str, ...]
    local: tuple[str, ...] = ("file", "package")

    @property
    def expected(self) -> str:
        """What is expected, in words."""
        return f"an address: {listed(_shape(scheme) for scheme in (*self.cluster, *self.local))}"

    @property
    def on_cluster(self) -> str:
        """What is expected on a cluster, in words."""
        return f"an address: {listed(_shape(scheme) for scheme in self.cluster)}"

    @property
    def pattern(self) -> str:
        """A regular expression of the beginnings of addresses on a cluster."""
        return "|".join(_beginning(scheme) for scheme in self.cluster)

    def check(self, uri: str) -> str:
        """Returns the address, if its scheme is one of these.

        Raises:
            PydanticCustomError: It is not.
        """
        known = (*self.cluster, *self.local)
        scheme, _, rest = uri.partition(":")
        beginning = _beginning(scheme)
        if scheme in known and uri.startswith(beginning) and uri.removeprefix(beginning):
            return uri
        if not uri.isprintable():
            hint = ""
        elif scheme in known:
            hint = f"; did you mean {beginning}{rest.lstrip('/')}?" if rest.strip("/") else ""
        elif rest:
            hint = did_you_mean(scheme, known)
        else:
            hint = f"; did you mean file://{uri}?" if "file" in known else ""
        raise PydanticCustomError("address", "{hint}", {"hint": hint})


_NO_SLASHES = {"zoo": "…", "catalog": "NAME"}
"""Schemes whose addresses are names, and how one looks."""


def _beginning(scheme: str) -> str:
    return f"{scheme}:" if scheme in _NO_SLASHES else f"{scheme}://"


def _shape(scheme: str) -> str:
    return _beginning(scheme) + _NO_SLASHES.get(scheme, "…")


DATA_SCHEMES = Schemes(("s3", "pvc", "hf", "https"))
MODEL_SCHEMES = Schemes(("s3", "pvc", "hf", "https", "zoo", "catalog"))
RECIPE_SCHEMES = Schemes(("s3", "pvc", "hf", "https", "zoo"))
OUTPUT_SCHEMES = Schemes(("s3", "pvc"), local=("file",))

_ADDRESS = _bounded(1024)
DataUri = Annotated[str, _ADDRESS, AfterValidator(DATA_SCHEMES.check), Hint(DATA_SCHEMES.expected)]
ModelUri = Annotated[
    str, _ADDRESS, AfterValidator(MODEL_SCHEMES.check), Hint(MODEL_SCHEMES.expected)
]
RecipeUri = Annotated[
    str, _ADDRESS, AfterValidator(RECIPE_SCHEMES.check), Hint(RECIPE_SCHEMES.expected)
]
OutputUri = Annotated[
    str, _ADDRESS, AfterValidator(OUTPUT_SCHEMES.check), Hint(OUTPUT_SCHEMES.expected)
]
Url = Annotated[str, _bounded(1024, "^https?://.+$"), Hint("an address: http://… or https://…")]
