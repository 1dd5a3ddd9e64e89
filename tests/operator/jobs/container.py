"""A Job's container on this machine: its variables, mounts and rights, without any node.

What a kubelet and its container runtime do, as far as the runner can tell: process 1 of its own
namespace, a user without an entry in passwd, no capability, a root that nobody can write to, and
of the machine only what an image would hold.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.operator.jobs.manifests import Json, mounts_of, pod_of, runner_of, values_of
from tests.servers.processes import wait_until

_CHECKOUT = Path(__file__).parents[3]
_IMAGE = [Path(sys.base_prefix), Path(sys.prefix), _CHECKOUT]
_CAUGHT = "SigCgt:"
_TERMINATION_LOG = "/dev/termination-log"

_SCRIPT = r"""
set -eu
root=$1; shift
mount --make-rprivate /
mount -t tmpfs -o mode=0755 tmpfs "$root"
for each in /bin /etc /lib /lib32 /lib64 /libx32 /opt /sbin /sys /usr; do
  if [ -L "$each" ]; then cp -P "$each" "$root$each"
  elif [ -d "$each" ]; then mkdir "$root$each"; mount --rbind "$each" "$root$each"; fi
done
mkdir -p "$root/dev/shm" "$root/proc"
for each in full null random urandom zero; do
  touch "$root/dev/$each"; mount --bind "/dev/$each" "$root/dev/$each"
done
mount -t tmpfs -o mode=1777,size=64m tmpfs "$root/dev/shm"
mount -t proc proc "$root/proc"
while [ "$1" != -- ]; do
  source=$1; target=$root$2; mode=$3; shift 3
  mkdir -p "$(dirname "$target")"
  if [ "$source" = emptyDir ]; then mkdir -p "$target"; mount -t tmpfs -o mode=2777 tmpfs "$target"
  elif [ -d "$source" ]; then mkdir -p "$target"; mount --bind "$source" "$target"
  else touch "$target"; mount --bind "$source" "$target"; fi
  if [ "$mode" = ro ]; then mount -o remount,bind,ro "$target"; fi
done
shift
mount -o remount,ro "$root"
exec chroot "$root" "$@"
"""


@dataclass(frozen=True)
class Container:
    """A running container.

    Args:
        process: What started it; it ends as the container does.
        termination_log: Where the container's last words are.
    """

    process: subprocess.Popen[str]
    termination_log: Path

    def ended(self) -> tuple[int, str]:
        """Returns exit code and logs, once it has ended."""
        _, logs = self.process.communicate(timeout=600)
        return self.process.returncode, logs

    def wait_until_it_hears(self) -> None:
        """Waits until the container's process 1 has a handler for SIGTERM."""
        wait_until(self._hears, "a handler for SIGTERM")

    def terminate(self) -> None:
        """Sends SIGTERM to the container's process 1, as a kubelet does."""
        os.kill(self._first(), signal.SIGTERM)

    def _first(self) -> int:
        number = self.process.pid
        (child,) = Path(f"/proc/{number}/task/{number}/children").read_text().split()
        return int(child)

    def _hears(self) -> bool:
        try:
            status = Path(f"/proc/{self._first()}/status").read_text()
        except (OSError, ValueError):
            return False
        caught = next(line for line in status.splitlines() if line.startswith(_CAUGHT))
        # The shell that mounts everything handles no SIGTERM.
        return bool(int(caught.removeprefix(_CAUGHT), 16) >> (signal.SIGTERM - 1) & 1)


@contextmanager
def started(job: Json, folder: Path, claims: Mapping[str, Path], user: int) -> Iterator[Container]:
    """Starts a Job's container.

    Args:
        job: The Job's manifest.
        folder: For files of the container's.
        claims: Where the PersistentVolumeClaims lie on this machine, by name.
        user: Whom the cluster lets it run as.
    """
    if os.geteuid() != 0:
        pytest.skip("needs root, to give a process the rights and the file system of a pod")
    root, log = folder / "root", folder / "termination-log"
    root.mkdir(exist_ok=True)
    log.write_text("")
    log.chmod(0o666)
    assert pod_of(job)["restartPolicy"] == "Never"
    assert runner_of(job)["securityContext"]["readOnlyRootFilesystem"] is True
    mounts = [(str(log), _TERMINATION_LOG, "rw")]
    for path, mount in mounts_of(job).items():
        mounts.append((_source(mount["volume"], claims), path, _mode(mount)))
    # Last: a checkout below /tmp would be hidden by the pod's own.
    mounts += [(str(path), str(path), "ro") for path in _IMAGE]
    of_the_image = {
        "PATH": "/usr/bin:/bin",
        "PYTHONDONTWRITEBYTECODE": "1",
        # Else another checkout, which is not there, might be the one that is installed.
        "PYTHONPATH": os.pathsep.join(str(_CHECKOUT / part) for part in ("api", "runner")),
    }
    environment = {**of_the_image, **values_of(job)}
    command = [
        *("unshare", "--mount", "--pid", "--fork", "--kill-child"),
        *("bash", "-c", _SCRIPT, "bash", str(root), *(word for each in mounts for word in each)),
        *("--", "setpriv", "--reuid", str(user), "--regid", str(user), "--clear-groups"),
        *("--no-new-privs", "--bounding-set=-all", "env", "-i"),
        *(f"{name}={value}" for name, value in environment.items()),
        *(sys.executable, "-m", "sparse_transfer_runner", *runner_of(job)["args"]),
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Container(process, log)
        finally:
            process.kill()


def _source(volume: Mapping[str, Any], claims: Mapping[str, Path]) -> str:
    if claim := volume.get("persistentVolumeClaim"):
        return str(claims[claim["claimName"]])
    assert volume["emptyDir"] == {}
    return "emptyDir"


def _mode(mount: Mapping[str, Any]) -> str:
    return "ro" if mount.get("readOnly") else "rw"
