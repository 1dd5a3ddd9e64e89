"""The processor, as far as it decides speed and INT8 accuracy: instruction set and cores."""

from __future__ import annotations

import os
import platform
from collections.abc import Collection
from pathlib import Path

from sparse_transfer_runner.cores import limited_cores

_CPUINFO = Path("/proc/cpuinfo")
_SIBLINGS = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"

_LADDER = (
    ("amx_int8", "amx_int8"),
    ("avx512_vnni", "avx512_vnni"),
    ("avx_vnni", "avx_vnni"),
    ("avx512bw", "avx512"),
    ("avx2", "avx2"),
    ("i8mm", "i8mm"),
    ("asimddp", "dotprod"),
    ("asimd", "neon"),
)
"""The kernel's flag and the name used in results, the fastest at INT8 first."""
_EXACT = {"amx_int8", "avx512_vnni", "avx_vnni", "i8mm", "dotprod"}
_BF16 = ("amx_bf16", "avx512_bf16", "bf16")


def instruction_set(flags: Collection[str] | None = None) -> str:
    """Returns the name of the instructions that INT8 kernels will use, such as ``avx512_vnni``.

    Args:
        flags: The processor's flags as Linux names them; by default this processor's. Where there
            are none, the architecture's name is all that can be said.
    """
    known = cpu_flags() if flags is None else flags
    return next((name for flag, name in _LADDER if flag in known), platform.machine())


def multiplies_bf16(flags: Collection[str] | None = None) -> bool:
    """Whether the processor multiplies bf16 natively, which some engines use by default."""
    known = cpu_flags() if flags is None else flags
    return any(flag in known for flag in _BF16)


def accumulates_exactly(isa: str) -> bool:
    """Whether products of uint8 and int8 are summed without saturation.

    Before VNNI, x86 adds pairs of such products into 16 bits, which can overflow: INT8 accuracy
    then depends on the data, and weights of one bit less avoid it.
    """
    return isa in _EXACT or not isa.startswith("avx")


def cpu_flags() -> frozenset[str]:
    """Returns the flags of the first processor, empty where the system does not tell them."""
    try:
        lines = _CPUINFO.read_text().splitlines()
    except OSError:
        return frozenset()
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


def available_cores() -> int:
    """Returns the cores that this process may use: affinity and CPU limit counted.

    Hardware threads of one core count once, as engines count them: they share its multipliers.
    """
    cores = {_core_of(number) for number in os.sched_getaffinity(0)}
    limit = limited_cores()
    return len(cores) if limit is None else min(len(cores), limit)


def _core_of(number: int) -> str:
    """Returns a name that the hardware threads of one core share."""
    try:
        return Path(_SIBLINGS.format(number)).read_text().strip()
    except OSError:
        return str(number)
