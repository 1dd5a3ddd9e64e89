"""The control groups of a node: a tree of its own in every hierarchy, found and removed as one."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from tests.servers.processes import wait_until

_ROOT = Path("/sys/fs/cgroup")
_ENDED_SECONDS = 30


def _hierarchies() -> list[Path]:
    """Returns the one of version 2, or those of version 1."""
    if (_ROOT / "cgroup.controllers").exists():
        return [_ROOT]
    return [path.parent for path in _ROOT.glob("*/cgroup.procs")]


def make_group(name: str) -> None:
    """Makes a group with all of this machine's processors and memory."""
    for hierarchy in _hierarchies():
        group = hierarchy / name
        group.mkdir(exist_ok=True)
        for setting in ("cpuset.cpus", "cpuset.mems"):
            if hierarchy != _ROOT and (hierarchy / setting).exists():
                (group / setting).write_text((hierarchy / setting).read_text())
    if (_ROOT / "cgroup.controllers").exists():
        controllers = (_ROOT / "cgroup.controllers").read_text().split()
        for parent in (_ROOT, _ROOT / name):
            enabled = " ".join(f"+{controller}" for controller in controllers)
            (parent / "cgroup.subtree_control").write_text(enabled)


def remove_group(name: str) -> None:
    """Kills what runs in a group and below it, and removes it; that it is gone is fine."""

    def empty() -> bool:
        left = set(_processes(name))
        for process in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        return not left

    wait_until(empty, f"the end of what runs in {name}", _ENDED_SECONDS)
    for hierarchy in _hierarchies():
        for folder in sorted(_groups(hierarchy / name), reverse=True):
            with contextlib.suppress(FileNotFoundError):
                folder.rmdir()


def _processes(name: str) -> Iterator[int]:
    for hierarchy in _hierarchies():
        for folder in _groups(hierarchy / name):
            with contextlib.suppress(FileNotFoundError):
                yield from map(int, (folder / "cgroup.procs").read_text().split())


def _groups(top: Path) -> list[Path]:
    return [Path(folder) for folder, _, _ in os.walk(top)]
