"""How fast the builtin control plane is: ``python tests/cluster/bench_api_server.py``.

Two questions: 8,000 pods created and their status set, while 2 watchers follow; then 100 watchers
at once that list everything and watch on. Prints seconds; asserts that nobody missed anything.
"""

# ruff: noqa: T201  # a program whose product is what it prints
from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import aiohttp
import msgspec

PODS = "/api/v1/pods"
NODES = 100
WRITERS = 16


class _Status(msgspec.Struct, frozen=True):
    phase: str = ""


class _Object(msgspec.Struct, frozen=True):
    metadata: dict[str, object]
    status: _Status = _Status()


class _Event(msgspec.Struct, frozen=True):
    type: str
    object: _Object


class _List(msgspec.Struct, frozen=True):
    metadata: dict[str, object]
    items: list[_Object]


@contextmanager
def _server() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        module = "harness.clusters.embedded.apiserver"
        fd = listening.fileno()
        argv = [sys.executable, "-m", module, "--listen-fd", str(fd)]
        process = subprocess.Popen(argv, pass_fds=[fd])
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            print(f"server: {_rss(process.pid)} MiB resident")
            process.send_signal(signal.SIGTERM)
            process.wait()


def _rss(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 2**20


@asynccontextmanager
async def _client(base: str) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(
        base, connector=connector, timeout=timeout, raise_for_status=True, read_bufsize=2**22
    ) as client:
        yield client


def _pod(number: int) -> dict[str, object]:
    env = [{"name": f"SETTING_{n}", "value": "x" * 40} for n in range(10)]
    return {
        "metadata": {
            "name": f"web-{number}",
            "labels": {"app": f"service-{number // 8}", "tier": "web"},
        },
        "spec": {
            "nodeName": f"node-{number % NODES}",
            "containers": [
                {"name": "nginx", "image": "nginx", "ports": [{"containerPort": 80}], "env": env}
            ],
        },
    }


def _status(number: int) -> dict[str, object]:
    address = f"10.244.{number // 250}.{number % 250 + 1}"
    return {
        "status": {
            "phase": "Running",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": "nginx", "ready": True, "restartCount": 0}],
        }
    }


async def _write(client: aiohttp.ClientSession, numbers: Iterator[int]) -> None:
    merge = {"Content-Type": "application/merge-patch+json"}
    path = "/api/v1/namespaces/default/pods"
    for number in numbers:
        async with client.post(path, json=_pod(number)):
            pass
        status = f"{path}/web-{number}/status"
        async with client.patch(status, data=msgspec.json.encode(_status(number)), headers=merge):
            pass


async def _watch(client: aiohttp.ClientSession, version: str, running: int) -> None:
    """Follow until as many pods run as expected."""
    seen: set[object] = set()
    query = {"watch": "1", "resourceVersion": version}
    async with client.get(PODS, params=query) as response:
        async for line in response.content:
            event = msgspec.json.decode(line, type=_Event)
            if event.object.status.phase == "Running":
                seen.add(event.object.metadata["name"])
            if len(seen) == running:
                return


async def _list_and_watch(base: str, count: int, marker: asyncio.Event) -> tuple[float, float]:
    """List everything, then watch until the marker pod shows up.

    Returns the seconds that the list took, and the time at which the pod was seen.
    """
    begin = time.perf_counter()
    async with _client(base) as client:
        async with client.get(PODS) as response:
            found = msgspec.json.decode(await response.read(), type=_List)
        listed = time.perf_counter() - begin
        assert len(found.items) == count, len(found.items)
        query = {"watch": "1", "resourceVersion": str(found.metadata["resourceVersion"])}
        async with client.get(PODS, params=query) as response:
            marker.set()
            event = msgspec.json.decode(await response.content.readline(), type=_Event)
            seen = time.perf_counter()
            assert event.object.metadata["name"] == "web-marker"
    return listed, seen


async def _ready(base: str) -> None:
    async with asyncio.timeout(30), _client(base) as client, client.get("/readyz"):
        return


async def _measure(base: str, pods: int, watchers: int) -> None:
    await _ready(base)
    async with _client(base) as client:
        async with client.get(PODS) as response:
            version = msgspec.json.decode(await response.read(), type=_List).metadata
        following = [
            asyncio.create_task(_watch(client, str(version["resourceVersion"]), pods))
            for _ in range(2)
        ]
        begin = time.perf_counter()
        numbers = iter(range(pods))
        await asyncio.gather(*(_write(client, numbers) for _ in range(WRITERS)))
        written = time.perf_counter() - begin
        await asyncio.gather(*following)
        seen = time.perf_counter() - begin
        print(f"{pods} pods created and their status set: {written:.1f} s")
        print(f"2 watchers have seen all of them:         {seen:.1f} s")
        await _measure_late_watchers(base, client, pods, watchers)


async def _measure_late_watchers(
    base: str, client: aiohttp.ClientSession, pods: int, watchers: int
) -> None:
    begin = time.perf_counter()
    markers = [asyncio.Event() for _ in range(watchers)]
    late = [asyncio.create_task(_list_and_watch(base, pods, marker)) for marker in markers]
    await asyncio.gather(*(marker.wait() for marker in markers))
    watching = time.perf_counter() - begin
    pod = _pod(0) | {"metadata": {"name": "web-marker"}}
    begin = time.perf_counter()
    async with client.post("/api/v1/namespaces/default/pods", json=pod):
        pass
    ends = await asyncio.gather(*late)
    slowest = max(listed for listed, _ in ends)
    told = max(seen for _, seen in ends) - begin
    print(f"{watchers} more watchers have listed:            {slowest:.1f} s (slowest)")
    print(f"and watch:                                {watching:.1f} s")
    print(f"one new pod has reached all of them:      {told * 1000:.0f} ms")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pods", type=int, default=8000)
    parser.add_argument("--watchers", type=int, default=100)
    options = parser.parse_args()
    with _server() as base:
        asyncio.run(_measure(base, options.pods, options.watchers))


if __name__ == "__main__":
    main()
