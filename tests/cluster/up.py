"""Brings a cluster up for people: ``python -m tests.cluster.up --size large``, until Ctrl-C.

The first line of its output is the path of the administrator's kubeconfig.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster.access import Cluster
from tests.cluster.control_plane import running_control_plane
from tests.cluster.node import running_node_cluster
from tests.cluster.simulation import simulated
from tests.servers.go_programs import NoProgram


@contextmanager
def _cluster(size: str, folder: Path) -> Iterator[Cluster]:
    if size == "large":
        with running_node_cluster(folder / "cluster") as cluster:
            yield cluster
    else:
        with (
            running_control_plane(folder / "cluster") as plane,
            simulated(plane.cluster, folder / "simulation"),
        ):
            yield plane.cluster


def main() -> None:
    """Runs a cluster until this process is told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    sizes = "small: a control plane and simulated nodes; large: a real node, as root"
    parser.add_argument("--size", choices=("small", "large"), default="small", help=sizes)
    size = parser.parse_args().size
    signals = (signal.SIGINT, signal.SIGTERM)
    for number in signals:
        signal.signal(number, _stop)
    with tempfile.TemporaryDirectory(prefix="sparse-transfer-cluster-") as name:
        folder = Path(name)
        for part in ("cluster", "simulation"):
            (folder / part).mkdir()
        with _cluster(size, folder) as cluster:
            print(cluster.kubeconfig, flush=True)  # noqa: T201
            print("until Ctrl-C", file=sys.stderr)  # noqa: T201
            signal.pause()


def _stop(number: int, frame: object) -> None:
    del frame
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)  # once is enough: what is up is being taken down
    raise SystemExit(128 + number)


if __name__ == "__main__":
    try:
        main()
    except NoProgram as error:
        sys.exit(str(error))
