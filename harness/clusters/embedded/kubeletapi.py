"""What a kubelet serves to the API server on its node: container logs, over TLS.

``kubectl exec``, ``attach`` and ``port-forward`` do not come this far: the API server is told to
refuse them with a sentence (:mod:`refusals`).
"""

from __future__ import annotations

import asyncio
import io
import socket
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from aiohttp import web

from harness.clusters.embedded.namespaces import enter_network
from harness.clusters.embedded.pki import KUBELET_CLIENT, Pki

PORT = 10250
_FOLLOW_SECONDS = 0.2
_CHUNK = 1 << 16
_UNKNOWN_QUERY = ("sinceSeconds", "sinceTime", "timestamps")
"""Lines carry no time of their own here."""


def server_in(netns: str, address: str) -> socket.socket:
    """Return a listening socket of a node; the calling thread is in its namespace from then on."""
    enter_network(netns)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.create_server((address, PORT), family=family)


class Logs(Protocol):
    """Who knows where containers write to."""

    def log_of(self, namespace: str, pod: str, container: str) -> Path | None:
        """Return a container's log; None where there is no such container."""


class KubeletApi:
    """Serves every node of a cluster."""

    def __init__(self, logs: Logs) -> None:
        """Answer from these logs."""
        self._logs = logs

    async def serve(self, pki: Pki, sockets: Sequence[socket.socket]) -> None:
        """Serve on listening sockets, one in each node's namespace, until cancelled."""
        application = web.Application(middlewares=[_api_server_only])
        application.router.add_get(
            "/containerLogs/{namespace}/{pod}/{container}", self._container_logs
        )
        application.router.add_get("/healthz", _healthy)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        tls = _server_context(pki)
        for listening in sockets:
            await web.SockSite(runner, listening, ssl_context=tls).start()
        try:
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()

    async def _container_logs(self, request: web.Request) -> web.StreamResponse:
        names = request.match_info
        wanted = [key for key in _UNKNOWN_QUERY if request.query.get(key) not in (None, "false")]
        if wanted:
            text = f"not known here: {', '.join(wanted)}; try kubectl logs --tail=N\n"
            return web.Response(status=400, text=text)
        log = self._logs.log_of(names["namespace"], names["pod"], names["container"])
        if log is None:
            text = f"no container {names['container']} in {names['namespace']}/{names['pod']}\n"
            return web.Response(status=404, text=text)
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        await _send_log(response, log, request.query)
        await response.write_eof()
        return response


async def _healthy(request: web.Request) -> web.Response:
    del request
    return web.Response(text="ok")


@web.middleware
async def _api_server_only(request: web.Request, handler: Any) -> web.StreamResponse:
    """Refuse every other client of the cluster's authority."""
    certificate = request.get_extra_info("peercert") or {}
    names = {value for part in certificate.get("subject", ()) for _, value in part}
    if KUBELET_CLIENT not in names:
        return web.Response(status=403, text="only the API server may ask a kubelet\n")
    answer: web.StreamResponse = await handler(request)
    return answer


def _server_context(pki: Pki) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(pki.ca))
    context.load_cert_chain(*map(str, pki.pair("kubelet")))
    context.verify_mode = ssl.CERT_REQUIRED
    return context


async def _send_log(response: web.StreamResponse, log: Path, query: Mapping[str, str]) -> None:
    """Send a log as ``tailLines``, ``limitBytes`` and ``follow`` ask for."""
    left = int(query.get("limitBytes", 1 << 62))
    with _opened(log) as file:
        if "tailLines" in query:
            file.seek(_start_of_tail(file, int(query["tailLines"])))
        while left > 0:
            data = file.read(min(_CHUNK, left))
            left -= len(data)
            if data:
                await response.write(data)
            elif query.get("follow") == "true":
                await asyncio.sleep(_FOLLOW_SECONDS)
            else:
                return


def _opened(log: Path) -> BinaryIO:
    """Open a log; one that nobody has written to yet is empty."""
    try:
        return log.open("rb")
    except FileNotFoundError:
        return io.BytesIO()


def _start_of_tail(file: BinaryIO, lines: int) -> int:
    """Return where the last lines of a file begin, reading it backwards."""
    position = file.seek(0, 2)
    if position == 0 or lines == 0:
        return int(position)
    seen = 0
    end = position
    while position > 0:
        size = min(_CHUNK, position)
        position -= size
        file.seek(position)
        block = file.read(size)
        for offset in range(len(block) - 1, -1, -1):
            if block[offset] == ord("\n") and position + offset != end - 1:
                seen += 1
                if seen == lines:
                    return int(position + offset + 1)
    return 0
