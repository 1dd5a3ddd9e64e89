from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from sparse_transfer_runner.cores import limited_cores, threads_to_ask_for, usable_processors

_CPU_GROUPS = Path("/sys/fs/cgroup/cpu")
_ASK = """
import json, os
import sparse_transfer_runner
from sparse_transfer_runner.engines.cpu import available_cores
import torch
print(json.dumps([len(os.sched_getaffinity(0)), available_cores(), torch.get_num_threads()]))
"""

# The group's files as a container sees them, and the cores that its limit leaves.
LIMITS: dict[str, tuple[dict[str, str], int | None]] = {
    "no group": ({}, None),
    "no limit": ({"cpu.max": "max 100000\n"}, None),
    "two cores": ({"cpu.max": "200000 100000\n"}, 2),
    "one and a half are two, of which one waits at times": ({"cpu.max": "150000 100000\n"}, 2),
    "a tenth of a core": ({"cpu.max": "10000 100000\n"}, 1),
    "another period": ({"cpu.max": "40000 10000\n"}, 4),
    "not as expected": ({"cpu.max": "many\n"}, None),
    "version 1 without a limit": (
        {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"},
        None,
    ),
    "version 1": ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
    "version 1 by half": ({"cpu/cpu.cfs_quota_us": "300000\n"}, None),
}


@pytest.mark.parametrize("name", LIMITS)
def test_a_cpu_limit_is_read_as_cores(tmp_path: Path, name: str) -> None:
    files, cores = LIMITS[name]
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    assert limited_cores(tmp_path) == cores


def test_no_more_is_used_than_the_process_may_use() -> None:
    assert 1 <= usable_processors() <= len(os.sched_getaffinity(0))
    assert threads_to_ask_for() in (None, usable_processors())


@pytest.fixture
def one_core() -> Iterator[Path]:
    """A control group of version 1 with a limit of one core, for processes of the test."""
    group = _CPU_GROUPS / f"sparse-transfer-test-{os.getpid()}"
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs two cores, to limit a process to one of them")
    try:
        group.mkdir()
        (group / "cpu.cfs_quota_us").write_text("100000")
    except OSError as error:
        pytest.skip(f"needs root and control groups of version 1 ({error})")
    yield group
    group.rmdir()


def asked(environment: Mapping[str, str], group: Path) -> list[int]:
    """Returns processors, cores and threads as a process in a control group sees them.

    It sees its own group at the top, as a container does.
    """
    enter = 'echo $$ > "$1/cgroup.procs" && mount --bind "$1" "$2" && shift 2 && exec "$@"'
    shell = ["unshare", "--mount", "bash", "-c", enter, "bash", str(group), str(_CPU_GROUPS)]
    inherited = {name: os.environ[name] for name in os.environ if name != "OMP_NUM_THREADS"}
    done = subprocess.run(
        [*shell, sys.executable, "-c", _ASK],
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    found: list[int] = json.loads(done.stdout)
    return found


def test_libraries_start_no_more_threads_than_the_limit_allows(one_core: Path) -> None:
    processors, cores, threads = asked({}, one_core)
    assert processors > 1, "the affinity says nothing of the limit"
    assert (cores, threads) == (1, 1)


def test_a_number_of_threads_that_the_user_sets_stands(one_core: Path) -> None:
    _, cores, threads = asked({"OMP_NUM_THREADS": "2"}, one_core)
    assert (cores, threads) == (1, 2)
