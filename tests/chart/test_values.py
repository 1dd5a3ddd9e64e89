"""Wrong values are refused before anything reaches a cluster, with a message that says where."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml
from tests.chart.helm_chart import CHART, Refused, rendered

WRONG: Mapping[str, tuple[Mapping[str, Any], str]] = {
    "a value that does not exist": ({"replica": 2}, "'replica'"),
    "a value that does not exist, deep inside": ({"image": {"name": "x"}}, "'name'"),
    "more replicas than lead and stand by": ({"replicas": 3}, "/replicas"),
    "a number in quotes": ({"replicas": "1"}, "/replicas"),
    "a tag inside of the repository": ({"image": {"repository": "a/b:1"}}, "/image/repository"),
    "a digest that is none": ({"image": {"digest": "sha256:12"}}, "/image/digest"),
    "a pull policy that does not exist": ({"image": {"pullPolicy": "Sometimes"}}, "pullPolicy"),
    "a namespace that cannot exist": ({"namespaces": ["Team A"]}, "/namespaces/0"),
    "a namespace twice": ({"namespaces": ["a", "a"]}, "/namespaces"),
    "a setting that does not exist": ({"settings": {"resyncSecs": 5}}, "'resyncSecs'"),
    "a setting out of its range": ({"settings": {"resyncSeconds": 0}}, "resyncSeconds"),
    "a port out of range": ({"settings": {"httpPort": 70000}}, "httpPort"),
    "an output on somebody's disk": (
        {"settings": {"output": {"uri": "file:///tmp"}}},
        "/settings/output/uri",
    ),
    "a field of pods that does not exist": (
        {"settings": {"template": {"nodeselector": {}}}},
        "'nodeselector'",
    ),
    "a stage that does not exist": ({"settings": {"stages": {"test": {}}}}, "'test'"),
    "an amount that is none": (
        {"settings": {"stages": {"train": {"resources": {"limits": {"memory": "16 GB"}}}}}},
        "/settings/stages/train/resources/limits/memory",
    ),
    "a fraction that is not in quotes": (
        {"settings": {"stages": {"train": {"resources": {"requests": {"cpu": 0.5}}}}}},
        "/settings/stages/train/resources/requests/cpu",
    ),
    **{
        f"what the chart sets itself: {path}": (values, f"'{path.rpartition('.')[2]}'")
        for path, values in {
            "image": {"settings": {"image": "x"}},
            "imagePullPolicy": {"settings": {"imagePullPolicy": "Always"}},
            "namespace": {"settings": {"namespace": "x"}},
            "namespaces": {"settings": {"namespaces": ["x"]}},
            "lease.name": {"settings": {"lease": {"name": "x"}}},
            "progress.host": {"settings": {"progress": {"host": "x"}}},
            "progress.secret": {"settings": {"progress": {"secret": "x"}}},
        }.items()
    },
    "an amount of memory for the operator that is none": (
        {"resources": {"limits": {"memory": "lots"}}},
        "/resources/limits/memory",
    ),
    "an address that is no range": (
        {"networkPolicy": {"apiServerAddresses": ["10.0.0.1"]}},
        "/networkPolicy/apiServerAddresses/0",
    ),
    "an interval without a unit": (
        {"metrics": {"serviceMonitor": {"interval": "30"}}},
        "/metrics/serviceMonitor/interval",
    ),
    "a spread without a topology": (
        {"topologySpreadConstraints": [{"maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}]},
        "topologyKey",
    ),
}

AS_IN_KUBERNETES = ("resources", "podSecurityContext", "securityContext")


@pytest.mark.parametrize("mistake", WRONG)
def test_a_mistake_is_refused_where_it_is(mistake: str) -> None:
    values, named = WRONG[mistake]
    with pytest.raises(Refused, match=re.escape(named)):
        rendered(values)


def test_as_a_part_of_another_chart_its_values_are_accepted() -> None:
    assert rendered({"global": {"imageRegistry": "somewhere"}})


def _lines(node: yaml.MappingNode, path: str = "") -> Iterator[tuple[str, int]]:
    """Yields the path of each value, and its line; what is as in Kubernetes is one value."""
    for key, value in node.value:
        here = f"{path}.{key.value}" if path else key.value
        yield here, key.start_mark.line
        if isinstance(value, yaml.MappingNode) and key.value not in AS_IN_KUBERNETES:
            yield from _lines(value, here)


def test_every_value_is_explained_where_it_stands() -> None:
    text = (CHART / "values.yaml").read_text()
    lines = text.splitlines()
    document = yaml.compose(text)
    assert isinstance(document, yaml.MappingNode)
    stages = re.compile(r"settings\.stages\..+\.resources")
    for path, number in _lines(document):
        assert stages.fullmatch(path) or lines[number - 1].lstrip().startswith("# "), path


def test_every_value_that_the_schema_knows_has_its_default_in_the_file() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())

    def check(node: Any, found: Any, path: str) -> None:
        if "$ref" in node:
            node = schema["$defs"][node["$ref"].rpartition("/")[2]]
        for name, child in node.get("properties", {}).items():
            if (path, name) not in {("", "global"), ("", "settings")}:
                assert name in found, f"{path}.{name}"
                check(child, found[name], f"{path}.{name}")

    check(schema, values, "")
