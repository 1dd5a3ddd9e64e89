"""The operator is installed, upgraded and uninstalled on a real API server.

Its nodes are simulated: pods are admitted and called ready, and no program runs in them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.chart.helm_chart import (
    CHART,
    RELEASE,
    ROOT,
    Object,
    rendered,
    run_helm,
    the,
)
from tests.chart.variants import VARIANTS
from tests.cluster.access import Cluster
from tests.cluster.objects import wait_until_served

from sparse_transfer_api.contract import API_VERSION, GROUP, KIND, PLURAL

RESOURCE = f"{PLURAL}.{GROUP}"
ADMITTING = "pod-security.kubernetes.io/enforce=restricted"
EXPERIMENT = {
    "apiVersion": API_VERSION,
    "kind": KIND,
    "metadata": {"name": "reviews"},
    "spec": {"useCase": "nlp-sentiment_analysis", "data": {"uri": "s3://bucket/reviews/"}},
}


@pytest.fixture
def restricted(bare_cluster: Cluster) -> Iterator[str]:
    """A fresh namespace that admits restricted pods only."""
    name = bare_cluster.namespace()
    bare_cluster.kubectl("label", "namespace", name, ADMITTING)
    yield name
    bare_cluster.remove_namespace(name)


def _helm(cluster: Cluster, *arguments: str, values: Mapping[str, Any] | None = None) -> str:
    return run_helm(f"--kubeconfig={cluster.kubeconfig}", *arguments, values=values)


@contextmanager
def _installed(
    cluster: Cluster, namespace: str, values: Mapping[str, Any], chart: Path = CHART
) -> Iterator[None]:
    where = f"--namespace={namespace}"
    waiting = ("--wait", "--timeout=50s")
    _helm(cluster, "install", RELEASE, str(chart), where, *waiting, values=values)
    try:
        yield
    finally:
        _helm(cluster, "uninstall", RELEASE, where, *waiting)


@pytest.fixture
def no_definition(bare_cluster: Cluster) -> Iterator[None]:
    """Nobody has installed the definition, and nobody keeps it."""
    yield
    bare_cluster.kubectl("delete", "crd", RESOURCE, "--ignore-not-found", "--timeout=60s")


def _can(cluster: Cluster, account: str, verb: str, resource: str, *where: str) -> bool:
    done = cluster.kubectl(
        "auth",
        "can-i",
        verb,
        resource,
        f"--as=system:serviceaccount:{account}",
        *where,
        check=False,
    )
    return done.stdout.strip() == "yes"


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_api_server_takes_every_object(
    variant: str, bare_cluster: Cluster, restricted: str
) -> None:
    values: dict[str, Any] = dict(VARIANTS[variant])
    if "namespaces" in values:
        values["namespaces"] = [restricted, "default"]
    objects = rendered(values, namespace=restricted)
    arguments = ("apply", "--server-side", "--dry-run=server", "--filename=-")
    said = bare_cluster.kubectl(*arguments, stdin=yaml.safe_dump_all(objects))
    assert "would violate PodSecurity" not in said.stderr
    assert len(said.stdout.splitlines()) == len(objects)


def _as_pod(objects: list[Object]) -> Object:
    template = the(objects, "Deployment")["spec"]["template"]
    spec = {**template["spec"], "serviceAccountName": "default"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "operator"}, "spec": spec}


@pytest.mark.parametrize("variant", ["as it stands", "user ids chosen by the platform"])
def test_the_pod_is_admitted_where_only_restricted_ones_are(
    variant: str, bare_cluster: Cluster, restricted: str
) -> None:
    pod = _as_pod(rendered(VARIANTS[variant], namespace=restricted))
    arguments = ("create", "--dry-run=server", f"--namespace={restricted}", "--filename=-")
    bare_cluster.kubectl(*arguments, stdin=json.dumps(pod))
    pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    refused = bare_cluster.kubectl(*arguments, stdin=json.dumps(pod), check=False)
    assert "violates PodSecurity" in refused.stderr


def test_helm_installs_it_and_leaves_experiments_when_it_goes(
    bare_cluster: Cluster, restricted: str, no_definition: None
) -> None:
    with _installed(bare_cluster, restricted, {"replicas": 2}):
        deployment = bare_cluster.get("deployment", RELEASE, f"--namespace={restricted}")
        assert deployment["status"]["availableReplicas"] == 2
        bare_cluster.apply(EXPERIMENT, namespace=restricted)
    assert bare_cluster.get(RESOURCE, "reviews", f"--namespace={restricted}")
    left = ("deployment,service,clusterrole,clusterrolebinding,role,rolebinding",)
    left += ("--all-namespaces", f"--selector={_OURS}", "--output=name")
    assert not bare_cluster.kubectl("get", *left).stdout
    # What was kept is taken back by the next installation of the same name.
    with _installed(bare_cluster, restricted, {}):
        assert bare_cluster.get(RESOURCE, "reviews", f"--namespace={restricted}")


_OURS = f"app.kubernetes.io/instance={RELEASE}"


def _older_chart(folder: Path) -> Path:
    """Returns a chart whose definition has no column for progress."""
    chart = Path(shutil.copytree(CHART, folder / "older"))
    path = chart / "files" / "sparsetransferexperiments.yaml"
    definition = yaml.safe_load(path.read_text())
    (version,) = definition["spec"]["versions"]
    version["additionalPrinterColumns"] = [
        column for column in version["additionalPrinterColumns"] if column["name"] != "Progress"
    ]
    path.write_text(yaml.safe_dump(definition, sort_keys=False))
    return chart


def test_an_upgrade_brings_the_definition_up_to_date(
    bare_cluster: Cluster, restricted: str, no_definition: None, tmp_path: Path
) -> None:
    def columns() -> list[str]:
        (version,) = bare_cluster.get("crd", RESOURCE)["spec"]["versions"]
        return [column["name"] for column in version["additionalPrinterColumns"]]

    where = (f"--namespace={restricted}", "--wait", "--timeout=50s")
    with _installed(bare_cluster, restricted, {}, _older_chart(tmp_path)):
        assert "Progress" not in columns()
        bare_cluster.apply(EXPERIMENT, namespace=restricted)
        _helm(bare_cluster, "upgrade", RELEASE, str(CHART), *where)
        assert "Progress" in columns()
        assert bare_cluster.get(RESOURCE, "reviews", f"--namespace={restricted}")


def test_changed_settings_replace_the_pods(
    bare_cluster: Cluster, restricted: str, no_definition: None
) -> None:
    def pods() -> set[str]:
        found = bare_cluster.get("pods", f"--namespace={restricted}", f"--selector={_OURS}")
        return {
            each["metadata"]["uid"]
            for each in found["items"]
            if "deletionTimestamp" not in each["metadata"]
        }

    where = (f"--namespace={restricted}", "--wait", "--timeout=50s")
    with _installed(bare_cluster, restricted, {}):
        before = pods()
        changed = {"settings": {"resyncSeconds": 60}}
        _helm(bare_cluster, "upgrade", RELEASE, str(CHART), *where, values=changed)
        assert before.isdisjoint(pods())


def test_the_operator_may_do_what_it_needs_and_nothing_more(
    bare_cluster: Cluster, restricted: str, no_definition: None
) -> None:
    other = bare_cluster.namespace()
    account = f"{restricted}:{RELEASE}"

    def can(verb: str, resource: str, *where: str) -> bool:
        return _can(bare_cluster, account, verb, resource, *where)

    inside, outside = f"--namespace={restricted}", f"--namespace={other}"
    with _installed(bare_cluster, restricted, {}):
        for where in (inside, outside, "--all-namespaces"):
            assert can("watch", RESOURCE, where)
            assert can("create", "jobs.batch", where)
            assert can("list", "pods", where)
        assert can("patch", RESOURCE, "--subresource=status", outside)
        assert can("update", RESOURCE, "--subresource=finalizers", outside)
        assert can("create", "tokenreviews.authentication.k8s.io")
        assert can("get", f"secret/{RELEASE}-progress", inside)
        assert can("update", f"lease.coordination.k8s.io/{RELEASE}", inside)
        for verb, resource, where in (
            ("get", "secrets", inside),
            ("get", f"secret/{RELEASE}-progress", outside),
            ("create", "secrets", outside),
            ("get", "configmaps", inside),
            ("update", RESOURCE, outside),
            ("patch", RESOURCE, outside),
            ("create", "pods", outside),
            ("delete", "pods", outside),
            ("list", "namespaces", "--all-namespaces"),
            ("list", "customresourcedefinitions", "--all-namespaces"),
        ):
            assert not can(verb, resource, where), (verb, resource, where)
    with _installed(bare_cluster, restricted, {"namespaces": [restricted]}):
        assert can("create", "jobs.batch", inside)
        for verb, resource in (("create", "jobs.batch"), ("get", RESOURCE), ("list", "pods")):
            assert not can(verb, resource, outside), (verb, resource)


def test_whoever_may_edit_a_namespace_may_run_experiments_in_it(
    bare_cluster: Cluster, restricted: str, no_definition: None
) -> None:
    here = f"--namespace={restricted}"
    for role in ("view", "edit"):
        bare_cluster.kubectl("create", "serviceaccount", role, here)
        binding = (role, f"--clusterrole={role}", f"--serviceaccount={restricted}:{role}", here)
        bare_cluster.kubectl("create", "rolebinding", *binding)
    with _installed(bare_cluster, restricted, {}):
        wait_until_served(bare_cluster, f"crd/{RESOURCE}")
        viewer, editor = f"{restricted}:view", f"{restricted}:edit"
        assert _can(bare_cluster, viewer, "list", RESOURCE, here)
        assert not _can(bare_cluster, viewer, "create", RESOURCE, here)
        for verb in ("get", "create", "patch", "delete"):
            assert _can(bare_cluster, editor, verb, RESOURCE, here)
        assert not _can(bare_cluster, editor, "patch", RESOURCE, "--subresource=status", here)


def test_kubectl_applies_the_manifests(bare_cluster: Cluster, no_definition: None) -> None:
    arguments = ("--server-side", f"--kustomize={ROOT / 'manifests'}")
    # The namespace is there before what is in it, so that one call does.
    bare_cluster.kubectl("apply", *arguments)
    here = "--namespace=sparse-transfer"
    bare_cluster.kubectl("rollout", "status", f"deployment/{RELEASE}", here, "--timeout=60s")
    bare_cluster.kubectl("delete", f"--kustomize={ROOT / 'manifests'}", "--timeout=100s")
