"""The daemon's HTTP endpoints: alive, ready, and why not."""

from __future__ import annotations

import socket

import aiohttp
import pytest

from enforcer.errors import SettingsError
from enforcer.health import Health, serve
from enforcer.metrics import Metrics


def free_port() -> int:
    """Return a TCP port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def get(port: int, path: str) -> tuple[int, str]:
    """GET a path of the health server."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}{path}") as response,
    ):
        return response.status, await response.text()


async def test_not_ready_says_what_it_waits_for() -> None:
    """A daemon that is not in sync is alive, not ready, and says why."""
    port = free_port()

    async with serve(Health(waiting_for=["pods"]), Metrics(), "127.0.0.1", port):
        assert await get(port, "/healthz") == (200, "ok\n")
        assert await get(port, "/readyz") == (503, "waiting for pods\n")


async def test_a_reason_that_comes_with_time_counts_too() -> None:
    """What nobody told at a sync is asked for when somebody wants to know."""
    port = free_port()
    health = Health(waiting_for=[], unfollowed=lambda: ["a watch of pods"])

    async with serve(health, Metrics(), "127.0.0.1", port):
        assert await get(port, "/livez") == (200, "ok\n")
        assert await get(port, "/readyz") == (503, "waiting for a watch of pods\n")


async def test_ready_when_nothing_is_waited_for() -> None:
    """Readiness is the absence of reasons against it."""
    port = free_port()

    async with serve(Health(waiting_for=[]), Metrics(), "127.0.0.1", port):
        assert await get(port, "/readyz") == (200, "ok\n")


async def test_metrics_follow_the_conventions() -> None:
    """Every metric of ours has a help text and the daemon's prefix."""
    port = free_port()

    async with serve(Health(), Metrics(), "127.0.0.1", port):
        _, text = await get(port, "/metrics")

    helps = [line.split()[2] for line in text.splitlines() if line.startswith("# HELP")]
    assert "enforcer_event_to_kernel_seconds" in helps
    assert all(name.startswith(("enforcer_", "process_", "python_")) for name in helps)


async def test_a_taken_port_is_an_error_that_names_the_flag() -> None:
    """Two enforcers on one node are refused clearly."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]

        with pytest.raises(SettingsError, match="--health-port: cannot listen"):
            async with serve(Health(), Metrics(), "127.0.0.1", port):
                pass
