"""The generated definition: is it what an API server takes, and is the file up to date?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import cel
import jsonschema
import pytest
import yaml

from sparse_transfer_api import crd
from sparse_transfer_api.contract import API_VERSION, KIND
from sparse_transfer_api.schema import inlined
from sparse_transfer_api.spec import SparseTransferSpec
from sparse_transfer_api.spec.types import (
    INT_OR_STRING,
    LIST_MAP_KEYS,
    LIST_TYPE,
    MAP_TYPE,
    PRESERVE,
)

REPOSITORY = Path(__file__).resolve().parents[2]
SCHEMA = crd.resource_schema()
ALLOWED = {
    "description",
    "enum",
    "format",
    "items",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minimum",
    "pattern",
    "properties",
    "additionalProperties",
    "required",
    "type",
    INT_OR_STRING,
    LIST_MAP_KEYS,
    LIST_TYPE,
    MAP_TYPE,
    PRESERVE,
    crd.RULES_KEY,
}
SERVER_OWNED = ("apiVersion", "kind", "metadata")


def _nodes(node: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield path, node
    for name, child in node.get("properties", {}).items():
        yield from _nodes(child, f"{path}.{name}" if path else name)
    for key in ("items", "additionalProperties"):
        if isinstance(node.get(key), Mapping):
            yield from _nodes(node[key], f"{path}[{key}]")


NODES = dict(_nodes(SCHEMA))


def test_the_files_are_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    assert crd.main(["--check", "--directory", str(REPOSITORY / "crds")]) == 0, (
        capsys.readouterr().err
    )


def test_a_file_that_is_out_of_date_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert crd.main(["--directory", str(tmp_path)]) == 0
    assert crd.main(["--check", "--directory", str(tmp_path)]) == 0
    (tmp_path / crd.CRD_FILE).write_text("other")
    assert crd.main(["--check", "--directory", str(tmp_path)]) == 1
    assert crd.CRD_FILE in capsys.readouterr().err
    assert (tmp_path / crd.CRD_FILE).read_text() == "other", "a check writes nothing"


def test_the_kustomization_names_the_definition() -> None:
    kustomization = yaml.safe_load((REPOSITORY / "crds" / crd.KUSTOMIZATION_FILE).read_text())
    assert kustomization["resources"] == [crd.CRD_FILE]


def test_the_file_reads_back_as_what_it_was_generated_from() -> None:
    text = (REPOSITORY / "crds" / crd.CRD_FILE).read_text()
    assert yaml.safe_load(text) == crd.custom_resource_definition()
    assert "&id" not in text, "no YAML references"


def test_names_scope_and_version_are_those_of_the_contract() -> None:
    spec = crd.custom_resource_definition()["spec"]
    assert f"{spec['group']}/{spec['versions'][0]['name']}" == API_VERSION
    assert spec["names"]["kind"] == KIND
    assert spec["names"]["shortNames"] == ["ste"]
    assert spec["names"]["categories"] == ["ml"]
    assert spec["scope"] == "Namespaced"
    assert spec["conversion"] == {"strategy": "None"}
    assert spec["versions"][0]["subresources"] == {"status": {}}


def test_columns_show_fields_that_exist() -> None:
    columns = crd.custom_resource_definition()["spec"]["versions"][0]["additionalPrinterColumns"]
    assert [column["name"] for column in columns] == [
        "Use case",
        "Level",
        "Search",
        "Phase",
        "Progress",
        "Sparsity",
        "Recovery",
        "Speedup",
        "Age",
    ]
    for column in columns[:-1]:
        node = NODES[column["jsonPath"].removeprefix(".")]
        assert node["type"] == column["type"]


@pytest.mark.parametrize("path", NODES)
def test_every_node_is_structural(path: str) -> None:
    node = NODES[path]
    assert set(node) <= ALLOWED
    if INT_OR_STRING in node:
        assert "type" not in node
    elif PRESERVE not in node:
        assert node["type"] in ("object", "array", "string", "integer", "number", "boolean")
    assert not {"properties", "additionalProperties"} <= node.keys()
    if node.get("type") == "array":
        assert "items" in node
    if node.get("type") == "object" and path not in SERVER_OWNED:
        assert {"properties", "additionalProperties", PRESERVE} & node.keys()


@pytest.mark.parametrize("path", [path for path in NODES if path not in SERVER_OWNED])
def test_every_text_list_and_map_is_bounded(path: str) -> None:
    node = NODES[path]
    if node.get("type") == "string" and "enum" not in node:
        assert node["maxLength"] > 0
    if node.get("type") == "array":
        assert node["maxItems"] > 0
    if "additionalProperties" in node:
        assert node["maxProperties"] > 0


@pytest.mark.parametrize("path", [path for path in NODES if LIST_MAP_KEYS in NODES[path]])
def test_lists_that_are_maps_require_their_keys(path: str) -> None:
    node = NODES[path]
    assert node[LIST_TYPE] == "map"
    for key in node[LIST_MAP_KEYS]:
        assert key in node["items"]["required"]
        assert node["items"]["properties"][key]["type"] == "string"


@pytest.mark.parametrize("path", [path for path in NODES if NODES[path].get("type") == "array"])
def test_lists_say_how_they_are_merged(path: str) -> None:
    node = NODES[path]
    assert node[LIST_TYPE] in ("map", "set", "atomic")
    if node[LIST_TYPE] == "set":
        assert node["items"]["type"] in ("string", "integer", "number")


def test_lists_of_the_status_that_several_write_are_maps() -> None:
    keys = {path: NODES[path].get(LIST_MAP_KEYS) for path in NODES if path.startswith("status.")}
    assert keys["status.conditions"] == ["type"]
    assert keys["status.stages"] == ["name"]
    assert keys["status.artifacts"] == ["name"]


RULES = [(path, rule) for path, node in NODES.items() for rule in node.get(crd.RULES_KEY, ())]


@pytest.mark.parametrize(("path", "rule"), RULES, ids=lambda value: str(value)[:40])
def test_rules_compile_and_say_where_and_what(path: str, rule: Mapping[str, str]) -> None:
    assert cel.compile(rule["rule"])
    assert set(rule) <= {"rule", "message", "fieldPath"}
    assert "\n" not in rule["message"]
    if "fieldPath" in rule:
        field = f"{path}{rule['fieldPath']}".removeprefix(".")
        assert field in NODES, "a field path has to exist in the schema"


def test_there_are_no_defaults_and_the_descriptions_state_them() -> None:
    for path, field in _nodes(inlined(SparseTransferSpec)):
        default = field.get("default")
        if default is not None and default != []:
            assert "Default: " in NODES[f"spec.{path}"]["description"], path
        assert "default" not in NODES[f"spec.{path}" if path else "spec"]
    assert "Default: 0.5." in NODES["spec.optimLevel"]["description"]
    assert "Default: false." in NODES["spec.runPolicy.suspend"]["description"]


def test_the_schema_is_a_json_schema_too() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"spec.optimLevel": 2}, "spec.optimLevel"),
        ({"spec.optimLevel": "0.5"}, "spec.optimLevel"),
        ({"spec.data": ...}, "'data' is a required property"),
        ({"spec.training.seed": 1.5}, "spec.training.seed"),
        ({"spec.export.targets": ["onnx"]}, "spec.export.targets.0"),
        ({"spec.template.env": [{"value": "a"}]}, "'name' is a required property"),
        ({"spec.template.env": [{"name": "a"}, {"name": "a"}]}, "duplicate"),
        ({"spec.benchmark.batchSizes": [1, 1]}, "duplicate"),
        ({"spec.storage.cache.sizeLimit": "5 GB"}, "spec.storage.cache.sizeLimit"),
        ({"metadata.name": "a" * 41}, "metadata.name"),
    ],
)
def test_the_schema_alone_refuses(
    changes: dict[str, Any], said: str, document: Callable[..., Any], api_server: Any
) -> None:
    assert any(said in refusal for refusal in api_server.refusals(document(changes)))
