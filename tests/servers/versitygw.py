"""Where the S3 server's program comes from: Versity's S3 Gateway, pinned.

In this order: the binary that ``ENV_BINARY`` names; one built earlier, in a cache folder outside of
the repository; one built now, where Go is. ``python -m tests.servers.versitygw`` provides it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.servers.go_programs import NoProgram, installed

VERSION = "1.8.0"
ENV_BINARY = "SPARSE_TRANSFER_VERSITYGW"
_MODULE = "github.com/versity/versitygw/cmd/versitygw"

WAY_OUT = (
    "install Go 1.25 or newer and run `python -m tests.servers.versitygw`, which builds "
    f"{_MODULE}@v{VERSION} (about a minute); or set {ENV_BINARY} to a binary of that version"
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
    try:
        return installed(_MODULE, VERSION, WAY_OUT)
    except NoProgram as error:
        raise NoServer(f"no S3 server here: {error}") from error


if __name__ == "__main__":
    try:
        print(versitygw())  # noqa: T201
    except NoServer as error:
        sys.exit(str(error))
