"""The control plane of the tests: what others take for granted of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cluster.access import Cluster, existing_cluster
from tests.cluster.control_plane import running_control_plane
from tests.cluster.leftovers import processes_of
from tests.servers.go_programs import NoProgram
from tests.servers.processes import wait_until

REPOSITORY = Path(__file__).resolve().parents[2]
READER = """
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader}
rules: [{apiGroups: [""], resources: [configmaps], verbs: [get, list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: ServiceAccount, name: reader}]
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: reader}
"""


def test_a_namespace_is_ready_for_pods(control_plane: Cluster, namespace: str) -> None:
    found = control_plane.get("serviceaccount", "default", f"--namespace={namespace}")
    assert found["metadata"]["namespace"] == namespace


def test_a_service_account_has_its_own_rights_and_no_others(
    control_plane: Cluster, namespace: str
) -> None:
    control_plane.kubectl("apply", f"--namespace={namespace}", "-f", "-", stdin=READER)
    kubeconfig = control_plane.kubeconfig_for("reader", namespace)
    reader = Cluster(kubeconfig, control_plane.server, control_plane.ca, control_plane.folder)
    names = [item["metadata"]["name"] for item in reader.get("configmaps")["items"]]
    assert names == ["kube-root-ca.crt"]
    for asked in (("get", "secrets"), ("get", "configmaps", "--all-namespaces")):
        refused = reader.kubectl(*asked, check=False)
        assert refused.returncode != 0
        assert "Forbidden" in refused.stderr
    assert kubeconfig.stat().st_mode & 0o077 == 0


def test_an_unfulfilled_call_says_why(control_plane: Cluster) -> None:
    with pytest.raises(AssertionError, match="not found"):
        control_plane.kubectl("get", "namespace", "none")
    assert control_plane.get("namespace", "none") is None


def test_a_kubeconfig_of_somebody_else_is_enough(control_plane: Cluster, tmp_path: Path) -> None:
    found = existing_cluster(control_plane.kubeconfig, tmp_path)
    assert (found.server, found.ca.read_bytes()) == (
        control_plane.server,
        control_plane.ca.read_bytes(),
    )
    assert found.get("namespace", "default")["status"]["phase"] == "Active"


def test_a_token_is_for_its_audience_only(control_plane: Cluster, namespace: str) -> None:
    arguments = ("default", f"--namespace={namespace}", "--audience=progress")
    token = control_plane.kubectl("create", "token", *arguments).stdout.strip()
    reviews = {}
    for audience in ("progress", "another"):
        review = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [audience]},
        }
        done = control_plane.kubectl("create", "--output=json", "-f", "-", stdin=json.dumps(review))
        reviews[audience] = json.loads(done.stdout)["status"]
    assert reviews["progress"]["authenticated"]
    assert reviews["progress"]["user"]["username"].endswith(f"{namespace}:default")
    assert not reviews["another"].get("authenticated")


def test_nothing_is_left_once_it_is_taken_down(tmp_path: Path) -> None:
    folder = tmp_path / "plane"
    folder.mkdir()
    try:
        with running_control_plane(folder):
            assert len(processes_of(folder)) == 4
    except NoProgram as error:
        pytest.skip(str(error))
    assert processes_of(folder) == []


def test_nothing_is_left_when_the_tests_are_killed(tmp_path: Path, control_plane: Cluster) -> None:
    del control_plane  # its programs are there
    program = (
        "import sys; from pathlib import Path\n"
        "from tests.cluster.control_plane import running_control_plane\n"
        "with running_control_plane(Path(sys.argv[1])): print('up', flush=True); input()\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(
        command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as tests:
        assert tests.stdout is not None
        assert tests.stdout.readline() == b"up\n"
        tests.kill()
    wait_until(lambda: not processes_of(tmp_path), "the servers' end")
