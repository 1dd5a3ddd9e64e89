"""The cores that a container's CPU limit leaves, which no scheduler's affinity tells.

A limit is a quota of time: a process of more threads than that is throttled as a whole, however
many cores its node has. PyTorch, MKL and OpenBLAS count the node's cores.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")
"""Where a container sees its own group, of either version."""


def limited_cores(groups: Path = _GROUPS) -> int | None:
    """Returns the cores, rounded up, that the CPU limit allows; None without a limit."""
    quota, period = _version_2(groups) or _version_1(groups) or (-1, 1)
    return max(1, math.ceil(quota / period)) if quota > 0 else None


def usable_processors() -> int:
    """Returns the processors (hardware threads) that this process may use at once."""
    allowed = len(os.sched_getaffinity(0))
    limit = limited_cores()
    return allowed if limit is None else min(allowed, limit)


def threads_to_ask_for() -> int | None:
    """Returns how many threads libraries have to be asked to use; None where they know it."""
    usable = usable_processors()
    return usable if usable < len(os.sched_getaffinity(0)) else None


def _version_2(groups: Path) -> tuple[int, int] | None:
    try:
        quota, period = (groups / "cpu.max").read_text().split()
        return (-1 if quota == "max" else int(quota)), int(period)
    except (OSError, ValueError):
        return None


def _version_1(groups: Path) -> tuple[int, int] | None:
    folder = groups / "cpu"
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        return quota, int((folder / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None
