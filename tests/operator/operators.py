"""Operators as processes of a test: started with settings of their own, asked, stopped, killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from prometheus_client.parser import text_string_to_metric_families
from tests.cluster.access import Cluster
from tests.servers.processes import free_port, wait_until

START_SECONDS = 60
STOP_SECONDS = 30

_SMALL = {"resources": {"requests": {"cpu": "10m", "memory": "16Mi"}}}

Labels = Mapping[str, str]


def operator_settings(namespace: str, **more: Any) -> dict[str, Any]:
    """Returns settings of an operator that lives in a namespace and serves only that one."""
    return {
        "namespace": namespace,
        "namespaces": [namespace],
        "httpPort": free_port(),
        "output": {"uri": "s3://bucket/runs/"},
        "progress": {"enabled": False},
        "stages": {"prepare": _SMALL, "train": _SMALL, "package": _SMALL},
        **more,
    }


@dataclass
class OperatorProcess:
    """A running operator.

    Args:
        process: Its process.
        port: Of its probes.
        log: Its log.
    """

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def get(self, path: str) -> tuple[int, str]:
        """Returns status and body of an answer; status 0 where nobody listens."""
        address = f"http://127.0.0.1:{self.port}{path}"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(address, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def vitals(self) -> dict[str, Any]:
        """Returns what ``/healthz`` says; empty where nobody listens."""
        status, body = self.get("/healthz")
        return json.loads(body) if status else {}

    def samples(self, metric: str, **labels: str) -> dict[tuple[tuple[str, str], ...], float]:
        """Returns the values of a metric by their labels, of those that have the given ones."""
        _, body = self.get("/metrics")
        return {
            tuple(sorted(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(body)
            for sample in family.samples
            if sample.name == metric and labels.items() <= sample.labels.items()
        }

    def total(self, metric: str, **labels: str) -> float:
        """Returns the sum of a metric over all labels but the given ones."""
        return sum(self.samples(metric, **labels).values())

    def writes(self) -> float:
        """Returns how often it changed anything but its Lease and events."""
        return sum(
            value
            for labels, value in self.samples("rest_client_requests_total").items()
            if dict(labels)["method"] in ("POST", "PUT", "PATCH", "DELETE")
            and dict(labels)["resource"] not in ("leases", "events")
        )

    @property
    def leads(self) -> bool:
        """Whether it has the Lease and has seen all objects."""
        return bool(self.vitals().get("synced"))

    def wait_until_leading(self, seconds: float = START_SECONDS) -> None:
        """Waits until it has the Lease and has seen all objects."""

        def leading() -> bool:
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            return self.leads

        wait_until(leading, f"an operator that leads, which logs to {self.log}", seconds)

    def wait_until_idle(self, seconds: float = START_SECONDS) -> None:
        """Waits until each experiment that there is was looked at."""

        def idle() -> bool:
            vitals = self.vitals()
            looked = self.total("sparse_transfer_reconcile_duration_seconds_count")
            there = self.total("sparse_transfer_experiments")
            return bool(vitals.get("synced")) and not vitals["queue_depth"] and looked >= there

        wait_until(idle, "an operator that has looked at everything", seconds)

    def stop(self) -> int:
        """Asks it to stop, waits for that, and returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_SECONDS)

    def kill(self) -> None:
        """Kills it at once."""
        self.process.kill()
        self.process.wait(STOP_SECONDS)


def start_operator(
    kubeconfig: Path, settings: Mapping[str, Any], folder: Path, *, profile: Path | None = None
) -> OperatorProcess:
    """Starts an operator; whoever does that stops it.

    Args:
        kubeconfig: How it logs in.
        settings: As its file has them.
        folder: For the file and its log.
        profile: Where cProfile leaves its findings; None for none.
    """
    name = f"operator-{settings['httpPort']}"
    path, log = folder / f"{name}.yaml", folder / f"{name}.log"
    path.write_text(yaml.safe_dump(dict(settings)))
    profiler = [] if profile is None else ["-m", "cProfile", "-o", str(profile)]
    command = [sys.executable, *profiler, "-m", "sparse_transfer_operator", "--settings", str(path)]
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*command, "--kubeconfig", str(kubeconfig)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(folder),
                "POD_NAME": name,
                # Else another checkout than the one under test might be the one that runs.
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            },
        )
    return OperatorProcess(process, settings["httpPort"], log)


@contextmanager
def running_operator(
    cluster: Cluster, settings: Mapping[str, Any], kubeconfig: Path | None = None
) -> Iterator[OperatorProcess]:
    """Runs an operator that leads until the block ends."""
    operator = start_operator(kubeconfig or cluster.kubeconfig, settings, cluster.folder)
    try:
        operator.wait_until_leading()
        yield operator
    finally:
        if operator.process.poll() is None:
            operator.stop()
