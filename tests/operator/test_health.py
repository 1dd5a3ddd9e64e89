"""What probes and scrapes are answered."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Counter

from sparse_transfer_operator.health import DEAF_SECONDS, STALLED_SECONDS, HealthServer, Vitals
from sparse_transfer_operator.watches import DEAD_SECONDS

LEADER = Vitals(
    leading=True,
    synced=True,
    watch_silent_seconds=10,
    queue_depth=5,
    queue_stalled_seconds=0.1,
    lease_silent_seconds=1,
)
STANDBY = replace(LEADER, leading=False, synced=False)


@pytest.mark.parametrize(
    ("vitals", "alive", "ready"),
    [
        (LEADER, 200, 200),
        (replace(LEADER, synced=False), 200, 503),
        (replace(LEADER, watch_silent_seconds=DEAD_SECONDS), 503, 503),
        (replace(LEADER, queue_stalled_seconds=STALLED_SECONDS), 503, 503),
        (STANDBY, 200, 200),
        (replace(STANDBY, watch_silent_seconds=1e9), 200, 200),
        (replace(STANDBY, lease_silent_seconds=DEAF_SECONDS), 200, 503),
    ],
)
def test_probes(vitals: Vitals, alive: int, ready: int) -> None:
    assert asyncio.run(_answers(vitals)) == {"/healthz": alive, "/readyz": ready, "/metrics": 200}


async def _answers(vitals: Vitals) -> dict[str, int]:
    registry = CollectorRegistry()
    Counter("anything", "At all.", registry=registry)
    server = HealthServer(0, registry, lambda: vitals, "127.0.0.1")
    port = await server.start()
    answers = {}
    try:
        async with aiohttp.ClientSession() as session:
            for path in ("/healthz", "/readyz", "/metrics"):
                async with session.get(f"http://127.0.0.1:{port}{path}") as answer:
                    answers[path] = answer.status
                    text = await answer.text()
                    assert ("anything_total" in text) == (path == "/metrics")
    finally:
        await server.stop()
    return answers
