"""/healthz, /livez, /readyz and /metrics over HTTP.

Liveness means that the event loop turns: the answer itself is the proof. No task can be dead
behind it, as the daemon ends with the first task that ends. A slow sync is a metric, never a reason
to restart. Readiness means in sync, proved, and told of changes; a no says why.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from enforcer.errors import SettingsError
from enforcer.metrics import Metrics


@dataclass(slots=True)
class Health:
    """What the daemon knows of itself. Written by the loop, read by the HTTP handlers."""

    waiting_for: list[str] = field(default_factory=lambda: ["the first sync"])
    """Reasons for not being ready that the last sync gave; empty when it gave none."""

    unfollowed: Callable[[], list[str]] = list
    """Finds reasons that come with time: kinds whose changes nobody tells any more."""

    before_scrape: Callable[[], Awaitable[None]] | None = None
    """Brings metrics up to date that are read from the kernel only when somebody asks."""

    @property
    def reasons(self) -> list[str]:
        """All reasons for not being ready."""
        return [*self.waiting_for, *self.unfollowed()]

    @property
    def ready(self) -> bool:
        """Whether the node enforces the cluster's policies as they are now."""
        return not self.reasons


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
        return web.Response(text="ok\n")

    async def ready(_request: web.Request) -> web.Response:
        reasons = "".join(f"waiting for {reason}\n" for reason in health.reasons)
        return web.Response(status=503 if reasons else 200, text=reasons or "ok\n")

    async def expose(_request: web.Request) -> web.Response:
        if health.before_scrape is not None:
            await health.before_scrape()
        body = generate_latest(metrics.registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    application = web.Application()
    application.router.add_get("/healthz", live)
    application.router.add_get("/livez", live)
    application.router.add_get("/readyz", ready)
    application.router.add_get("/metrics", expose)
    return application


_ANSWER_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a daemon answers: why it is not ready (empty: it is), and its metrics as text."""

    waiting_for: tuple[str, ...]
    metrics: str


_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104


def reachable(address: str) -> str:
    """Return where a daemon on this node answers that serves on ``address``."""
    return _LOOPBACK.get(address, address)


async def ask(address: str, port: int) -> Answer | None:
    """Ask the daemon that serves there; None where nobody answers as one does."""
    timeout = aiohttp.ClientTimeout(total=_ANSWER_SECONDS)
    base = f"http://{f'[{address}]' if ':' in address else address}:{port}"
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session:
            async with session.get(f"{base}/readyz") as answer:
                reasons = await answer.text() if answer.status != web.HTTPOk.status_code else ""
            async with session.get(f"{base}/metrics") as answer:
                metrics = await answer.text()
    except (aiohttp.ClientError, TimeoutError, OSError, UnicodeDecodeError):
        return None
    if "enforcer_ready" not in metrics:
        return None  # another program's port
    told = (line.removeprefix("waiting for ") for line in reasons.splitlines())
    return Answer(tuple(told), metrics)
