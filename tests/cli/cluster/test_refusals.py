"""What a real API server refuses, and what the user is told to do about it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from kubernetes.client import ApiException
from tests.cli.cluster.conftest import Served
from tests.cli.cluster.experiments import document
from tests.cluster.access import Cluster
from tests.cluster.control_plane import running_control_plane
from tests.servers.go_programs import NoProgram
from tests.servers.processes import free_port, wait_until

from sparse_transfer_api.errors import AccessError, InputError, SparseTransferError, Transient
from sparse_transfer_cli.__main__ import invoke
from sparse_transfer_cli.cluster.connection import Target, connect
from sparse_transfer_cli.cluster.experiments import Experiments
from sparse_transfer_cli.cluster.refusals import Call, explained

RIGHTS = """
apiVersion: v1
kind: ServiceAccount
metadata: {name: reader}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader}
rules:
- {apiGroups: [sparsetransfer.dev], resources: [sparsetransferexperiments], verbs: [get]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: ServiceAccount, name: reader}]
"""

EXPERIMENT = """
apiVersion: sparsetransfer.dev/v1alpha1
kind: SparseTransferExperiment
metadata: {name: film-reviews}
spec: {useCase: sentiment, data: {uri: 's3://team-data/reviews/'}}
"""

Altered = Callable[..., Path]


@pytest.fixture
def altered(served: Served, tmp_path: Path) -> Altered:
    """Writes a kubeconfig that differs in its cluster's and user's entries."""

    def write(cluster: dict[str, str] | None = None, user: dict[str, str] | None = None) -> Path:
        written = yaml.safe_load(served.cluster.kubeconfig.read_text())
        written["clusters"][0]["cluster"].update(cluster or {})
        if user is not None:
            written["users"][0]["user"] = user
        path = tmp_path / "altered"
        path.write_text(yaml.safe_dump(written))
        return path

    return write


@pytest.fixture
def reader(served: Served) -> Path:
    """The kubeconfig of somebody who may get experiments, and nothing else."""
    served.kubectl("apply", "-f", "-", stdin=RIGHTS)
    return served.cluster.kubeconfig_for("reader", served.namespace)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "experiment.yaml"
    path.write_text(EXPERIMENT)
    return path


@pytest.mark.parametrize(
    ("arguments", "verb", "resource"),
    [
        (["status"], "list", "sparsetransferexperiments.sparsetransfer.dev"),
        (["status", "film-reviews", "--watch"], "watch",
         "sparsetransferexperiments.sparsetransfer.dev"),
        (["submit", "-f", "FILE"], "patch", "sparsetransferexperiments.sparsetransfer.dev"),
        (["logs", "film-reviews"], "list", "pods"),
    ],
)  # fmt: skip
def test_a_missing_right_is_named_with_who_lacks_it_and_where(
    arguments: list[str],
    verb: str,
    resource: str,
    served: Served,
    reader: Path,
    file: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    served.create()
    typed = [str(file) if word == "FILE" else word for word in arguments]
    assert invoke([*typed, "--kubeconfig", str(reader)]) == 13
    shown = capsys.readouterr().err
    assert shown == (
        f"error: system:serviceaccount:{served.namespace}:reader may not {verb} {resource} in "
        f"namespace {served.namespace}; ask for a role with that right: kubectl create role NAME "
        f"--verb={verb} --resource={resource} --namespace {served.namespace}, and a rolebinding to "
        "it\n"
    )


def test_a_right_in_all_namespaces_is_a_cluster_role(
    served: Served, reader: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["status", "-A", "--kubeconfig", str(reader)]) == 13
    shown = capsys.readouterr().err
    assert "in all namespaces; ask for a role with that right: kubectl create clusterrole" in shown


def test_who_may_only_get_can_still_look(
    served: Served, reader: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    served.create()
    assert invoke(["status", "film-reviews", "--kubeconfig", str(reader)]) == 0
    assert invoke(["status", "film-review", "--kubeconfig", str(reader)]) == 13
    assert capsys.readouterr().err == (
        f"error: film-review: there is no such experiment in namespace {served.namespace}\n"
    )


def test_credentials_that_are_not_accepted_are_told(
    altered: Altered, capsys: pytest.CaptureFixture[str]
) -> None:
    path = altered(user={"token": "wrong"})
    assert invoke(["status", "--kubeconfig", str(path)]) == 13
    assert "does not accept these credentials (401); log in again" in capsys.readouterr().err


def test_missing_credentials_are_told(altered: Altered, capsys: pytest.CaptureFixture[str]) -> None:
    path = altered(user={})
    assert invoke(["status", "--kubeconfig", str(path)]) == 13
    assert re.search("got no credentials|does not accept", capsys.readouterr().err)


def test_a_server_that_is_not_there_is_passing_trouble(
    altered: Altered, capsys: pytest.CaptureFixture[str]
) -> None:
    address = f"https://127.0.0.1:{free_port()}"
    path = altered({"server": address})
    assert invoke(["status", "--kubeconfig", str(path)]) == 75
    shown = capsys.readouterr().err
    assert f"{address}: cannot be reached" in shown
    assert "Connection refused" in shown
    assert "(context test)" in shown
    assert "object at" not in shown


def test_a_certificate_of_somebody_else_is_told(
    altered: Altered, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trustme = pytest.importorskip("trustme", reason="pip install 'sparse-transfer[servers]'")
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.crt"))
    path = altered({"certificate-authority": str(tmp_path / "other.crt")})
    assert invoke(["status", "--kubeconfig", str(path)]) == 13
    assert "its certificate is not trusted" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["status"],
        ["status", "film-reviews", "--watch"],
        ["submit", "-f", "FILE"],
        ["results", "film-reviews"],
        ["logs", "film-reviews"],
    ],
)
def test_a_cluster_without_the_definition_says_how_to_install_it(
    arguments: list[str],
    without_definition: Cluster,
    file: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    typed = [str(file) if word == "FILE" else word for word in arguments]
    assert invoke([*typed, "--kubeconfig", str(without_definition.kubeconfig)]) == 13
    shown = capsys.readouterr().err
    assert "knows no SparseTransferExperiment (sparsetransfer.dev/v1alpha1)" in shown
    assert "kubectl apply --server-side -k crds" in shown


@pytest.fixture(scope="module")
def without_definition(tmp_path_factory: pytest.TempPathFactory) -> object:
    """A cluster of its own that knows no experiments."""
    try:
        with running_control_plane(tmp_path_factory.mktemp("bare")) as plane:
            yield plane.cluster
    except NoProgram as error:
        pytest.skip(str(error))


def test_what_only_the_server_finds_is_listed_like_the_rest(served: Served) -> None:
    experiments = Experiments(connect(Target()))
    wrong = {**document(), "metadata": {"name": "film-reviews"}}
    wrong["spec"] = {**wrong["spec"], "training": {"nodes": 2}, "optimLevel": 7}
    with pytest.raises(InputError) as refused:
        experiments.apply(wrong, dry_run=False, force=False)
    assert {problem.where for problem in refused.value.problems} >= {"spec.optimLevel"}
    assert "the cluster refuses it as not valid" in str(refused.value)


def test_fields_that_an_older_definition_does_not_know_are_named(served: Served) -> None:
    experiments = Experiments(connect(Target()))
    newer = {**document(), "metadata": {"name": "film-reviews"}}
    newer["spec"] = {**newer["spec"], "dreams": {"many": True}}
    with pytest.raises(InputError, match="older than this command line") as refused:
        experiments.apply(newer, dry_run=False, force=False)
    assert [str(each) for each in refused.value.problems] == ["spec.dreams: is not known there"]


def test_a_quota_is_no_missing_right(served: Served, file: Path) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none"},
        "spec": {"hard": {"count/sparsetransferexperiments.sparsetransfer.dev": "0"}},
    }
    served.cluster.apply(quota, namespace=served.namespace)
    used = ("get", "resourcequota", "none", "--output=jsonpath={.status.hard}")
    wait_until(lambda: served.kubectl(*used) != "", "the quota")
    # "exceeded quota", or, while its use has not been counted, "status unknown for quota".
    with pytest.raises(AccessError, match=r"refused: .*quota"):
        Experiments(connect(Target())).apply(
            {**document(), "metadata": {"name": "film-reviews"}}, dry_run=False, force=False
        )


@pytest.mark.parametrize(
    ("status", "body", "error", "words"),
    [
        (500, "etcd is sad", Transient, "500: etcd is sad.*; try again"),
        (429, _said := json.dumps({"kind": "Status", "message": "slow\ndown"}), Transient,
         "429: slow down"),
        (409, _said, Transient, "film: slow"),
        (0, "no TLS", AccessError, r"is not trusted \(no TLS\)"),
        (403, "<html>proxy</html>", AccessError, "no reason given"),
        (400, "", InputError, "refused: "),
    ],
)  # fmt: skip
def test_what_a_server_says_seldom_is_told_too(
    status: int, body: str, error: type[SparseTransferError], words: str, served: Served
) -> None:
    call = Call("patch", namespace=served.namespace, name="film")
    with pytest.raises(error, match=words), explained(connect(Target()), call):
        raise ApiException(status, body=body)
