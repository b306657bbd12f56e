"""/healthz, /livez, /readyz and /metrics over HTTP.

Liveness means that the loop turns: the answer itself is the proof, and a sync task that has
ended is the one reason for a no. A slow sync is a metric, never a reason to restart. Readiness
means in sync and proved, and a no says why.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from enforcer.errors import SettingsError
from enforcer.metrics import Metrics


@dataclass(slots=True)
class Health:
    """What the daemon knows of itself. Written by the loop, read by the HTTP handlers."""

    alive: Callable[[], bool] = lambda: True
    waiting_for: list[str] = field(default_factory=lambda: ["the first sync"])
    """Reasons for not being ready; empty when ready."""

    @property
    def ready(self) -> bool:
        """Whether the node enforces the cluster's policies as they are now."""
        return not self.waiting_for


@asynccontextmanager
async def serve(health: Health, metrics: Metrics, address: str, port: int) -> AsyncIterator[None]:
    """Serve the endpoints while the context lasts; SettingsError when the port is taken."""
    runner = web.AppRunner(_application(health, metrics), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, address, port).start()
    except OSError as error:
        await runner.cleanup()
        message = (
            f"--health-port: cannot listen on {address}:{port}: {error.strerror}. "
            "Another enforcer (or kube-router) on this node? Stop it, or choose another port"
        )
        raise SettingsError(message) from error
    try:
        yield
    finally:
        await runner.cleanup()


def _application(health: Health, metrics: Metrics) -> web.Application:
    async def live(_request: web.Request) -> web.Response:
        if health.alive():
            return web.Response(text="ok\n")
        return web.Response(status=503, text="the sync loop has ended\n")

    async def ready(_request: web.Request) -> web.Response:
        if health.ready:
            return web.Response(text="ok\n")
        reasons = "".join(f"waiting for {reason}\n" for reason in health.waiting_for)
        return web.Response(status=503, text=reasons)

    async def expose(_request: web.Request) -> web.Response:
        body = generate_latest(metrics.registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    application = web.Application()
    application.router.add_get("/healthz", live)
    application.router.add_get("/livez", live)
    application.router.add_get("/readyz", ready)
    application.router.add_get("/metrics", expose)
    return application
