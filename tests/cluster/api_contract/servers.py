"""Control planes to be judged, and raw HTTP to talk to them."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import yaml

from harness.clusters.embedded.cluster import EmbeddedCluster
from harness.clusters.embedded.pki import Client, Pki, client_context
from harness.clusters.embedded.settings import Shape
from harness.controlplane.programs import Programs, find
from tests.cluster.api_contract.objects import NOBODY

Json = dict[str, Any]
JSON = "application/json"
MAX_LINE = 4 * 1024 * 1024
"""Bytes of an event that a watch may read."""

SECONDS = 20.0
"""Upper bound of everything that is waited for."""


@dataclass(frozen=True)
class ControlPlane:
    """A running API server."""

    kind: str
    url: str
    kubeconfig: Path
    tls: ssl.SSLContext | None = None
    """Who one is to it, as its administrator."""


@dataclass(frozen=True)
class Answer:
    """What came back: the HTTP status and the decoded body."""

    code: int
    body: Any
    headers: Any

    @property
    def reason(self) -> str:
        """Return the reason of a Status."""
        assert self.body["kind"] == "Status", self.body
        return str(self.body["reason"])

    @property
    def version(self) -> str:
        """Return the resourceVersion of an object or a list."""
        return str(self.body["metadata"]["resourceVersion"])

    @property
    def names(self) -> list[str]:
        """Return the names in a list."""
        return [item["metadata"]["name"] for item in self.body["items"]]


class Watching:
    """A watch that is open."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        """Read from a response."""
        self._response = response

    async def next(self) -> tuple[str, Json]:
        """Return the type and the object of the next event."""
        line = await self._response.content.readline()
        assert line, "the watch has ended"
        event = msgspec.json.decode(line)
        return event["type"], event["object"]

    async def ended(self) -> bool:
        """Return whether the server ends the watch without another event."""
        return await self._response.content.readline() == b""


class Api:
    """Raw HTTP, so that nothing stands between a test and the server."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        """Use a session whose base is the server."""
        self._session = session

    async def __call__(
        self,
        method: str,
        path: str,
        body: Any = None,
        media: str = "application/json",
        **query: str,
    ) -> Answer:
        """Send a request; the answer is JSON whatever it is."""
        data = None if body is None else json.dumps(body)
        headers = {} if body is None else {"Content-Type": media}
        async with self._session.request(
            method, path, data=data, params=query, headers=headers
        ) as response:
            return Answer(response.status, await response.json(), response.headers)

    async def get_as(self, path: str, accept: str, **query: str) -> tuple[int, str, bytes]:
        """Get with an Accept header of one's own."""
        headers = {"Accept": accept}
        async with self._session.get(path, params=query, headers=headers) as response:
            return response.status, response.content_type, await response.read()

    @asynccontextmanager
    async def watch(self, path: str, **query: str) -> AsyncIterator[Watching]:
        """Open a watch."""
        async with self._session.get(path, params={"watch": "true"} | query) as response:
            assert response.status == 200, await response.text()
            yield Watching(response)


@contextmanager
def builtin(folder: Path, *options: str) -> Iterator[ControlPlane]:
    """Run the builtin control plane."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        fd = str(listening.fileno())
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        module = "harness.clusters.embedded.apiserver"
        process = subprocess.Popen(
            [sys.executable, "-m", module, "--listen-fd", fd, *options],
            pass_fds=[listening.fileno()],
        )
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(_kubeconfig(url)))
    try:
        yield ControlPlane("builtin", url, kubeconfig)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0


def _kubeconfig(url: str) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {"server": url}}],
        "users": [{"name": "test", "user": {}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "current-context": "test",
    }


@contextmanager
def real() -> Iterator[ControlPlane]:
    """Run the real control plane, in an embedded cluster of one node that nobody uses."""
    found = find()
    assert isinstance(found, Programs)
    shape = Shape(
        f"t{os.getpid()}-contract", nodes=1, programs=found.paths, kubernetes=found.version
    )
    with EmbeddedCluster(shape) as cluster:
        # A pod of a node that is not there goes at once; this one is there, and has no kubelet.
        cluster.apply([{"apiVersion": "v1", "kind": "Node", "metadata": {"name": NOBODY}}])
        url = json.loads(cluster.kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
        tls = client_context(Pki(cluster.folder.pki), Client.ADMIN)
        yield ControlPlane("real", url, cluster.kubeconfig, tls)


@asynccontextmanager
async def connect(url: str, tls: ssl.SSLContext | None = None) -> AsyncIterator[Api]:
    """Talk to a server."""
    timeout = aiohttp.ClientTimeout(total=SECONDS)
    connector = aiohttp.TCPConnector(ssl=tls or True)
    async with aiohttp.ClientSession(
        url, timeout=timeout, read_bufsize=MAX_LINE, connector=connector
    ) as session:
        yield Api(session)
