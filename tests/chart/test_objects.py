"""What the chart renders is what Kubernetes takes, whatever the values."""

from __future__ import annotations

from typing import Any

import pytest
from tests.chart.helm_chart import (
    CHART,
    NAMESPACE,
    RELEASE,
    Object,
    names,
    of_kind,
    rendered,
    run_helm,
    the,
)
from tests.chart.variants import MONITORED, VARIANTS

kubernetes_validate = pytest.importorskip(
    "kubernetes_validate", reason="pip install 'sparse-transfer[servers]'"
)

OLDEST, NEWEST = "1.30", "1.37"
"""Of Kubernetes: what Chart.yaml says, and the newest whose schemas are there."""
CLUSTER_WIDE = (
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
)


@pytest.mark.parametrize("variant", VARIANTS)
def test_helm_finds_no_fault(variant: str) -> None:
    said = run_helm("lint", "--strict", str(CHART), values=VARIANTS[variant])
    assert "0 chart(s) failed" in said
    assert "[WARNING]" not in said


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_object_fits_the_schemas_of_kubernetes(variant: str, version: str) -> None:
    for each in rendered(VARIANTS[variant]):
        kubernetes_validate.validate(each, version, strict=True)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_object_has_a_name_of_its_own_and_says_where_it_belongs(variant: str) -> None:
    objects = rendered(VARIANTS[variant])
    places = [
        (each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"])
        for each in objects
    ]
    assert len(set(places)) == len(places)
    for kind, namespace, _ in places:
        assert (namespace is None) == (kind in CLUSTER_WIDE)


@pytest.mark.parametrize("release", ["sparse-transfer-operator", "ml", "x" * 53])
def test_no_name_is_too_long_and_each_begins_with_the_release(release: str) -> None:
    for each in rendered({"crds": {"install": False}}, release=release):
        assert len(each["metadata"]["name"]) <= 63
        assert each["metadata"]["name"].startswith(release[:40])


def test_the_services_lead_to_the_pods_and_the_test_pod_is_none_of_them() -> None:
    objects = rendered()
    pod = the(objects, "Deployment")["spec"]["template"]
    (test,) = of_kind(objects, "Pod")
    ports = {port["name"] for port in pod["spec"]["containers"][0]["ports"]}
    for service in of_kind(objects, "Service"):
        selector = service["spec"]["selector"].items()
        assert selector <= pod["metadata"]["labels"].items()
        assert not selector <= test["metadata"]["labels"].items()
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports


def test_ports_are_those_of_the_settings() -> None:
    objects = rendered(VARIANTS["other ports"])
    container = the(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]
    assert [port["containerPort"] for port in container["ports"]] == [9090, 9443]
    services = {
        each["metadata"]["name"]: each["spec"]["ports"][0]["port"]
        for each in of_kind(objects, "Service")
    }
    assert services == {f"{RELEASE}-metrics": 9090, f"{RELEASE}-progress": 9443}


def test_without_progress_nothing_of_it_is_left() -> None:
    objects = rendered(VARIANTS["no progress"])
    assert not [name for name in names(objects) if "progress" in name or "tokens" in name]
    container = the(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]
    assert [port["name"] for port in container["ports"]] == ["http"]


def test_every_probe_asks_the_port_of_health() -> None:
    container = _container(rendered())
    probes = {
        name: container[name]["httpGet"]
        for name in ("startupProbe", "livenessProbe", "readinessProbe")
    }
    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startupProbe": "/healthz",
        "livenessProbe": "/healthz",
        "readinessProbe": "/readyz",
    }
    assert {probe["port"] for probe in probes.values()} == {"http"}


def test_a_second_replica_gets_a_budget_and_another_node() -> None:
    assert not of_kind(rendered(), "PodDisruptionBudget")
    objects = rendered(VARIANTS["two replicas"])
    deployment = the(objects, "Deployment")["spec"]
    assert deployment["replicas"] == 2
    selector = the(objects, "PodDisruptionBudget")["spec"]["selector"]
    (spread,) = deployment["template"]["spec"]["topologySpreadConstraints"]
    assert selector == spread["labelSelector"] == deployment["selector"]


def test_what_is_said_about_the_pod_reaches_it() -> None:
    values: Any = VARIANTS["everything about the pod"]
    objects = rendered(values)
    pod = the(objects, "Deployment")["spec"]["template"]
    for name in ("priorityClassName", "nodeSelector", "tolerations", "affinity"):
        assert pod["spec"][name] == values[name]
    assert values["podLabels"].items() <= pod["metadata"]["labels"].items()
    assert values["podAnnotations"].items() <= pod["metadata"]["annotations"].items()
    assert _container(objects)["resources"] == values["resources"]
    assert the(objects, "ServiceAccount")["metadata"]["annotations"] == {"note": "kept"}
    service = the(objects, "Service", f"{RELEASE}-metrics")
    assert service["metadata"]["annotations"] == {"note": "kept"}


def test_images_are_pinned_by_digest_where_there_is_one() -> None:
    objects = rendered(VARIANTS["pinned images from a private registry"])
    assert _container(objects)["image"] == "registry:5000/operator@sha256:" + "0" * 64
    pod = the(objects, "Deployment")["spec"]["template"]["spec"]
    assert pod["imagePullSecrets"] == [{"name": "pull"}]


@pytest.mark.parametrize("kind", ["serviceMonitor", "podMonitor"])
def test_a_monitor_scrapes_the_port_of_the_metrics(kind: str) -> None:
    objects = rendered(MONITORED)
    monitor = the(objects, kind[0].upper() + kind[1:])
    endpoints = monitor["spec"].get("endpoints") or monitor["spec"]["podMetricsEndpoints"]
    wanted = MONITORED["metrics"][kind]
    assert endpoints == [
        {
            "port": "http",
            "path": "/metrics",
            "honorLabels": True,
            "interval": wanted["interval"],
            "relabelings": wanted["relabelings"],
            "metricRelabelings": wanted["metricRelabelings"],
        }
    ]
    assert wanted["labels"].items() <= monitor["metadata"]["labels"].items()
    chosen = monitor["spec"]["selector"]["matchLabels"].items()
    if kind == "serviceMonitor":
        (service,) = [
            each
            for each in of_kind(objects, "Service")
            if chosen <= each["metadata"]["labels"].items()
        ]
        assert service["spec"]["ports"][0]["name"] == "http"
    else:
        assert (
            chosen <= the(objects, "Deployment")["spec"]["template"]["metadata"]["labels"].items()
        )


def test_no_monitor_is_made_unasked() -> None:
    assert not of_kind(rendered(), "ServiceMonitor", "PodMonitor", "NetworkPolicy")


def test_a_network_policy_lets_stages_post_and_the_operator_reach_its_server() -> None:
    policy = the(rendered(VARIANTS["a tight network policy"]), "NetworkPolicy")["spec"]
    metrics, progress = policy["ingress"]
    assert metrics["from"] == VARIANTS["a tight network policy"]["networkPolicy"]["metricsFrom"]
    (poster,) = progress["from"]
    assert poster["namespaceSelector"] == {}
    (asked,) = poster["podSelector"]["matchExpressions"]
    assert asked == {"key": "sparsetransfer.dev/experiment", "operator": "Exists"}
    names_of, server = policy["egress"]
    assert {port["port"] for port in names_of["ports"]} == {53}
    assert server == {
        "ports": [{"port": 6443, "protocol": "TCP"}],
        "to": [{"ipBlock": {"cidr": "10.0.0.1/32"}}],
    }


def test_the_definition_is_kept_when_the_release_goes() -> None:
    kept = the(rendered(), "CustomResourceDefinition")["metadata"]
    assert kept["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert kept["labels"]["app.kubernetes.io/instance"] == RELEASE
    loose = the(rendered({"crds": {"keep": False}}), "CustomResourceDefinition")["metadata"]
    assert "annotations" not in loose
    assert not of_kind(rendered({"crds": {"install": False}}), "CustomResourceDefinition")


def test_the_namespace_is_the_releases() -> None:
    objects = rendered(namespace="elsewhere")
    found = {each["metadata"].get("namespace") for each in objects} - {None}
    assert found == {"elsewhere"} != {NAMESPACE}


def _container(objects: list[Object]) -> Object:
    (container,) = the(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
    found: Object = container
    return found
