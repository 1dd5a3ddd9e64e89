"""A valid experiment to vary, random ones, and a small API server that judges by the CRD."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

import cel
import jsonschema
import pytest
from hypothesis import strategies as st
from tests.api.documents import Document, varied

from sparse_transfer_api.crd import RULES_KEY, resource_schema
from sparse_transfer_api.errors import InputError
from sparse_transfer_api.schema import inlined
from sparse_transfer_api.spec import (
    SparseTransferExperiment,
    SparseTransferSpec,
    parse_experiment,
)
from sparse_transfer_api.spec.types import (
    EXPECTED,
    INT_OR_STRING,
    LIST_MAP_KEYS,
    LIST_TYPE,
    PRESERVE,
)
from sparse_transfer_api.use_cases import ALL_NAMES


def _problems_of(made: Any) -> dict[str, str]:
    try:
        parse_experiment(made, "experiment.yaml")
    except InputError as error:
        places = [problem.where for problem in error.problems]
        assert len(places) == len(set(places)), "one problem for each place"
        assert places, "an error says at least one problem"
        assert str(error).encode(), "messages can be printed"
        return {problem.where: problem.message for problem in error.problems}
    return {}


@pytest.fixture(scope="session")
def document() -> Callable[..., Document]:
    """``document({"spec.optimLevel": 0.8})``: a valid experiment with changes by dotted path."""
    return varied


@pytest.fixture(scope="session")
def parsed() -> Callable[..., SparseTransferExperiment]:
    """``parsed({...})``: the same, read."""
    return lambda changes=None: parse_experiment(varied(changes), "experiment.yaml")


@pytest.fixture(scope="session")
def problems_of() -> Callable[[Any], dict[str, str]]:
    """``problems_of(document)``: messages by place; nothing where the document is valid."""
    return _problems_of


class ApiServer:
    """Judges objects as an API server with the generated CRD would, as far as a library can."""

    def __init__(self) -> None:
        self.schema = resource_schema()
        self.validator = jsonschema.Draft7Validator(self.schema)

    def refusals(self, made: Mapping[str, Any]) -> list[str]:
        """Returns why an object would be refused; nothing where it would be taken."""
        broken = [
            f"{'.'.join(map(str, error.absolute_path))}: {error.message}"
            for error in self.validator.iter_errors(made)
        ]
        broken.extend(self._duplicates(made, self.schema))
        # As in the API server, rules are not asked about what the schema refuses.
        return broken or [message for _, message in self.broken_rules(made)]

    def broken_rules(self, made: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Returns every rule that an object breaks, with its message."""
        return list(self._broken_rules(made, self.schema))

    def _broken_rules(self, value: Any, node: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        for rule in node.get(RULES_KEY, ()):
            if _program(rule["rule"]).execute({"self": value}) is not True:
                yield rule["rule"], rule["message"]
        for item, below in _children(value, node):
            yield from self._broken_rules(item, below)

    def _duplicates(self, value: Any, node: Mapping[str, Any]) -> Iterator[str]:
        if isinstance(value, list) and (keys := node.get(LIST_MAP_KEYS)):
            known = [tuple(item.get(key) for key in keys) for item in value]
            if len(known) != len(set(known)):
                yield f"duplicate {keys}"
        is_set = isinstance(value, list) and node.get(LIST_TYPE) == "set"
        if is_set and len(value) != len(set(value)):
            yield "duplicate item"
        for item, below in _children(value, node):
            yield from self._duplicates(item, below)


def _children(value: Any, node: Mapping[str, Any]) -> Iterator[tuple[Any, Mapping[str, Any]]]:
    if isinstance(value, dict):
        for name, item in value.items():
            if name in node.get("properties", {}):
                yield item, node["properties"][name]
    if isinstance(value, list):
        for item in value:
            yield item, node.get("items", {})


@cache
def _program(rule: str) -> Any:
    return cel.compile(rule)


@pytest.fixture(scope="session")
def api_server() -> ApiServer:
    """Judges objects by the generated CRD."""
    return ApiServer()


@pytest.fixture(scope="session")
def valid_documents() -> st.SearchStrategy[Document]:
    """Random valid experiments, with any subset of the fields."""
    return st.builds(_with_spec, _values(inlined(SparseTransferSpec))).filter(
        lambda made: not _problems_of(made)
    )


def _with_spec(spec: Document) -> Document:
    """Returns an experiment around a random spec, with fields that rules forbid taken out."""
    spec["model"] = {**spec.get("model", {}), "uri": "s3://models/sparse/"}
    spec.pop("search", None)
    spec.pop("teacher", None)
    spec.pop("baseline", None)
    for block, name in (("training", "nodes"), ("training", "imageSize"), ("recipe", "uri")):
        spec.get(block, {}).pop(name, None)
    spec.get("storage", {}).get("cache", {}).pop("claim", None)
    spec.get("benchmark", {}).get("headline", {}).pop("engine", None)
    if not re.match("(?i)nlp|sentiment|qa|ner", spec["useCase"]):
        spec["useCase"] = "nlp-text_classification"
    return {**varied(), "spec": spec}


def _values(node: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    """Returns a strategy for the values that a schema of the models allows."""
    expected = str(node.get(EXPECTED, ""))
    if expected.startswith("an address:"):
        return st.sampled_from(["s3://bucket/some/place/", "pvc://claim/place"])
    if expected.startswith("a use case"):
        return st.sampled_from(ALL_NAMES)
    if INT_OR_STRING in node:
        return st.sampled_from(["500m", "2", "16Gi", "1.5"]) | st.integers(0, 10**6)
    if "enum" in node:
        return st.sampled_from(node["enum"])
    if PRESERVE in node and "properties" not in node:
        return st.just({"some": "thing"}) if node.get("type") == "object" else _scalars()
    return _by_type(node)


def _by_type(node: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    kind = node["type"]
    if kind == "object" and "properties" in node:
        required = {name: _values(node["properties"][name]) for name in node.get("required", ())}
        optional = {
            name: _values(child)
            for name, child in node["properties"].items()
            if name not in required
        }
        return st.fixed_dictionaries(required, optional=optional)
    if kind == "object":
        names = st.text("abcdefghijklmnop", min_size=1, max_size=8)
        return st.dictionaries(names, _values(node["additionalProperties"]), max_size=2)
    if kind == "array":
        least = node.get("minItems", 0)
        return st.lists(_values(node["items"]), min_size=least, max_size=least + 1)
    if kind == "boolean":
        return st.booleans()
    if kind == "integer":
        return st.integers(node["minimum"], node["maximum"])
    if kind == "number":
        return st.floats(node["minimum"], node["maximum"])
    if "pattern" in node:
        pattern = st.from_regex(re.compile(node["pattern"], re.ASCII), fullmatch=True)
        return pattern.filter(lambda text: len(text) <= node["maxLength"])
    return st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)


def _scalars() -> st.SearchStrategy[Any]:
    return (
        st.booleans()
        | st.integers(-(2**53), 2**53)
        | st.floats(-1e6, 1e6)
        | st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
    )
