"""Programs that the tests build by Go, pinned, once, into a cache folder outside of the repository.

Several builders may come at once: one builds, the others wait for it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

_BUILD_SECONDS = 1800


class NoProgram(Exception):
    """A program that tests need is not here, and cannot be had; says what would help."""


def cache_folder() -> Path:
    """Returns where programs and images of the tests are kept between runs."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "sparse-transfer-tests"


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Waits until nobody else is in a block with the same lock."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def installed(module: str, version: str, way_out: str, flags: Sequence[str] = ()) -> Path:
    """Returns a program of a module, built when need be.

    Args:
        module: Path of its main package, whose last part is the program's name.
        version: Without the ``v``.
        way_out: What would help where Go is missing or the build fails.
        flags: Further ones of ``go install``.

    Raises:
        NoProgram: It is not there and cannot be built.
    """
    name = module.rsplit("/", 1)[-1]
    target = cache_folder() / f"{name}-{version}"
    if target.exists():
        return target
    with alone(cache_folder() / f"{name}.lock"):
        if not target.exists():
            made = cache_folder() / f"{name}.bin"
            command = ["install", "-trimpath", "-ldflags=-s -w", *flags, f"{module}@v{version}"]
            run_go(command, way_out, {"GOBIN": str(made)})
            (made / name).rename(target)
            made.rmdir()
    return target


def run_go(
    arguments: Sequence[str],
    way_out: str,
    environment: Mapping[str, str],
    folder: Path | None = None,
) -> None:
    """Runs Go, which is looked for on ``PATH``.

    Raises:
        NoProgram: Go is missing, or fails.
    """
    go = shutil.which("go")
    if go is None:
        raise NoProgram(f"no Go here; {way_out}")
    done = subprocess.run(
        [go, *arguments],
        env={**os.environ, **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=_BUILD_SECONDS,
    )
    if done.returncode != 0:
        what = " ".join(arguments)
        raise NoProgram(f"go {what} failed: {done.stderr[-2000:]}; {way_out}")
