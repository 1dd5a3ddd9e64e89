"""A built Job on a real node: what its container finds, with a shell in the runner's place."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from tests.cluster.busybox import BUSYBOX
from tests.cluster.node import NodeCluster
from tests.cluster.objects import ended_container
from tests.operator.jobs.manifests import KEY, PROGRESS, experiment, job, runner_of

from sparse_transfer_api.contract import LABEL_KEY, PROGRESS_TOKEN, TERMINATION_LOG
from sparse_transfer_api.handover import read_stage_document

pytestmark = pytest.mark.cluster

INLINE = "a: $(HOME) $$HOME $(STE_STAGE_KEY) $x `id` \"$\" 'é' \\"
SPEC: dict[str, Any] = {
    "recipe": {"inline": INLINE},
    "template": {"shmSize": "32Mi"},
    "credentials": {"secretRef": {"name": "bucket"}},
    "storage": {"s3": {"caBundle": {"configMap": "authorities"}}},
    "stages": {
        "train": {"resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"cpu": 1}}}
    },
}
LOOKING = f"""
set -eu
say() {{ printf '%s=' "$1"; shift; printf '%s' "$*" | base64 -w 0; echo; }}
tries() {{ touch "$1/tried" 2>/dev/null && echo yes || echo no; }}
say experiment "$STE_EXPERIMENT"
say key "$STE_STAGE_KEY"
say url "$STE_PROGRESS_URL"
say user "$(id -u):$(id -g)"
say token "$(cut -d . -f 2 {PROGRESS_TOKEN})"
say secret "$AWS_SECRET_ACCESS_KEY"
say authorities "$(cat "$AWS_CA_BUNDLE")"
for each in / /etc /scratch /tmp /dev/shm "$HOME" {PROGRESS_TOKEN.rpartition("/")[0]}; do
  say "writes $each" "$(tries "$each")"
done
say shm "$(df -k /dev/shm | tail -1 | awk '{{print $2}}')"
say capabilities "$(grep CapEff /proc/self/status | cut -f 2)"
say privileges "$(grep NoNewPrivs /proc/self/status | cut -f 2)"
say seccomp "$(grep Seccomp: /proc/self/status | cut -f 2)"
say first "$(cat /proc/1/comm)"
say kubernetes "$(ls /var/run/secrets)"
say services "$(env | grep _SERVICE_HOST | cut -d = -f 1)"
printf said > {TERMINATION_LOG}
"""


def found_in(cluster: NodeCluster, namespace: str) -> dict[str, str]:
    """Runs a Job that looks around, and returns what it says."""
    made = job(SPEC, settings={"image": BUSYBOX})
    runner_of(made)["command"] = ["sh", "-c", LOOKING]
    metadata = {name: made["metadata"][name] for name in ("name", "labels")}
    secret = {"AWS_SECRET_ACCESS_KEY": "hidden"}
    authorities = {"ca.crt": "of the store"}
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "bucket"},
            "stringData": secret,
        },
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "authorities"},
            "data": authorities,
        },
        {**made, "metadata": metadata},
        namespace=namespace,
    )
    ended = ended_container(cluster, namespace, f"{LABEL_KEY}={KEY}")
    logs = cluster.kubectl("logs", f"job/{metadata['name']}", f"--namespace={namespace}").stdout
    assert (ended["exitCode"], ended.get("message")) == (0, "said"), logs
    lines = (line.partition("=") for line in logs.splitlines())
    return {name: base64.b64decode(value).decode() for name, _, value in lines}


def test_a_container_finds_what_the_contract_says_and_can_do_no_more(
    kubelet_cluster: NodeCluster, node_namespace: str
) -> None:
    restricted = "pod-security.kubernetes.io/enforce=restricted"
    kubelet_cluster.kubectl("label", "namespace", node_namespace, restricted)
    found = found_in(kubelet_cluster, node_namespace)
    handed = read_stage_document(found["experiment"])
    assert handed.spec.recipe.inline == INLINE, "no shell and no kubelet took a dollar"
    assert handed.metadata.name == experiment().metadata.name
    assert (found["key"], found["url"]) == (KEY, PROGRESS.url)
    assert found["user"] == "65532:65532"
    claims = json.loads(base64.urlsafe_b64decode(found["token"] + "=="))
    assert claims["aud"] == [PROGRESS.url]
    assert claims["kubernetes.io"]["pod"]["name"].startswith("film-reviews-train-")
    assert (found["secret"], found["authorities"]) == ("hidden", "of the store")
    writes = {name.split()[1]: said for name, said in found.items() if name.startswith("writes")}
    assert {path for path, said in writes.items() if said == "yes"} == {
        "/scratch",
        "/tmp",
        "/dev/shm",
    }
    assert int(found["shm"]) == 32 * 1024
    assert int(found["capabilities"], 16) == 0
    assert (found["privileges"], found["seccomp"]) == ("1", "2")
    assert found["kubernetes"] == "sparsetransfer.dev", "no token for the API server"
    assert found["services"] == "KUBERNETES_SERVICE_HOST", "only this one is always there"
