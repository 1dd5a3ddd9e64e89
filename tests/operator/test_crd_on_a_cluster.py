"""The generated definition on a real API server: what it takes, what it refuses, what it shows."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.api.documents import Document, varied
from tests.api.rule_cases import BROKEN, CLUSTER_BROKEN, KEPT
from tests.cluster.access import Cluster
from tests.cluster.objects import define

from sparse_transfer_api.contract import GROUP, PLURAL
from sparse_transfer_api.spec.rules import CLUSTER_RULES, RULES

REPOSITORY = Path(__file__).resolve().parents[2]
DEFINITION = f"crd/{PLURAL}.{GROUP}"
EXAMPLES = sorted((REPOSITORY / "examples").glob("*/experiment.yaml"))
REFUSED = BROKEN | CLUSTER_BROKEN
LOCAL = "file://"


@pytest.fixture(scope="module")
def knowing(control_plane: Cluster) -> Cluster:
    """A cluster that knows the definition."""
    define(control_plane, REPOSITORY / "crds")
    return control_plane


def _created(
    cluster: Cluster, made: Document, namespace: str = "default", *options: str
) -> subprocess.CompletedProcess[str]:
    """Creates an object; what it says of a namespace is left out."""
    metadata = {key: value for key, value in made["metadata"].items() if key != "namespace"}
    stdin = json.dumps({**made, "metadata": metadata})
    arguments = (f"--namespace={namespace}", "--validate=strict", *options, "-f", "-")
    return cluster.kubectl("create", *arguments, stdin=stdin, check=False)


def _judged(cluster: Cluster, made: Document) -> subprocess.CompletedProcess[str]:
    """Asks the API server without keeping anything."""
    return _created(cluster, made, "default", "--dry-run=server")


def test_the_api_server_has_nothing_to_say_against_the_schema(knowing: Cluster) -> None:
    found = knowing.get(DEFINITION)["status"]["conditions"]
    assert {each["type"]: each["status"] for each in found} == {
        "NamesAccepted": "True",
        "Established": "True",
    }


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_examples_are_taken_as_they_are(path: Path, knowing: Cluster, namespace: str) -> None:
    made = yaml.safe_load(path.read_text())
    done = _created(knowing, made, namespace)
    if LOCAL in str(made["spec"]) or "package://" in str(made["spec"]):
        assert done.returncode != 0
        assert "on a cluster, expected" in done.stderr, "only one machine has it"
        return
    assert done.returncode == 0, done.stderr
    name = made["metadata"]["name"]
    kept = knowing.get("ste", name, f"--namespace={namespace}")
    assert kept["spec"] == made["spec"], "nothing is dropped, and nothing is filled in"


@pytest.mark.parametrize("name", KEPT)
def test_what_keeps_the_rules_is_taken(name: str, knowing: Cluster) -> None:
    done = _judged(knowing, varied(KEPT[name]))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", REFUSED)
def test_what_breaks_a_rule_is_refused_with_its_message(name: str, knowing: Cluster) -> None:
    changes, where = REFUSED[name]
    said = _judged(knowing, varied(changes)).stderr
    rules = [rule for rule in (*RULES, *CLUSTER_RULES) if rule.where == where]
    assert any(rule.message in said for rule in rules), said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"spec.optimLevel": 2}, "spec.optimLevel"),
        ({"spec.data": ...}, "spec.data: Required value"),
        ({"spec.optimlevel": 0.5}, 'unknown field "spec.optimlevel"'),
        ({"spec.template.env": [{"name": "a"}, {"name": "a"}]}, "Duplicate value"),
        ({"metadata.name": "a" * 41}, "metadata.name"),
    ],
)
def test_the_schema_refuses(changes: dict[str, Any], said: str, knowing: Cluster) -> None:
    done = _judged(knowing, varied(changes))
    assert done.returncode != 0
    assert said in done.stderr


def test_the_status_is_nobody_s_to_create_and_is_shown_in_columns(
    knowing: Cluster, namespace: str
) -> None:
    made = {**varied(), "status": {"phase": "Succeeded"}}
    assert _created(knowing, made, namespace).returncode == 0
    own = ("ste", "film-reviews", f"--namespace={namespace}")
    assert "status" not in knowing.get(*own)
    patch = ("--subresource=status", "--type=merge", '--patch={"status": {"phase": "Training"}}')
    knowing.kubectl("patch", *own, *patch)
    header, row = knowing.kubectl("get", *own).stdout.splitlines()
    assert header.split()[-6:] == ["PHASE", "PROGRESS", "SPARSITY", "RECOVERY", "SPEEDUP", "AGE"]
    assert "Training" in row.split()
    assert knowing.kubectl("get", "ml", f"--namespace={namespace}").stdout.count("film-reviews")


def test_the_api_server_explains_a_field(knowing: Cluster) -> None:
    said = knowing.kubectl("explain", "ste.spec.optimLevel").stdout
    assert "Default: 0.5." in said


def test_a_map_of_the_status_may_become_empty(knowing: Cluster, namespace: str) -> None:
    """A stage that runs again has recorded nothing yet; that is a map, and not null."""
    made = yaml.safe_load(EXAMPLES[0].read_text())
    made["spec"]["data"]["uri"] = "s3://bucket/data/"
    made["spec"] = {"useCase": made["spec"]["useCase"], "data": made["spec"]["data"]}
    done = _created(knowing, made, namespace)
    assert done.returncode == 0, done.stderr
    for key, digests in (("aaaa", {"model": "0" * 64}), ("bbbb", {}), ("cccc", {"data": "1" * 64})):
        stages = [{"name": "package", "key": key, "digests": digests}]
        status = {
            **{key: made[key] for key in ("apiVersion", "kind")},
            "metadata": {"name": made["metadata"]["name"]},
            "status": {"stages": stages},
        }
        knowing.kubectl(
            *("apply", "--server-side", "--subresource=status", f"--namespace={namespace}"),
            *("--field-manager=operator", "-f", "-"),
            stdin=json.dumps(status),
        )
        found = knowing.get("ste", made["metadata"]["name"], f"--namespace={namespace}")
        assert found["status"]["stages"] == stages
