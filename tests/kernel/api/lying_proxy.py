"""A proxy before an API server that drops, stalls, refuses and lies, as a test tells it to."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from aiohttp import ClientResponse, ClientSession, ClientTimeout, web

Json = dict[str, Any]
Answer = tuple[int, dict[str, str]]
"""An HTTP status, and headers."""

KINDS: Final = ("pods", "namespaces", "nodes", "networkpolicies")


class LyingProxy:
    """Stands before ``upstream`` until told otherwise: its attributes are its lies.

    ``refusals``  by kind: the answer to everything that is asked about it
    ``unwatched`` by kind: the answer to every watch of it
    ``token``     the only bearer token that is taken; empty: all are
    ``slow``      seconds before each piece of an answer, which then comes in two halves
    ``alter``     changes each object of a kind on its way
    ``garble``    changes the bytes of a whole list, or of one line of a watch
    ``asked``     what was asked for so far: method, kind, whether as a watch, query
    """

    def __init__(self, upstream: str) -> None:
        """Be honest at first."""
        self._upstream = upstream
        self._connections: set[asyncio.Transport] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._runner: web.AppRunner | None = None
        self.refusals: dict[str, Answer] = {}
        self.unwatched: dict[str, Answer] = {}
        self.token = ""
        self.slow = 0.0
        self.alter: Callable[[str, Json], Json] = lambda _kind, item: item
        self.garble: Callable[[str, bytes], bytes] = lambda _kind, data: data
        self.asked: list[tuple[str, bool, dict[str, str]]] = []

    async def open(self, listener: socket.socket) -> None:
        """Take connections."""
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.SockSite(self._runner, listener).start()

    async def close(self) -> None:
        """Take none any more: connections are refused, and those that are open break off."""
        await self.cut()
        if self._runner is not None:
            await self._runner.cleanup()

    async def cut(self) -> None:
        """Break every connection off."""
        for transport in list(self._connections):
            transport.abort()

    async def stall(self) -> None:
        """Say nothing any more, and keep the connections."""
        self._flowing.clear()

    async def flow(self) -> None:
        """Speak again."""
        self._flowing.set()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        transport = request.transport
        self._connections.add(transport)
        try:
            await self._flowing.wait()
            return await self._honest(request, self._refusal(request))
        finally:
            self._connections.discard(transport)

    def _refusal(self, request: web.Request) -> Answer | None:
        kind = _kind(request.path)
        self.asked.append((kind, "watch" in request.query, dict(request.query)))
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return 401, {}
        if "watch" in request.query and kind in self.unwatched:
            return self.unwatched[kind]
        return self.refusals.get(kind)

    async def _honest(self, request: web.Request, refusal: Answer | None) -> web.StreamResponse:
        if refusal is not None:
            status, headers = refusal
            body = {"kind": "Status", "code": status, "message": f"the proxy says {status}"}
            return web.json_response(body, status=status, headers=headers)
        timeout = ClientTimeout(total=None)
        async with ClientSession(timeout=timeout, auto_decompress=False) as session:
            url = f"{self._upstream}{request.path_qs}"
            sent = await request.read()
            headers = {"Accept": "application/json", "Content-Type": "application/json"}
            asked = session.request(request.method, url, data=sent or None, headers=headers)
            async with asked as upstream:
                return await self._relayed(request, upstream)

    async def _relayed(self, request: web.Request, upstream: ClientResponse) -> web.StreamResponse:
        response = web.StreamResponse(status=upstream.status)
        with suppress(ConnectionError):  # whoever asked is gone
            await response.prepare(request)
            if "watch" in request.query:
                async for line in upstream.content:
                    await self._pass(response, self._line(_kind(request.path), line))
            else:
                whole = self._whole(_kind(request.path), await upstream.read())
                await self._pass(response, whole)
            await response.write_eof()
        return response

    async def _pass(self, response: web.StreamResponse, data: bytes) -> None:
        await self._flowing.wait()
        middle = len(data) // 2 if self.slow else 0
        for part in (data[:middle], data[middle:]):
            await asyncio.sleep(self.slow)
            if part:
                await response.write(part)

    def _line(self, kind: str, line: bytes) -> bytes:
        event = json.loads(line)
        if event["type"] in ("ADDED", "MODIFIED"):
            event["object"] = self.alter(kind, event["object"])
        return self.garble(kind, json.dumps(event).encode() + b"\n")

    def _whole(self, kind: str, body: bytes) -> bytes:
        if not kind:
            return body
        found = json.loads(body)
        for index, item in enumerate(found.get("items") or ()):
            found["items"][index] = self.alter(kind, item)
        return self.garble(kind, json.dumps(found).encode())


def _kind(path: str) -> str:
    """Return the kind that a list or watch of the whole cluster is about; else empty."""
    last = path.rpartition("/")[2]
    return last if last in KINDS and "/namespaces/" not in path else ""
