"""What the operator costs and how fast it is, on a real API server with simulated nodes.

Everything runs on one machine: etcd, API server, controllers, simulated nodes, the load and the
operator share its cores, so that the figures are lower bounds. Latency is from the moment an
experiment's creation is sent to the moment its first Job is seen by another client's watch.

* ``latency``: experiments made one by one, then 100 at once by 8 clients.
* ``jobs``: 1000 and 5000 experiments at once whose Jobs wait in a queue: pods, which cost the API
  server more than all else, do not come into it.
* ``lives``: 1000 and 5000 experiments from their creation to their success: when the last first Job
  was there, when all had succeeded, and what the operator took meanwhile.
* ``restart``, after each of these: the operator starts while they exist: until all were looked at,
  and its writes.

Memory is the peak of the operator's resident set. Prints JSON at the end, and each part of it on
standard error as soon as it is there.

    python -m benchmarks.operator.run > benchmarks/operator/results.json
    python -m benchmarks.operator.run --bursts 50 --lives 50  # a quick try
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.operator.load import Load, load_on
from tests.cluster.access import Cluster
from tests.cluster.control_plane import running_control_plane
from tests.cluster.programs import KUBERNETES_VERSION
from tests.cluster.simulation import simulated
from tests.operator.experiments import teach_experiments
from tests.operator.operators import OperatorProcess, operator_settings, start_operator

from sparse_transfer_runner.provenance import hardware

_GOALS = {
    "idle latency p50 seconds": 0.1,
    "1000: seconds to the last first Job": 8,
    "5000: seconds to the last first Job": 40,
    "5000: peak MiB": 150,
    "writes per experiment, events and progress apart": 12,
    "writes on restart": 0,
}
_LONGEST_SECONDS = 3600
_TELL_SECONDS = 15
_NEW_DEFINITION_SECONDS = 2
"""For so long after a definition was established, the API server answers the making of its objects
2 s late, so that servers beside it know it too (crdHandler of Kubernetes' apiextensions)."""
_DURATION = "30s"
"""Of each stage where many experiments run at once: the shortest that a real one would take."""


@dataclass(frozen=True)
class Usage:
    """What an operator has taken so far.

    Args:
        cpu_seconds: Of its process, user and system.
        peak_mib: Of its resident set.
        requests: To the API server, by method and resource.
        reconciles: That it did.
    """

    cpu_seconds: float
    peak_mib: float
    requests: dict[str, float]
    reconciles: float

    @classmethod
    def of(cls, operator: OperatorProcess) -> Usage:
        """Returns what an operator has taken so far."""
        requests: dict[str, float] = {}
        for labels, value in operator.samples("rest_client_requests_total").items():
            found = dict(labels)
            name = f"{found['method']} {found['resource']}"
            requests[name] = requests.get(name, 0) + value
        status = Path(f"/proc/{operator.process.pid}/status").read_text()
        (peak,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
        return cls(
            operator.total("process_cpu_seconds_total"),
            int(peak) / 1024,
            requests,
            operator.total("sparse_transfer_reconcile_duration_seconds_count"),
        )

    def since(self, before: Usage, experiments: int) -> dict[str, Any]:
        """Returns what was taken since, in all and by experiment."""
        spent = {
            name: value - before.requests.get(name, 0)
            for name, value in sorted(self.requests.items())
            if not name.endswith("leases")
        }
        writes = sum(
            value
            for name, value in spent.items()
            if name.split()[0] not in ("GET", "WATCH") and not name.endswith("events")
        )
        cpu = self.cpu_seconds - before.cpu_seconds
        return {
            "cpuSeconds": round(cpu, 2),
            "cpuMillisecondsPerExperiment": round(1000 * cpu / experiments, 2),
            "peakMiB": round(self.peak_mib, 1),
            "requestsPerExperiment": round(sum(spent.values()) / experiments, 2),
            "writesPerExperiment": round(writes / experiments, 2),
            "reconcilesPerExperiment": round(
                (self.reconciles - before.reconciles) / experiments, 2
            ),
            "requests": {name: round(value) for name, value in spent.items() if value},
        }


def _latency(load: Load, names: Sequence[str]) -> dict[str, float]:
    taken = sorted(load.jobs[name] - load.asked[name] for name in names)
    return {
        "p50Seconds": round(statistics.median(taken), 4),
        "p99Seconds": round(taken[min(len(taken) - 1, int(0.99 * len(taken)))], 4),
        "maxSeconds": round(taken[-1], 4),
    }


async def _one_by_one(load: Load, rounds: int) -> dict[str, Any]:
    names = [f"single-{number}" for number in range(rounds)]
    for name in names:
        await load.create([name], "1s")
        await load.wait_for_jobs([name])
        await asyncio.sleep(0.5)  # so that the machine is idle again
    return {"experiments": rounds, **_latency(load, names)}


async def _burst(load: Load, experiments: int, duration: str | None = _DURATION) -> dict[str, Any]:
    names = [f"burst-{experiments}-{number}" for number in range(experiments)]
    created = await load.create(names, duration)
    await load.wait_for_jobs(names)
    last = max(load.jobs[name] for name in names) - min(load.asked[name] for name in names)
    return {
        "experiments": experiments,
        "secondsToCreateThem": round(created, 2),
        "secondsToTheLastFirstJob": round(last, 2),
        **_latency(load, names),
    }


async def _in_phase(operator: OperatorProcess, phase: str, experiments: int) -> float:
    """Waits until so many experiments are in a phase; returns the moment."""
    begin = time.monotonic()
    told = 0.0
    while (passed := time.monotonic() - begin) < _LONGEST_SECONDS:
        done = await asyncio.to_thread(operator.total, "sparse_transfer_experiments", phase=phase)
        if done >= experiments:
            return time.monotonic()
        if passed - told > _TELL_SECONDS:
            told = passed
            _tell(f"{done:.0f} of {experiments} are {phase} after {passed:.0f} s")
        await asyncio.sleep(2)
    raise TimeoutError(f"{experiments} experiments were not {phase} in time")


def _tell(what: Any) -> None:
    """Says how far it is, on standard error."""
    print(what if isinstance(what, str) else json.dumps(what), file=sys.stderr, flush=True)


async def _latencies(cluster: Cluster, singles: int, bursts: Sequence[int]) -> dict[str, Any]:
    namespace = cluster.namespace()
    results: dict[str, Any] = {}
    async with load_on(cluster, namespace) as load:
        with _operator(cluster, namespace) as operator:
            results["oneByOne"] = await _one_by_one(load, singles)
            _tell(results["oneByOne"])
            there = singles
            for experiments in bursts:
                results[f"burstOf{experiments}"] = await _burst(load, experiments)
                _tell(results[f"burstOf{experiments}"])
                there += experiments
                await _in_phase(operator, "Succeeded", there)
    cluster.remove_namespace(namespace)
    return results


async def _jobs(cluster: Cluster, experiments: int) -> dict[str, Any]:
    namespace = cluster.namespace()
    async with load_on(cluster, namespace) as load:
        with _operator(cluster, namespace) as operator:
            idle = Usage.of(operator)
            jobs = await _burst(load, experiments, None)
            await _in_phase(operator, "Queued", experiments)
            usage = Usage.of(operator).since(idle, experiments)
    return {"namespace": namespace, **jobs, "untilAllAreQueued": usage}


async def _lives(cluster: Cluster, experiments: int, profile: Path | None) -> dict[str, Any]:
    namespace = cluster.namespace()
    async with load_on(cluster, namespace) as load:
        with _operator(cluster, namespace, profile) as operator:
            idle = Usage.of(operator)
            jobs = await _burst(load, experiments)
            _tell(jobs)
            at_jobs = Usage.of(operator)
            begin = min(load.asked.values())
            all_succeeded = await _in_phase(operator, "Succeeded", experiments) - begin
            at_end = Usage.of(operator)
    return {
        "namespace": namespace,
        **jobs,
        "secondsToTheLastSuccess": round(all_succeeded, 1),
        "untilTheLastFirstJob": at_jobs.since(idle, experiments),
        "wholeLives": at_end.since(idle, experiments),
    }


def _restart(cluster: Cluster, namespace: str, experiments: int) -> dict[str, Any]:
    begin = time.monotonic()
    with _operator(cluster, namespace) as operator:
        synced = time.monotonic() - begin
        operator.wait_until_idle(_LONGEST_SECONDS)
        idle = time.monotonic() - begin
        usage = Usage.of(operator)
    nothing = Usage(0, 0, {}, 0)
    return {
        "experiments": experiments,
        "secondsToKnowAll": round(synced, 2),
        "secondsToHaveLookedAtAll": round(idle, 2),
        "writes": round(usage.since(nothing, 1)["writesPerExperiment"]),
        **{
            name: value
            for name, value in usage.since(nothing, experiments).items()
            if name in ("cpuSeconds", "peakMiB", "requests")
        },
    }


@contextmanager
def _operator(
    cluster: Cluster, namespace: str, profile: Path | None = None
) -> Iterator[OperatorProcess]:
    """Runs an operator that leads in a namespace until the block ends."""
    settings = operator_settings(namespace)
    operator = start_operator(cluster.kubeconfig, settings, cluster.folder, profile=profile)
    try:
        operator.wait_until_leading(_LONGEST_SECONDS)
        yield operator
    finally:
        operator.stop()


def main() -> int:
    """Measures, and prints what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--singles", type=int, default=30)
    parser.add_argument("--bursts", type=int, nargs="*", default=[100])
    parser.add_argument("--jobs", type=int, nargs="*", default=[1000, 5000])
    parser.add_argument("--lives", type=int, nargs="*", default=[1000, 5000])
    parser.add_argument("--nodes", type=int, default=24)
    parser.add_argument(
        "--profile", type=Path, help="where cProfile leaves the last life's findings"
    )
    given = parser.parse_args()
    results: dict[str, Any] = {"kubernetes": KUBERNETES_VERSION, "machine": hardware()}
    with tempfile.TemporaryDirectory(prefix="benchmark") as name:
        folder = Path(name)
        with (
            running_control_plane(folder) as plane,
            simulated(plane.cluster, folder, given.nodes),
        ):
            cluster = plane.cluster
            teach_experiments(cluster)
            time.sleep(_NEW_DEFINITION_SECONDS)
            if given.singles:
                results["latency"] = asyncio.run(_latencies(cluster, given.singles, given.bursts))
            results["jobs"] = []
            for experiments in given.jobs:
                jobs = asyncio.run(_jobs(cluster, experiments))
                namespace = jobs.pop("namespace")
                _tell(jobs)
                jobs["restart"] = _restart(cluster, namespace, experiments)
                _tell(jobs["restart"])
                results["jobs"].append(jobs)
                cluster.remove_namespace(namespace)
            results["lives"] = []
            for number, experiments in enumerate(given.lives, 1):
                last = number == len(given.lives)
                life = asyncio.run(_lives(cluster, experiments, given.profile if last else None))
                namespace = life.pop("namespace")
                _tell(life)
                life["restart"] = _restart(cluster, namespace, experiments)
                results["lives"].append(life)
    print(json.dumps({**results, "goals": _GOALS}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
