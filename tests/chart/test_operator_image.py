"""The operator's image is built, weighed, installed by helm on a real node, and asked how it is."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.chart.helm_chart import CHART, RELEASE, ROOT, run_helm
from tests.cluster.images import ImageStore, Layer, StoredImage
from tests.cluster.node import NodeCluster

from sparse_transfer_api.contract import GROUP, PLURAL

pytestmark = pytest.mark.cluster

TAG = "localhost/sparse-transfer-operator:chart"
REVISION = "0123456789abcdef"
MAX_BYTES = 100_000_000
"""Compressed, the base included."""


@pytest.fixture(scope="module")
def image(images: ImageStore) -> StoredImage:
    arguments = {"STE_REVISION": REVISION, "VERSION": "0"}
    images.build(ROOT / "Dockerfile.operator", TAG, ROOT, arguments)
    return images.image(TAG)


def _compressed_bytes(layer: Layer) -> int:
    """Returns how much of a layer is pulled."""
    packing = ("tar", "--create", f"--directory={layer.folder}", ".")
    with subprocess.Popen(packing, stdout=subprocess.PIPE) as packed:
        done = subprocess.run(
            ["gzip", "--stdout"], stdin=packed.stdout, capture_output=True, check=True
        )
    return len(done.stdout)


def test_it_is_small(image: StoredImage) -> None:
    assert 0 < sum(map(_compressed_bytes, image.layers)) <= MAX_BYTES


def test_it_holds_the_operator_and_nothing_of_training(image: StoredImage) -> None:
    packages = {
        path.name
        for layer in image.layers
        for folder in ("opt/sparse-transfer", "opt/venv/lib/python3.11/site-packages")
        for path in (layer.folder / folder).glob("*")
    }
    assert {"sparse_transfer_api", "sparse_transfer_operator", "kopf"} <= packages
    assert not {"torch", "transformers", "sparse_transfer_runner", "hatchling"} & packages


def test_its_bytecode_is_there_for_a_root_that_is_read_only(image: StoredImage) -> None:
    """Without it each start would compile a thousand modules, and keep none."""
    code: dict[Path, Path] = {}
    for layer in image.layers:
        for source in (layer.folder / "opt").rglob("sparse_transfer_*/*.py"):
            name = source.relative_to(layer.folder)
            code[name] = source.parent / "__pycache__" / f"{source.stem}.cpython-311.pyc"
    assert code
    assert all(compiled.exists() for compiled in code.values())


def test_its_configuration_names_user_program_and_revision(image: StoredImage) -> None:
    configuration = json.loads(image.configuration)["config"]
    assert configuration["User"] == "65532:65532"
    assert configuration["Entrypoint"] == ["sparse-transfer-operator"]
    assert "Cmd" not in configuration
    assert configuration["Labels"]["org.opencontainers.image.revision"] == REVISION
    assert f"STE_REVISION={REVISION}" in configuration["Env"]


@pytest.fixture
def installed(kubelet_cluster: NodeCluster, image: StoredImage) -> Iterator[str]:
    """The namespace of an operator of two replicas that run."""
    kubelet_cluster.bring(image)
    namespace = kubelet_cluster.namespace()
    enforced = "pod-security.kubernetes.io/enforce=restricted"
    kubelet_cluster.kubectl("label", "namespace", namespace, enforced)
    repository, _, tag = TAG.rpartition(":")
    # Other tests of the same cluster may have brought the definition.
    defined = kubelet_cluster.get("crd", f"{PLURAL}.{GROUP}") is not None
    values = {
        "replicas": 2,
        "image": {"repository": repository, "tag": tag, "pullPolicy": "Never"},
        "crds": {"install": not defined, "keep": False},
    }
    reaching = (f"--kubeconfig={kubelet_cluster.kubeconfig}", f"--namespace={namespace}")
    waiting = ("--wait", "--timeout=55s")
    run_helm("install", RELEASE, str(CHART), *reaching, *waiting, values=values)
    yield namespace
    run_helm("uninstall", RELEASE, *reaching, *waiting)
    kubelet_cluster.remove_namespace(namespace)


def test_helm_installs_it_and_finds_it_ready(kubelet_cluster: NodeCluster, installed: str) -> None:
    reaching = (f"--kubeconfig={kubelet_cluster.kubeconfig}", f"--namespace={installed}")
    assert "Phase:" in run_helm("test", RELEASE, *reaching, "--timeout=55s")
    here = f"--namespace={installed}"
    service = kubelet_cluster.get("service", f"{RELEASE}-metrics", here)["spec"]
    address = f"http://{service['clusterIP']}:{service['ports'][0]['port']}/metrics"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(address, timeout=10) as answer:
        assert f'revision="{REVISION}"' in answer.read().decode()
    # It runs without a shell and writes nothing outside of /tmp.
    pods = kubelet_cluster.get("pods", here, f"--selector=app.kubernetes.io/name={RELEASE}")
    assert [pod["status"]["containerStatuses"][0]["restartCount"] for pod in pods["items"]] == [
        0,
        0,
    ]
    lease = kubelet_cluster.get("lease", RELEASE, here)["spec"]
    assert any(pod["metadata"]["name"] in lease["holderIdentity"] for pod in pods["items"])
