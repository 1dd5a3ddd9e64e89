"""Images are built here, and run on a node without being copied."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cluster.busybox import write_busybox_image
from tests.cluster.images import BASE, ImageStore
from tests.cluster.node import NodeCluster
from tests.cluster.objects import Object, ended_container, job, pod

pytestmark = pytest.mark.cluster
TAG = "localhost/greeting:1"
DOCKERFILE = f"""
ARG BASE={BASE}
FROM ${{BASE}} AS made
RUN mkdir /made && echo of another stage > /made/file

FROM ${{BASE}}
ARG WHOM=nobody
RUN pip config list > /known-while-building
RUN rm /etc/debian_version && rm -r /etc/apt && mkdir /etc/apt && touch /etc/apt/new
COPY --from=made /made /made
COPY greeting.py /app/greeting.py
ENV WHOM=${{WHOM}}
USER 65532:65532
ENTRYPOINT ["python", "/app/greeting.py"]
"""
GREETING = """
import json, os, pathlib, subprocess, sys
said = {
    "whom": os.environ["WHOM"],
    "user": os.getuid(),
    "python": sys.version_info[:2],
    "made": pathlib.Path("/made/file").read_text(),
    "removed": os.path.exists("/etc/debian_version"),
    "replaced": os.listdir("/etc/apt"),
    "built": "global.cert" in pathlib.Path("/known-while-building").read_text(),
    "pip": pathlib.Path("/etc/pip.conf").read_text(),
}
pathlib.Path("/dev/termination-log").write_text(json.dumps(said))
"""


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("context")
    (folder / "Dockerfile").write_text(DOCKERFILE)
    (folder / "greeting.py").write_text(GREETING)
    return folder


@pytest.fixture(scope="module")
def built(images: ImageStore, context: Path) -> ImageStore:
    images.build(context / "Dockerfile", TAG, context, {"WHOM": "world"})
    return images


def _run(cluster: NodeCluster, namespace: str, image: str) -> Object:
    cluster.apply(job("stage", pod("greeting", image)), namespace=namespace)
    return ended_container(cluster, namespace, "job-name=stage")


def _said(ended: Object) -> Object:
    assert ended["exitCode"] == 0, ended
    read: Object = json.loads(ended["message"])
    return read


@pytest.mark.parametrize("way", ["links", "archive"])
def test_an_image_runs_as_it_was_built(
    way: str,
    built: ImageStore,
    kubelet_cluster: NodeCluster,
    node_namespace: str,
    tmp_path: Path,
) -> None:
    if way == "links":
        kubelet_cluster.bring(built.image(TAG))
    else:
        built.export(TAG, tmp_path / "image.tar")
        kubelet_cluster.import_image(tmp_path / "image.tar")
    ended = _run(kubelet_cluster, node_namespace, TAG)
    assert _said(ended) == {
        "whom": "world",
        "user": 65532,
        "python": [3, 11],
        "made": "of another stage\n",
        "removed": False,
        "replaced": ["new"],
        "built": True,
        "pip": "",
    }


def test_an_image_stays_when_the_node_tidies_up(
    built: ImageStore, kubelet_cluster: NodeCluster, node_namespace: str, tmp_path: Path
) -> None:
    kubelet_cluster.bring(built.image(TAG))
    write_busybox_image(tmp_path / "other.tar", "localhost/other:1", ["true"])
    kubelet_cluster.import_image(tmp_path / "other.tar")
    kubelet_cluster.containerd.ctr("images", "remove", "--sync", "localhost/other:1")
    assert _run(kubelet_cluster, node_namespace, TAG)["exitCode"] == 0


def test_only_what_changed_is_built_again(built: ImageStore, context: Path) -> None:
    before = built.image(TAG)
    changed = context.parent / "changed"
    changed.mkdir()
    (changed / "greeting.py").write_text(f"{GREETING}\n# changed")
    built.build(context / "Dockerfile", "localhost/greeting:2", changed, {"WHOM": "world"})
    after = built.image("localhost/greeting:2")
    assert before.layers[:-1] == after.layers[:-1]
    assert before.layers[-1] != after.layers[-1]


def test_a_step_that_fails_says_why(images: ImageStore, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM {BASE}\nRUN echo because >&2; exit 3\n")
    with pytest.raises(AssertionError, match="because"):
        images.build(tmp_path / "Dockerfile", "localhost/fails:1", tmp_path)
    assert not images.has("localhost/fails:1")
