"""How near a process is to being killed for its memory: what is used, and what there is.

In a container that is its group's, of either version, without the page cache, which the kernel
gives back before it kills. Without a limit it is the machine's.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")
"""Where a container sees its own group."""
_MACHINE = Path("/proc/meminfo")
_KIB = 1024


@dataclass(frozen=True)
class MemoryUse:
    """What is used of what there is, in bytes."""

    used: int
    limit: int

    @property
    def share(self) -> float:
        """0 to 1."""
        return self.used / self.limit


def memory_use(groups: Path | None = None, machine: Path = _MACHINE) -> MemoryUse | None:
    """Returns the memory in use; None where the system does not tell.

    Args:
        groups: Folder of the container's group; by default where containers see it.
        machine: The kernel's figures of the whole machine.
    """
    whole = _of_machine(machine)
    groups = groups or _GROUPS
    group = _of_group(groups, "memory.max", "memory.current", "") or _of_group(
        groups / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_"
    )
    if group is None or (whole is not None and group.limit > whole.limit):
        return whole  # version 1 says "no limit" by an astronomical one
    return group


def _of_group(folder: Path, limit: str, used: str, prefix: str) -> MemoryUse | None:
    try:
        most = int((folder / limit).read_text())
        now = int((folder / used).read_text())
        figures = _figures((folder / "memory.stat").read_text())
    except (OSError, ValueError):  # "max" is no number: there is no limit
        return None
    cached = sum(figures.get(f"{prefix}{kind}_file", 0) for kind in ("active", "inactive"))
    return MemoryUse(max(0, now - cached), most) if most > 0 else None


def _of_machine(path: Path) -> MemoryUse | None:
    try:
        figures = _figures(path.read_text())
        total, free = figures["MemTotal:"] * _KIB, figures["MemAvailable:"] * _KIB
    except (OSError, ValueError, KeyError):
        return None
    return MemoryUse(total - free, total)


def _figures(text: str) -> dict[str, int]:
    words = (line.split() for line in text.splitlines())
    return {line[0]: int(line[1]) for line in words if len(line) > 1}
