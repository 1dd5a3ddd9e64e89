"""The pods are restricted ones, and the operator's rights are the least that it can work with.

That a real API server admits the pods is tried in ``test_installation.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.chart.helm_chart import NAMESPACE, RELEASE, Object, of_kind, rendered, the
from tests.chart.variants import VARIANTS

CORE, BATCH, OURS = "", "batch", "sparsetransfer.dev"
EXPERIMENTS = "sparsetransferexperiments"

NEEDED = {
    (OURS, EXPERIMENTS): {"get", "list", "watch", "delete"},
    (OURS, f"{EXPERIMENTS}/status"): {"patch"},
    (OURS, f"{EXPERIMENTS}/finalizers"): {"update"},
    (BATCH, "jobs"): {"get", "list", "watch", "create", "patch", "delete"},
    (CORE, "pods"): {"get", "list", "watch"},
    (CORE, "events"): {"create", "patch"},
}
"""Where experiments are reconciled."""
OWN = {
    ("coordination.k8s.io", "leases", ()): {"create"},
    ("coordination.k8s.io", "leases", (RELEASE,)): {"get", "update"},
    (CORE, "secrets", ()): {"create"},
    (CORE, "secrets", (f"{RELEASE}-progress",)): {"get", "update"},
}
"""In the operator's own namespace, by the names that a rule is limited to."""


def _pods(objects: list[Object]) -> Iterator[Object]:
    for each in of_kind(objects, "Deployment", "Pod"):
        yield each["spec"] if each["kind"] == "Pod" else each["spec"]["template"]["spec"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_pod_is_a_restricted_one(variant: str) -> None:
    for pod in _pods(rendered(VARIANTS[variant])):
        context = pod["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert context.get("runAsUser") != 0
        assert not {"hostNetwork", "hostPID", "hostIPC", "hostUsers"} & pod.keys()
        assert all(
            volume.keys() <= {"name", "configMap", "emptyDir"} for volume in pod.get("volumes", ())
        )
        for container in pod["containers"]:
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False
            assert own["capabilities"] == {"drop": ["ALL"]}
            assert own["readOnlyRootFilesystem"] is True
            assert own.get("privileged", False) is False
            assert container["resources"]["limits"]["memory"]


def test_the_platform_may_choose_the_user_id() -> None:
    for pod in _pods(rendered(VARIANTS["user ids chosen by the platform"])):
        assert not {"runAsUser", "runAsGroup"} & pod["securityContext"].keys()


def _rules(role: Object) -> dict[tuple[str, str], set[str]]:
    return {
        (group, resource): set(rule["verbs"])
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def _own_rules(role: Object) -> dict[tuple[str, str, tuple[str, ...]], set[str]]:
    found = {}
    for rule in role["rules"]:
        (group,), (resource,) = rule["apiGroups"], rule["resources"]
        found[group, resource, tuple(rule.get("resourceNames", ()))] = set(rule["verbs"])
    return found


def test_in_all_namespaces_it_has_the_rights_that_it_needs_and_no_others() -> None:
    assert _rules(the(rendered(), "ClusterRole", RELEASE)) == NEEDED


def test_in_some_namespaces_it_has_the_same_rights_there_and_none_elsewhere() -> None:
    objects = rendered(VARIANTS["two namespaces"])
    roles = [each for each in of_kind(objects, "Role") if each["metadata"]["name"] == RELEASE]
    assert [role["metadata"]["namespace"] for role in roles] == ["team-a", "team-b"]
    assert all(_rules(role) == NEEDED for role in roles)
    bound = [
        each["metadata"]["namespace"]
        for each in of_kind(objects, "RoleBinding")
        if each["roleRef"]["name"] == RELEASE
    ]
    assert bound == ["team-a", "team-b"]
    cluster_wide = {
        each["roleRef"]["name"]: _rules(the(objects, "ClusterRole", each["roleRef"]["name"]))
        for each in of_kind(objects, "ClusterRoleBinding")
    }
    assert cluster_wide == {
        f"{RELEASE}-tokens": {("authentication.k8s.io", "tokenreviews"): {"create"}}
    }


def test_without_progress_it_has_no_right_outside_of_its_namespaces() -> None:
    values: Any = {**VARIANTS["two namespaces"], **VARIANTS["no progress"]}
    objects = rendered(values)
    assert not of_kind(objects, "ClusterRoleBinding")
    own = _own_rules(the(objects, "Role", f"{RELEASE}-own"))
    assert {resource for _, resource, _ in own} == {"leases"}


def test_it_keeps_lease_and_certificates_in_its_own_namespace_only() -> None:
    own = the(rendered(), "Role", f"{RELEASE}-own")
    assert own["metadata"]["namespace"] == NAMESPACE
    assert _own_rules(own) == OWN


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_rule_holds_a_wildcard_and_none_reads_secrets_elsewhere(variant: str) -> None:
    for role in of_kind(rendered(VARIANTS[variant]), "ClusterRole", "Role"):
        own = role["metadata"].get("namespace") == NAMESPACE
        for rule in role["rules"]:
            said = [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
            assert "*" not in "".join(said)
            assert not {"escalate", "bind", "impersonate"} & set(said)
            assert own or "secrets" not in said
            assert "pods/exec" not in said


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_binding_is_for_the_operator_and_leads_to_a_role(variant: str) -> None:
    objects = rendered(VARIANTS[variant])
    account = the(objects, "Deployment")["spec"]["template"]["spec"]["serviceAccountName"]
    for binding in of_kind(objects, "RoleBinding", "ClusterRoleBinding"):
        assert binding["subjects"] == [
            {"kind": "ServiceAccount", "name": account, "namespace": NAMESPACE}
        ]
        reference = binding["roleRef"]
        assert [
            role
            for role in of_kind(objects, reference["kind"])
            if role["metadata"]["name"] == reference["name"]
            and role["metadata"].get("namespace") == binding["metadata"].get("namespace")
        ]


def test_rights_that_others_make_are_left_to_them() -> None:
    objects = rendered(VARIANTS["rights made by others"])
    kinds = ("Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding", "ServiceAccount")
    assert not of_kind(objects, *kinds)
    assert the(objects, "Deployment")["spec"]["template"]["spec"]["serviceAccountName"] == "given"


def test_users_may_view_and_edit_experiments_but_not_what_the_operator_says_of_them() -> None:
    objects = rendered()
    view, edit = (the(objects, "ClusterRole", f"{RELEASE}-{name}") for name in ("view", "edit"))
    reading = {"get", "list", "watch"}
    assert _rules(view) == {(OURS, EXPERIMENTS): reading, (OURS, f"{EXPERIMENTS}/status"): reading}
    assert _rules(edit) == {
        (OURS, EXPERIMENTS): {"create", "update", "patch", "delete", "deletecollection"}
    }
    prefix = "rbac.authorization.k8s.io/aggregate-to-"
    aggregated = {
        role["metadata"]["name"]: {
            label.removeprefix(prefix)
            for label in role["metadata"]["labels"]
            if label.startswith(prefix)
        }
        for role in (view, edit)
    }
    assert aggregated == {f"{RELEASE}-view": {"view"}, f"{RELEASE}-edit": {"edit", "admin"}}


def test_only_the_operators_own_pod_gets_its_token() -> None:
    objects = rendered()
    assert the(objects, "ServiceAccount")["automountServiceAccountToken"] is False
    assert the(objects, "Pod")["spec"]["automountServiceAccountToken"] is False
    assert the(objects, "Deployment")["spec"]["template"]["spec"]["automountServiceAccountToken"]
