"""What is generated is up to date, and says the same as what it comes from."""

from __future__ import annotations

import subprocess

import pytest
import yaml
from tests.chart import generated
from tests.chart.helm_chart import NAMESPACE, RELEASE, ROOT, Object, names, rendered, the
from tests.chart.variants import VARIANTS
from tests.cluster.programs import kubectl

from sparse_transfer_api.crd import custom_resource_definition


def test_the_files_are_up_to_date(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    assert generated.main(["--check"]) == 0, capsys.readouterr().err


@pytest.mark.parametrize("keep", [True, False])
def test_the_charts_definition_is_the_generated_one(keep: bool) -> None:
    found = the(rendered({"crds": {"keep": keep}}), "CustomResourceDefinition")
    wanted = custom_resource_definition()
    assert found["spec"] == wanted["spec"]
    assert found["metadata"]["name"] == wanted["metadata"]["name"]


def _built() -> list[Object]:
    """Returns what ``kubectl apply -k manifests/`` would apply."""
    done = subprocess.run(
        [str(kubectl()), "kustomize", str(ROOT / "manifests")],
        capture_output=True,
        text=True,
        check=True,
    )
    return list(yaml.safe_load_all(done.stdout))


def test_the_manifests_are_what_the_chart_renders_as_it_stands() -> None:
    built = _built()
    wanted = rendered({}, "--no-hooks")
    unhashed = {name.rpartition("-")[0] if "ConfigMap" in name else name for name in names(built)}
    assert unhashed == {*names(wanted), f"Namespace/{NAMESPACE}"}
    container, theirs = (
        the(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
        for objects in (built, wanted)
    )
    assert container == theirs
    for kind in ("ClusterRole", "Role"):
        for each in (each for each in wanted if each["kind"] == kind):
            assert the(built, kind, each["metadata"]["name"])["rules"] == each["rules"]


def test_nothing_of_helm_is_left_in_the_manifests() -> None:
    text = "".join(generated.manifests().values())
    assert "helm" not in text.lower()


def test_other_settings_in_the_manifests_restart_the_operator() -> None:
    built = _built()
    settings = the(built, "ConfigMap")["metadata"]["name"]
    assert settings.startswith(f"{RELEASE}-settings-")
    pod = the(built, "Deployment")["spec"]["template"]["spec"]
    (volume,) = [each for each in pod["volumes"] if each["name"] == "settings"]
    assert volume["configMap"]["name"] == settings


def test_the_operators_namespace_admits_restricted_pods_only() -> None:
    labels = the(_built(), "Namespace")["metadata"]["labels"]
    assert labels == {"pod-security.kubernetes.io/enforce": "restricted"}


def test_every_derived_setting_is_one_that_the_chart_writes() -> None:
    """A derived setting that no installation sets would be lost to users."""
    text = the(rendered(VARIANTS["settings in full"]), "ConfigMap")["data"]["settings.yaml"]
    document = yaml.safe_load(text)
    for path in generated.DERIVED:
        node = document
        for name in path.split("."):
            assert name in node, path
            node = node[name]
