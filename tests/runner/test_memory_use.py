from __future__ import annotations

from pathlib import Path

import pytest

from sparse_transfer_runner.memory_use import MemoryUse, memory_use

KIB = 1024
MACHINE = "MemTotal: 1000 kB\nMemFree: 100 kB\nMemAvailable: 400 kB\n"
OF_MACHINE = MemoryUse(600 * KIB, 1000 * KIB)
VERSION_2 = {
    "memory.max": "100000\n",
    "memory.current": "90000\n",
    "memory.stat": "anon 50000\ninactive_file 20000\nactive_file 10000\n",
}
VERSION_1 = {
    "memory/memory.limit_in_bytes": "100000\n",
    "memory/memory.usage_in_bytes": "90000\n",
    "memory/memory.stat": "inactive_file 1\ntotal_inactive_file 9000\ntotal_active_file 1000\n",
}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (VERSION_2, MemoryUse(60000, 100000)),
        (VERSION_1, MemoryUse(80000, 100000)),
        ({**VERSION_2, "memory.max": "max\n"}, OF_MACHINE),
        ({**VERSION_1, "memory/memory.limit_in_bytes": f"{1 << 62}\n"}, OF_MACHINE),
        ({}, OF_MACHINE),
    ],
    ids=["version 2", "version 1", "no limit", "no limit in version 1", "no group"],
)
def test_the_groups_limit_counts_where_there_is_one(
    tmp_path: Path, files: dict[str, str], expected: MemoryUse
) -> None:
    (tmp_path / "meminfo").write_text(MACHINE)
    (tmp_path / "groups" / "memory").mkdir(parents=True)
    for name, text in files.items():
        (tmp_path / "groups" / name).write_text(text)
    assert memory_use(tmp_path / "groups", tmp_path / "meminfo") == expected


def test_a_system_that_does_not_tell_is_believed_to_have_enough(tmp_path: Path) -> None:
    assert memory_use(tmp_path, tmp_path / "meminfo") is None


def test_this_machine_tells() -> None:
    use = memory_use()
    assert use is not None
    assert 0 < use.share < 1
