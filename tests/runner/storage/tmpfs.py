"""A small file system of a test's own, to be full or read-only."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_file_system(folder: Path, size_bytes: int) -> Iterator[Path]:
    """Mounts a tmpfs of that size; skips the test where that is not permitted."""
    folder.mkdir()
    mounted = _run("mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "none", str(folder))
    if mounted is not None:
        pytest.skip(f"a file system cannot be mounted here ({mounted}); run the tests as root")
    try:
        yield folder
    finally:
        assert _run("umount", "-l", str(folder)) is None


def make_read_only(folder: Path) -> None:
    """Makes a mounted file system read-only."""
    assert _run("mount", "-o", "remount,ro", str(folder)) is None


def _run(*command: str) -> str | None:
    """Runs a command; returns what went wrong."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    except FileNotFoundError as error:
        return str(error)
    return None if done.returncode == 0 else done.stderr.strip() or str(done.returncode)
