"""The settings file of the chart is one that the operator takes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from tests.chart.generated import settings_schema
from tests.chart.helm_chart import CHART, NAMESPACE, RELEASE, ROOT, rendered, the
from tests.chart.variants import VARIANTS

from sparse_transfer_operator import reference
from sparse_transfer_operator.settings import OperatorSettings, load_settings

SETTINGS_FILE = "settings.yaml"


def _settings(folder: Path, values: Any, namespace: str = NAMESPACE) -> OperatorSettings:
    objects = rendered(values, namespace=namespace)
    name = the(objects, "Deployment")["metadata"]["name"]
    path = folder / SETTINGS_FILE
    path.write_text(the(objects, "ConfigMap", f"{name}-settings")["data"][SETTINGS_FILE])
    return load_settings(path)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_operator_takes_the_settings_of_every_installation(
    variant: str, tmp_path: Path
) -> None:
    _settings(tmp_path, VARIANTS[variant])


def test_values_that_say_nothing_mean_the_operators_own_defaults(tmp_path: Path) -> None:
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    defaults = OperatorSettings(image=f"sparse-transfer-runner:{version}")
    assert _settings(tmp_path, {}) == defaults


def test_what_follows_from_other_values_is_set(tmp_path: Path) -> None:
    values = {
        "fullnameOverride": "trainer",
        "namespaces": ["team-a", "team-b"],
        "runner": {"image": {"repository": "here/runner", "tag": "2", "pullPolicy": "Always"}},
    }
    settings = _settings(tmp_path, values, namespace="ml")
    assert settings.image == "here/runner:2"
    assert settings.image_pull_policy == "Always"
    assert settings.namespace == "ml"
    assert settings.namespaces == ("team-a", "team-b")
    assert settings.lease.name == "trainer"
    assert settings.progress.host == "trainer-progress.ml.svc"
    assert settings.progress.secret == "trainer-progress"
    objects = rendered(values, namespace="ml")
    assert the(objects, "Service", "trainer-progress")["metadata"]["namespace"] == "ml"


def test_a_stage_that_is_changed_leaves_the_others_as_they_are(tmp_path: Path) -> None:
    stages = _settings(tmp_path, VARIANTS["settings in full"]).stages
    assert stages.train.resources.limits == {"memory": "16Gi", "nvidia.com/gpu": "1"}
    assert stages.prepare == OperatorSettings().stages.prepare


def test_large_numbers_stay_numbers(tmp_path: Path) -> None:
    settings = _settings(tmp_path, VARIANTS["settings in full"])
    assert settings.resync_seconds == 1_000_000
    assert settings.template.tolerations[0].toleration_seconds == 1_000_000


def test_the_pod_reads_the_file_that_the_chart_writes() -> None:
    pod = the(rendered(), "Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    option, path = container["args"]
    assert option == "--settings"
    (mount,) = [each for each in container["volumeMounts"] if each["name"] == "settings"]
    assert path == f"{mount['mountPath']}/{SETTINGS_FILE}"
    (volume,) = [each for each in pod["volumes"] if each["name"] == "settings"]
    assert volume["configMap"]["name"] == f"{RELEASE}-settings"


def test_changed_settings_roll_the_pods_and_nothing_else_does() -> None:
    def checksum(values: Any) -> str:
        template = the(rendered(values), "Deployment")["spec"]["template"]
        found: str = template["metadata"]["annotations"]["checksum/settings"]
        return found

    as_it_stands = checksum({})
    assert checksum({"settings": {"resyncSeconds": 60}}) != as_it_stands
    assert checksum({"runner": {"image": {"tag": "2"}}}) != as_it_stands
    assert checksum({"replicas": 2, "rbac": {"aggregate": False}}) == as_it_stands


def test_the_reference_is_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--check", "--directory", str(ROOT / "docs" / "reference")]
    assert reference.main(arguments) == 0, capsys.readouterr().err


def test_the_reference_describes_every_setting() -> None:
    rows = re.findall(r"^\| `(\w+)` \|.*\| (.+) \|$", reference.page(), re.MULTILINE)
    described = {name: text for name, text in rows}
    schema = OperatorSettings.model_json_schema(by_alias=True)
    own = (schema, *(schema["$defs"][name] for name in ("ProgressSettings", "LeaseSettings")))
    for block in own:
        for name, field in block["properties"].items():
            assert field["description"] in described[name]


def test_the_defaults_of_the_reference_are_the_defaults(tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(.+?)```", reference.page(), re.DOTALL)
    path = tmp_path / SETTINGS_FILE
    path.write_text(text)
    assert load_settings(path) == OperatorSettings()


def test_the_chart_knows_what_the_settings_are() -> None:
    """The values' schema of ``settings`` takes what the model takes, less what is derived."""
    document = OperatorSettings().to_json_dict()
    for path in reference.DERIVED:
        *blocks, name = path.split(".")
        node = document
        for block in blocks:
            node = node[block]
        del node[name]
    jsonschema.validate(document, settings_schema())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    jsonschema.validate(values, json.loads((CHART / "values.schema.json").read_text()))
