"""The endpoint with the API server's own reviews, tokens, rights and field managers."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from tests.cluster.access import Cluster
from tests.cluster.objects import pod
from tests.operator.experiments import Experiment
from tests.operator.progress.background import Background
from tests.operator.progress.endpoints import KEY, REPORT, Endpoint, running_endpoint
from tests.servers.processes import wait_until

from sparse_transfer_api.contract import API_VERSION, KIND, Stage, progress_path
from sparse_transfer_operator.cluster.connection import Connection
from sparse_transfer_operator.cluster.login import log_in
from sparse_transfer_operator.progress import ExperimentId, PodOwner

ACCOUNT = "sparse-transfer-operator"
RIGHTS = (
    ("authentication.k8s.io", "tokenreviews", "", ["create"]),
    ("sparsetransfer.dev", "sparsetransferexperiments/status", "", ["patch"]),
    ("", "secrets", "", ["create"]),
    ("", "secrets", "sparse-transfer-operator-progress", ["get", "update"]),
)
"""All that the endpoint needs of the operator's rights: group, resource, name, verbs."""
API_AUDIENCE = "https://kubernetes.default.svc"


@dataclass(frozen=True)
class Team:
    """A namespace with an experiment, and pods that work on it or do not.

    Args:
        cluster: Where it is.
        namespace: Its namespace, which is the operator's as well.
        experiment: The experiment.
        endpoint: The endpoint.
    """

    cluster: Cluster
    namespace: str
    experiment: ExperimentId
    endpoint: Endpoint

    def pod(self, name: str, *, works: bool = True) -> str:
        """Makes a pod and returns its UID; the endpoint's observer learns whether it works."""
        self.cluster.apply(pod(name), namespace=self.namespace)
        found = self.cluster.get("pod", name, f"--namespace={self.namespace}")
        uid = str(found["metadata"]["uid"])
        if works:
            self.endpoint.owners[uid] = PodOwner(self.experiment, Stage.TRAIN, KEY)
        return uid

    def token(self, name: str | None, audience: str | None = None) -> str:
        """Returns a token of the default account, bound to a pod where one is named."""
        bound = () if name is None else ("--bound-object-kind=Pod", f"--bound-object-name={name}")
        asked = f"--audience={audience or self.endpoint.url}"
        arguments = ("create", "token", "default", f"--namespace={self.namespace}", asked, *bound)
        return self.cluster.kubectl(*arguments).stdout.strip()

    def post(self, token: str, **report: Any) -> int:
        """Posts for the experiment, and returns the answer's status."""
        path = progress_path(self.experiment.namespace, self.experiment.name)
        return self.endpoint.post(token, {**REPORT, **report}, path).status

    def body(self) -> dict[str, Any]:
        """Returns the experiment as the API server has it."""
        arguments = ("ste", self.experiment.name, f"--namespace={self.namespace}")
        found: dict[str, Any] = self.cluster.get(*arguments, "--show-managed-fields")
        return found

    def progress(self) -> dict[str, Any] | None:
        """Returns what the status shows."""
        found: dict[str, Any] | None = self.body().get("status", {}).get("progress")
        return found


def with_rights(cluster: Cluster, namespace: str) -> Path:
    """Makes the operator's account, with the rights that the endpoint needs and no others."""
    rules = [
        {
            "apiGroups": [group],
            "resources": [resource],
            "verbs": verbs,
            **({"resourceNames": [name]} if name else {}),
        }
        for group, resource, name, verbs in RIGHTS
    ]
    rbac = "rbac.authorization.k8s.io"
    name = f"{ACCOUNT}-{namespace}"
    cluster.apply(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT}},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "ClusterRole",
            "metadata": {"name": name},
            "rules": rules,
        },
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": namespace}],
        },
        namespace=namespace,
    )
    return cluster.kubeconfig_for(ACCOUNT, namespace)


@pytest.fixture
def team(
    background: Background, experiments_known: Cluster, namespace: str, experiment: Experiment
) -> Iterator[Team]:
    experiment.apply()
    uid = str(experiment.body()["metadata"]["uid"])
    kubeconfig = with_rights(experiments_known, namespace)
    connection = Connection(background.run(log_in(kubeconfig)))
    try:
        with running_endpoint(background, connection, namespace=namespace) as endpoint:
            known = ExperimentId(namespace, experiment.name, uid)
            yield Team(experiments_known, namespace, known, endpoint)
    finally:
        background.run(connection.close())


def test_a_pods_own_token_shows_its_progress(team: Team) -> None:
    team.pod("worker")
    assert team.post(team.token("worker")) == 204
    wait_until(lambda: team.progress() is not None, "progress")
    shown = team.progress()
    assert shown is not None
    assert shown.pop("lastUpdatedTime").endswith("Z")
    assert shown == {key: value for key, value in REPORT.items() if key != "schemaVersion"}


def test_tokens_of_others_and_for_others_are_refused(team: Team) -> None:
    team.pod("worker")
    team.pod("stranger", works=False)
    assert team.post(team.token("worker", API_AUDIENCE)) == 401
    assert team.post(team.token("worker", "https://other.svc:8443")) == 401
    assert team.post(team.token(None)) == 401  # the account's, but no pod's
    assert team.post(team.token("stranger")) == 403
    assert team.progress() is None


def test_a_replayed_token_is_no_use_for_another_experiment(team: Team) -> None:
    team.pod("worker")
    token = team.token("worker")
    path = progress_path(team.namespace, "another")
    assert team.endpoint.post(token, REPORT, path).status == 403
    assert team.endpoint.post(token, REPORT, progress_path("default", "film-reviews")).status == 403


def test_the_token_of_a_deleted_pod_is_refused(team: Team) -> None:
    team.pod("worker")
    token = team.token("worker")
    team.cluster.kubectl("delete", "pod", "worker", f"--namespace={team.namespace}", "--force")
    assert team.post(token) == 401


def test_a_pod_of_the_same_name_is_another_pod(team: Team) -> None:
    team.pod("worker")
    team.cluster.kubectl("delete", "pod", "worker", f"--namespace={team.namespace}", "--force")
    team.pod("worker", works=False)
    assert team.post(team.token("worker")) == 403


def claims_of(token: str) -> dict[str, Any]:
    payload = token.split(".")[1]
    claims: dict[str, Any] = json.loads(
        base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
    )
    return claims


def signed(claims: dict[str, Any], key: ec.EllipticCurvePrivateKey) -> str:
    """Returns a token with claims of our own (RFC 7515, ES256)."""

    def encoded(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    head = encoded(json.dumps({"alg": "ES256"}).encode())
    text = f"{head}.{encoded(json.dumps(claims).encode())}"
    signature = decode_dss_signature(key.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{text}.{encoded(b''.join(part.to_bytes(32, 'big') for part in signature))}"


def test_forged_and_expired_tokens_are_refused(team: Team) -> None:
    team.pod("worker")
    genuine = team.token("worker")
    claims = claims_of(genuine)
    assert team.post(signed(claims, ec.generate_private_key(ec.SECP256R1()))) == 401
    assert team.post(genuine[:-8] + "AAAAAAAA") == 401
    key_file = team.cluster.folder / "pki" / "service-accounts.key"
    if not key_file.exists():
        pytest.skip("the cluster is not the tests' own: nobody can sign for it")
    key = serialization.load_pem_private_key(key_file.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    past = int(time.time()) - 60
    expired = {**claims, "iat": past - 600, "nbf": past - 600, "exp": past}
    assert team.post(signed(expired, key)) == 401
    assert team.post(signed(claims, key)) == 204  # so it was its time that was wrong


def test_progress_is_a_field_of_its_own_manager(background: Background, team: Team) -> None:
    status = {"phase": "Training", "observedGeneration": 1}
    document = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": team.experiment.name},
        "status": status,
    }
    apply = ("apply", "--server-side", "--subresource=status", "--field-manager=reconciler")
    arguments = (*apply, f"--namespace={team.namespace}", "-f", "-")
    team.cluster.kubectl(*arguments, stdin=json.dumps(document))
    team.pod("worker")
    token = team.token("worker")
    assert team.post(token) == 204
    wait_until(lambda: team.progress() is not None, "progress")
    assert team.post(token, metrics={"accuracy": 0.5}) == 204
    wait_until(lambda: (team.progress() or {}).get("metrics") == {"accuracy": 0.5}, "the next")
    body = team.body()
    assert {name: body["status"][name] for name in status} == status
    owned = {
        each["manager"]: each["fieldsV1"]["f:status"]
        for each in body["metadata"]["managedFields"]
        if each.get("subresource") == "status"
    }
    assert set(owned["sparse-transfer-operator-progress"]) == {"f:progress"}
    assert set(owned["reconciler"]) == {"f:phase", "f:observedGeneration"}

    async def end() -> None:
        team.endpoint.inner.settle(team.experiment, None, None)

    background.run(end())
    wait_until(lambda: team.progress() is None, "that progress is taken away")
    assert team.body()["status"] == status


def test_a_new_experiment_of_the_same_name_gets_no_old_progress(
    team: Team, experiment: Experiment
) -> None:
    team.pod("worker")
    token = team.token("worker")
    team.cluster.kubectl("delete", "ste", experiment.name, f"--namespace={team.namespace}")
    experiment.apply()
    assert team.post(token) == 204  # the observer has not heard of it yet
    board = team.endpoint.inner._board
    wait_until(lambda: len(board) == 0, "that the write is given up")
    assert team.progress() is None


def test_whatever_passes_the_api_server_stores(team: Team) -> None:
    team.pod("worker")
    token = team.token("worker")
    report = {
        "activity": "é" * 128,
        "step": 2**53,
        "totalSteps": 2**53,
        "epoch": 1e-300,
        "percentage": 100,
        "estimatedRemainingSeconds": 2.0**53,
        "metrics": {f"{n:02}" + "é" * 61: (-1.0) ** n * 1e300 for n in range(64)},
    }
    body = json.dumps({**REPORT, **report}, ensure_ascii=False).encode()
    path = progress_path(team.namespace, team.experiment.name)
    assert team.endpoint.post(token, body, path).status == 204
    wait_until(lambda: team.progress() is not None, "progress")
    shown = team.progress()
    assert shown is not None
    assert {name: shown[name] for name in report} == report
