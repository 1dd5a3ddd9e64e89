"""Where the S3 server's program comes from: Versity's S3 Gateway, pinned.

In this order: the binary that ``ENV_BINARY`` names; one built earlier, in a cache folder outside of
the repository; one built now, where Go is. ``python -m tests.servers.versitygw`` provides it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

VERSION = "1.8.0"
ENV_BINARY = "SPARSE_TRANSFER_VERSITYGW"
_MODULE = f"github.com/versity/versitygw/cmd/versitygw@v{VERSION}"
_BUILD_SECONDS = 900

WAY_OUT = (
    f"install Go 1.25 or newer and run `python -m tests.servers.versitygw`, which builds {_MODULE} "
    f"(about a minute); or set {ENV_BINARY} to a binary of that version"
)


class NoServer(Exception):
    """There is no S3 server here, and none can be built."""


def versitygw() -> Path:
    """Returns the program, built when need be.

    Raises:
        NoServer: It is not there and cannot be built.
    """
    if named := os.environ.get(ENV_BINARY):
        if not os.access(named, os.X_OK):
            raise NoServer(f"{ENV_BINARY}={named}: not a program")
        return Path(named)
    built = _cache() / f"versitygw-{VERSION}"
    if not built.exists():
        _build(built)
    return built


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "sparse-transfer-tests"


def _build(target: Path) -> None:
    go = shutil.which("go")
    if go is None:
        raise NoServer(f"no S3 server here; {WAY_OUT}")
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / "building").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # others wait here, and find it built
        if target.exists():
            return
        made = target.parent / "bin"
        done = subprocess.run(
            [go, "install", "-trimpath", "-ldflags=-s -w", _MODULE],
            env={**os.environ, "GOBIN": str(made)},
            capture_output=True,
            text=True,
            check=False,
            timeout=_BUILD_SECONDS,
        )
        if done.returncode != 0:
            raise NoServer(f"go install {_MODULE} failed: {done.stderr[-2000:]}; {WAY_OUT}")
        (made / "versitygw").rename(target)
        made.rmdir()


if __name__ == "__main__":
    try:
        print(versitygw())  # noqa: T201
    except NoServer as error:
        sys.exit(str(error))
