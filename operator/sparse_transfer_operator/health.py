"""What the outside asks the process: metrics, whether it lives, whether it is ready."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from .watches import DEAD_SECONDS

STALLED_SECONDS = 120.0
"""Work that waits for so long while none is done means that the reconciler is stuck."""
DEAF_SECONDS = 60.0
"""A standby that does not hear from the API server for so long is not ready."""


@dataclass(frozen=True)
class Vitals:
    """How the process is doing.

    Args:
        leading: It holds the Lease.
        synced: It has seen all objects since it leads.
        watch_silent_seconds: Since the last sign of life of the most silent watch.
        queue_depth: Experiments that wait to be reconciled.
        queue_stalled_seconds: For how long none was, though some wait.
        lease_silent_seconds: Since the API server last answered about the Lease.
    """

    leading: bool
    synced: bool
    watch_silent_seconds: float
    queue_depth: int
    queue_stalled_seconds: float
    lease_silent_seconds: float

    @property
    def alive(self) -> bool:
        """Whether the watches and the reconciler move; a standby has none."""
        if not self.leading:
            return True
        return (
            self.watch_silent_seconds < DEAD_SECONDS
            and self.queue_stalled_seconds < STALLED_SECONDS
        )

    @property
    def ready(self) -> bool:
        """Whether it reconciles, or could take over."""
        if self.leading:
            return self.synced and self.alive
        return self.lease_silent_seconds < DEAF_SECONDS


class HealthServer:
    """Serves ``/metrics``, ``/healthz`` and ``/readyz``, from the start of the process on.

    Args:
        port: Where to listen; 0 for any.
        registry: Of the metrics.
        vitals: How the process is doing at the moment.
        address: Of the interface to listen on; None for all.
    """

    def __init__(
        self,
        port: int,
        registry: CollectorRegistry,
        vitals: Callable[[], Vitals],
        address: str | None = None,
    ) -> None:
        self._port = port
        self._address = address
        self._registry = registry
        self._vitals = vitals
        self._runner: web.AppRunner | None = None

    async def start(self) -> int:
        """Starts to serve; returns the port.

        Raises:
            OSError: The port is not free.
        """
        app = web.Application()
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._address, self._port, reuse_address=True).start()
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Stops to serve."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _metrics(self, _: web.Request) -> web.Response:
        body = generate_latest(self._registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _healthz(self, _: web.Request) -> web.Response:
        vitals = self._vitals()
        return web.json_response(asdict(vitals), status=200 if vitals.alive else 503)

    async def _readyz(self, _: web.Request) -> web.Response:
        vitals = self._vitals()
        return web.json_response(asdict(vitals), status=200 if vitals.ready else 503)
