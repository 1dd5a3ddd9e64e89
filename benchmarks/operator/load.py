"""Load for an operator: experiments made many at a time, and when their Jobs were seen."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import yaml
from tests.cluster.access import Cluster

from sparse_transfer_api.contract import API_VERSION, KIND, LABEL_EXPERIMENT, PLURAL
from sparse_transfer_operator.projection import DEFAULT_QUEUE_LABEL

_CLIENTS = 8
_METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_WATCH_SECONDS = 3600
_JOBS_SECONDS = 600


@dataclass
class Load:
    """Makes experiments and watches their Jobs; times are of one monotonic clock.

    Args:
        session: Logged in as the administrator.
        server: The API server's address.
        namespace: Where the experiments are.
    """

    session: aiohttp.ClientSession
    server: str
    namespace: str
    asked: dict[str, float] = field(default_factory=dict)
    """When an experiment's creation was sent, by its name."""
    jobs: dict[str, float] = field(default_factory=dict)
    """When the first Job of an experiment was seen."""
    watching: asyncio.Task[None] | None = None
    """Whoever notes that."""

    async def create(self, names: Iterable[str], duration: str | None) -> float:
        """Makes experiments by a few clients at a time; returns the seconds that it took.

        Args:
            names: Of the experiments.
            duration: Of each of their pods; None for Jobs that wait in a queue, without pods.
        """
        places = asyncio.Semaphore(_CLIENTS)
        begin = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for name in names:
                group.create_task(self._create(name, duration, places))
        return time.monotonic() - begin

    async def wait_for_jobs(self, names: Iterable[str]) -> None:
        """Waits until a Job of each was seen."""
        missing = set(names)
        async with asyncio.timeout(_JOBS_SECONDS):
            while missing := {name for name in missing if name not in self.jobs}:
                assert self.watching is not None
                if self.watching.done():
                    self.watching.result()
                await asyncio.sleep(0.002 if len(missing) < 10 else 0.02)

    async def watch_jobs(self, ready: asyncio.Event) -> None:
        """Notes when each experiment's first Job was made."""
        path = f"{self.server}/apis/batch/v1/namespaces/{self.namespace}/jobs"
        async with self.session.get(f"{path}?limit=1", headers={"Accept": _LIST}) as answer:
            version = int((await answer.json())["metadata"]["resourceVersion"])
        while True:
            # The API server ends the watch of a client that is too slow for it: it goes on then.
            query = f"watch=true&resourceVersion={version}&timeoutSeconds={_WATCH_SECONDS}"
            async with self.session.get(f"{path}?{query}", headers={"Accept": _METADATA}) as answer:
                assert answer.status == 200, await answer.text()
                ready.set()
                rest = b""
                async for data in answer.content.iter_any():
                    now = time.monotonic()
                    *lines, rest = (rest + data).split(b"\n")
                    version = max((self._note(line, now) for line in lines), default=version)

    def _note(self, line: bytes, now: float) -> int:
        """Notes what a line tells of; returns its version."""
        event = json.loads(line)
        assert event["type"] != "ERROR", event["object"]
        meta = event["object"]["metadata"]
        if event["type"] == "ADDED":
            self.jobs.setdefault(meta["labels"].get(LABEL_EXPERIMENT), now)
        return int(meta["resourceVersion"])

    async def _create(self, name: str, duration: str | None, places: asyncio.Semaphore) -> None:
        path = f"{self.server}/apis/{API_VERSION}/namespaces/{self.namespace}/{PLURAL}"
        async with places:
            self.asked[name] = time.monotonic()
            async with self.session.post(path, json=document(name, duration)) as answer:
                assert answer.status == 201, await answer.text()


def document(name: str, duration: str | None) -> dict[str, Any]:
    """Returns an experiment whose simulated pods run for so long, or whose Jobs are queued."""
    spec: dict[str, Any] = {
        "useCase": "sentiment-analysis",
        "data": {"uri": "s3://bucket/reviews/"},
        "model": {"uri": "s3://bucket/foundation/"},
    }
    metadata: dict[str, Any] = {"name": name}
    if duration is None:
        metadata["labels"] = {DEFAULT_QUEUE_LABEL: "nobody-admits"}
    else:
        spec["template"] = {"annotations": {"sim/duration": duration}}
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec}


@asynccontextmanager
async def load_on(cluster: Cluster, namespace: str) -> AsyncIterator[Load]:
    """Logs in to a cluster, and watches the Jobs of a namespace until the block ends."""
    user = yaml.safe_load(cluster.kubeconfig.read_text())["users"][0]["user"]
    connector = aiohttp.TCPConnector(
        limit=0, ssl=ssl.create_default_context(cafile=str(cluster.ca))
    )
    async with aiohttp.ClientSession(
        connector=connector,
        headers={"Authorization": f"Bearer {user['token']}"},
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
    ) as session:
        load = Load(session, cluster.server, namespace)
        ready = asyncio.Event()
        load.watching = watching = asyncio.create_task(load.watch_jobs(ready))
        try:
            async with asyncio.timeout(30):
                await ready.wait()
            yield load
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
