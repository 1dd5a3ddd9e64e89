"""Fetching from and publishing to S3, as ratios to ``aws s3 cp`` on the same server in one run.

Three clients take turns on a real server (Versity's S3 Gateway over a folder, on loopback): ours,
as a stage uses it; ``aws s3 cp`` on its CRT client; and ``aws s3 cp`` on its default client. One
large file and many small ones go down and up. Each transfer is a process of its own, whose start
counts; ours computes and checks the SHA-256 of every file as well. A ratio is the other's time ÷
ours in the same round, so above 1 ours is faster. Prints JSON.

Needs the server (``make s3-server``), version 2 of the AWS command line (``apt-get install
awscli``) and root: its CRT client ignores the port of an endpoint, so that the server listens on
port 80 of a loopback address of its own. Takes four times the large file's size on the disk.

    python -m benchmarks.storage.run > benchmarks/storage/results.json
    python -m benchmarks.storage.run --large-bytes 50000000 --files 500 --rounds 1  # a quick try
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.servers.processes import free_port
from tests.servers.s3_server import REGION, Bucket, s3_server
from tests.servers.versitygw import VERSION

from sparse_transfer_api.records import FileEntry
from sparse_transfer_api.spec import S3Storage
from sparse_transfer_runner.digests import sha256_of
from sparse_transfer_runner.provenance import hardware

_PORT = 80
_SMALL_BYTES = 4096
_FILES_PER_FOLDER = 200
_BLOCK_BYTES = 1 << 24
_GOAL = 0.9
_GOAL_BYTES = 300 << 20
_POLL_SECONDS = 0.01
_LONGEST_SECONDS = 900
"""Of one transfer: without an endpoint the CRT client waits for a very long time."""


@dataclass(frozen=True)
class Took:
    """What one transfer took.

    Args:
        seconds: From the start of its process to its end.
        peak_bytes: Of its process.
        inner_seconds: Ours only: without the start.
    """

    seconds: float
    peak_bytes: int
    inner_seconds: float | None = None


@dataclass(frozen=True)
class Job:
    """One transfer to be done by each client.

    Args:
        name: Such as ``large down``.
        prefix: In the bucket: what is fetched, or below what is published.
        source: Folder whose files are published; None to fetch.
        units: Bytes or files, for the throughput.
    """

    name: str
    prefix: str
    source: Path | None
    units: float


@dataclass
class Bench:
    """A server, and how each client transfers something between it and a fresh folder."""

    bucket: Bucket
    folder: Path
    aws: str
    _count: Iterator[int] = field(default_factory=lambda: iter(range(1_000_000)))

    def run(self, client: str, job: Job) -> Took:
        """Does a job with one client, and checks and removes what it left."""
        number = next(self._count)
        target, prefix = self.folder / f"down-{number}", f"up-{number}"
        target.mkdir()
        os.sync()  # what the one before left to be written is not to slow this one down
        if client == "ours":
            took = self._ours(job, prefix, target)
        else:
            took = self._cli(client.removeprefix("aws s3 cp, "), job, prefix, target)
        arrived = self._stored(prefix) if job.source else target
        expected = job.source or self._stored(job.prefix)
        assert _inventory(arrived) == _inventory(expected), f"{client}: {job.name}"
        shutil.rmtree(target)
        shutil.rmtree(self._stored(prefix), ignore_errors=True)
        return took

    def _stored(self, prefix: str) -> Path:
        return self.bucket.server.folder / "data" / self.bucket.name / prefix

    def publish(self, source: Path, prefix: str) -> Took:
        """Uploads a folder's files with our client."""
        return self._only("publish", source, prefix)

    def _ours(self, job: Job, prefix: str, target: Path) -> Took:
        if job.source:
            return self.publish(job.source, prefix)
        took = self._only("fetch", target, job.prefix)
        # The cache keeps what it fetched below a name of its own.
        (found,) = (path for path in (target / "objects").iterdir() if path.is_dir())
        found.rename(self.folder / "found")
        shutil.rmtree(target)
        (self.folder / "found").rename(target)
        return took

    def _only(self, action: str, folder: Path, prefix: str) -> Took:
        uri, endpoint = f"{self.bucket.uri}/{prefix}", self.bucket.server.endpoint
        command = [sys.executable, "-m", "benchmarks.storage.run", "--only"]
        took, said = _timed([*command, action, str(folder), uri, endpoint], self._environment())
        told = json.loads(said)
        return Took(took.seconds, told["peakBytes"], told["seconds"])

    def _cli(self, client: str, job: Job, prefix: str, target: Path) -> Took:
        config = self.folder / f"{client}.ini"
        config.write_text(
            f"[default]\nregion = {REGION}\n"
            f"s3 =\n  addressing_style = path\n  preferred_transfer_client = {client}\n"
        )
        environment = {**self._environment(), "AWS_CONFIG_FILE": str(config)}
        far = f"{self.bucket.uri}/{prefix if job.source else job.prefix}"
        between = [str(job.source), far] if job.source else [far, str(target)]
        command = [self.aws, "--endpoint-url", self.bucket.server.endpoint, "s3", "cp"]
        return _timed(
            [*command, "--recursive", "--only-show-errors", "--no-progress", *between], environment
        )[0]

    def _environment(self) -> dict[str, str]:
        return {
            **{name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
            **self.bucket.server.environment(),
        }


def _timed(command: Sequence[str], environment: dict[str, str]) -> tuple[Took, str]:
    """Runs a process; returns what it took, and what it said."""
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as errors:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=said, stderr=errors, env=environment)
        peak = 0
        while process.poll() is None:
            peak = max(peak, _peak_bytes(process.pid))
            if time.perf_counter() > started + _LONGEST_SECONDS:
                process.kill()
                process.wait()
                raise TimeoutError(f"{command!r}: not within {_LONGEST_SECONDS} s")
            time.sleep(_POLL_SECONDS)
        seconds = time.perf_counter() - started
        said.seek(0), errors.seek(0)
        assert process.returncode == 0, errors.read().decode()[-4000:]
        return Took(seconds, peak), said.read().decode()


def _peak_bytes(process: int | str) -> int:
    """Returns a process's peak memory so far; unlike getrusage's, it leaves out its parent's."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return 1024 * next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)


def _inventory(folder: Path) -> tuple[int, int]:
    """Returns the number and the bytes of a folder's files."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return len(files), sum(path.stat().st_size for path in files)


def only(action: str, folder: str, uri: str, endpoint: str) -> None:
    """Does one transfer as a stage does it, and prints what it took of this process.

    Args:
        action: ``fetch`` into a cache, or ``publish``.
        folder: The cache; or what is published.
        uri: The other end.
        endpoint: Of the store.
    """
    from sparse_transfer_runner.storage import fetch, place_for
    from sparse_transfer_runner.storage.settings import StorageSettings, using

    started = time.perf_counter()
    s3 = S3Storage(endpoint=endpoint, path_style=True)
    cache = Path(folder) if action == "fetch" else None
    with using(StorageSettings(s3, cache=cache)):
        if action == "fetch":
            fetch(uri)
        else:
            paths = sorted(path for path in Path(folder).rglob("*") if path.is_file())
            entries = [_entry(Path(folder), path) for path in paths]
            assert place_for(uri).publish(Path(folder), entries) == []
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "peakBytes": _peak_bytes("self")}))


def _entry(folder: Path, path: Path) -> FileEntry:
    size = path.stat().st_size
    return FileEntry(
        path=path.relative_to(folder).as_posix(), sha256=sha256_of(path), size_bytes=size
    )


def free_host() -> str:
    """Returns a loopback address whose port 80 is free.

    Raises:
        PermissionError: This user may not listen on it.
    """
    for number in range(2, 255):
        host = f"127.0.0.{number}"
        try:
            free_port(host, _PORT)
        except PermissionError:
            raise
        except OSError:
            continue
        return host
    raise OSError(f"no loopback address has its port {_PORT} free")


def write_files(folder: Path, large_bytes: int, files: int) -> None:
    """Writes one large file and many small ones, of random bytes."""
    (folder / "large").mkdir(parents=True)
    block = os.urandom(_BLOCK_BYTES)
    with (folder / "large" / "model.bin").open("wb") as file:
        for start in range(0, large_bytes, _BLOCK_BYTES):
            file.write(block[: min(_BLOCK_BYTES, large_bytes - start)])
    for number in range(files):
        path = folder / "small" / f"{number // _FILES_PER_FOLDER:03}" / f"{number:05}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(_SMALL_BYTES))


def measure(
    folder: Path, large_bytes: int, files: int, rounds: int, aws: str
) -> dict[str, dict[str, Any]]:
    """Returns medians and ratios of each job."""
    clients = ["ours", "aws s3 cp, crt", "aws s3 cp, default"]
    with s3_server(folder / "server", host=free_host(), port=_PORT) as server:
        bucket = server.bucket()
        write_files(folder / "source", large_bytes, files)
        jobs = [
            Job(f"{name} {way}", name, folder / "source" / name if way == "up" else None, units)
            for name, units in (("large", large_bytes), ("small", files))
            for way in ("down", "up")
        ]
        bench = Bench(bucket, folder, aws)
        for name in ("large", "small"):
            bench.publish(folder / "source" / name, name)
        took: dict[str, dict[str, list[Took]]] = {
            job.name: {client: [] for client in clients} for job in jobs
        }
        for number in range(rounds):
            for job in jobs:
                # Whoever comes first in one round comes last in another.
                first = number % len(clients)
                for client in clients[first:] + clients[:first]:
                    took[job.name][client].append(bench.run(client, job))
    return {job.name: summary(job, took[job.name]) for job in jobs}


def summary(job: Job, took: dict[str, list[Took]]) -> dict[str, Any]:
    """Returns what a job's transfers took, and how the clients compare."""

    def median(client: str, value: Callable[[Took], float]) -> float:
        return statistics.median(value(each) for each in took[client])

    unit = "bytesPerSecond" if job.name.startswith("large") else "filesPerSecond"
    results: dict[str, Any] = {
        client: {
            "medianSeconds": round(median(client, lambda each: each.seconds), 2),
            unit: round(job.units / median(client, lambda each: each.seconds)),
            "peakBytes": max(each.peak_bytes for each in took[client]),
        }
        for client in took
    }
    inner = [each.inner_seconds for each in took["ours"] if each.inner_seconds is not None]
    results["ours"]["medianSecondsWithoutStart"] = round(statistics.median(inner), 2)
    for client in took:
        if client != "ours":
            ratios = [
                b.seconds / a.seconds for a, b in zip(took["ours"], took[client], strict=True)
            ]
            results[f"ratio to {client}"] = round(statistics.median(ratios), 3)
    results["goal"] = {"ratio to aws s3 cp, crt": _GOAL, "peakBytes": _GOAL_BYTES}
    return results


def main() -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large-bytes", type=int, default=2_000_000_000)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--aws", default="/usr/bin/aws", help="version 2 of the command line")
    parser.add_argument("--folder", type=Path, help="where there is room; default: temporary")
    parser.add_argument("--only", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        only(*options.only)
        return 0
    version = subprocess.run([options.aws, "--version"], capture_output=True, text=True, check=True)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        results = measure(
            Path(folder), options.large_bytes, options.files, options.rounds, options.aws
        )
    shape = {
        "largeBytes": options.large_bytes,
        "files": options.files,
        "fileBytes": _SMALL_BYTES,
        "rounds": options.rounds,
        "server": f"versitygw {VERSION}",
        "client": version.stdout.strip(),
    }
    machine = {**hardware(), "load": round(os.getloadavg()[0], 1)}
    print(json.dumps({"shape": shape, "results": results, "machine": machine}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
