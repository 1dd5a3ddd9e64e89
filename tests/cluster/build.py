"""Builds and keeps every program that a cluster consists of: ``python -m tests.cluster.build``."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from tests.cluster.programs import (
    COREDNS_VERSION,
    KUBERNETES_VERSION,
    KWOK_VERSION,
    built_servers,
    coredns,
    helm,
    kubectl,
    kwok,
)
from tests.servers.go_programs import NoProgram

_PROGRAMS: dict[str, Callable[[], object]] = {
    f"Kubernetes {KUBERNETES_VERSION}": built_servers,
    f"kwok {KWOK_VERSION}": kwok,
    f"CoreDNS {COREDNS_VERSION}": coredns,
    "kubectl": kubectl,
    "helm": helm,
}


def main() -> None:
    """Says what is provided, and how long that took."""
    for name, provide in _PROGRAMS.items():
        print(f"{name} …", flush=True)  # noqa: T201
        started = time.monotonic()
        provide()
        print(f"{name}: {time.monotonic() - started:.0f} s", flush=True)  # noqa: T201


if __name__ == "__main__":
    try:
        main()
    except NoProgram as error:
        sys.exit(str(error))
