"""The node agent's side of the Kubernetes API: list and watch, create, patch and delete."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Self

import aiohttp
import msgspec

Object = dict[str, Any]
_MERGE_PATCH = {"Content-Type": "application/merge-patch+json"}
_LONGEST_LINE = 1 << 24
_RETRY_SECONDS = 0.2
_ATTEMPTS = 4
_GONE, _NOT_FOUND, _CONFLICT = 410, 404, 409


class Refused(Exception):  # noqa: N818  # it says what the server did
    """The API server answered with a failure."""

    def __init__(self, status: int, what: str, message: str) -> None:
        """Remember the HTTP status code."""
        super().__init__(f"{what}: {status} {message}")
        self.status = status


@dataclass(frozen=True, slots=True)
class Event:
    """A change of one object, or (with no object) the end of a list: ``SYNCED``."""

    kind: str
    object: Object


class Api:
    """A client of one API server; use it as an async context manager."""

    def __init__(self, server: str, tls: ssl.SSLContext | None = None) -> None:
        """Remember the server's URL, and for a real one who we are."""
        self._server = server
        self._tls = tls

    async def __aenter__(self) -> Self:
        """Open the connection pool."""
        self._session = aiohttp.ClientSession(
            self._server,
            connector=aiohttp.TCPConnector(limit=64, ssl=self._tls or True),
            timeout=aiohttp.ClientTimeout(total=60),
            read_bufsize=_LONGEST_LINE,
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Close it."""
        await self._session.close()

    async def get(self, path: str, **query: str) -> Object:
        """Read an object or a list."""
        return await self._send("GET", path, params=query)

    async def create(self, path: str, body: Object) -> Object:
        """Create an object; one that exists already is returned as it is."""
        try:
            return await self._send("POST", path, json=body)
        except Refused as refused:
            if refused.status != _CONFLICT:
                raise
            return await self.get(f"{path}/{body['metadata']['name']}")

    async def patch(self, path: str, body: Object) -> Object | None:
        """Apply a JSON merge patch; None when the object is gone."""
        return await self._unless_gone(
            self._send("PATCH", path, data=msgspec.json.encode(body), headers=_MERGE_PATCH)
        )

    async def delete(self, path: str, body: Object) -> None:
        """Delete an object; fine when it is gone, or is another one by now (409)."""
        await self._unless_gone(self._send("DELETE", path, json=body))

    async def _unless_gone(self, sending: Awaitable[Object]) -> Object | None:
        try:
            return await sending
        except Refused as refused:
            if refused.status in {_NOT_FOUND, _CONFLICT}:
                return None
            raise

    async def _send(self, method: str, path: str, **options: Any) -> Object:
        for _ in range(_ATTEMPTS - 1):
            with contextlib.suppress(aiohttp.ClientConnectionError):
                return await self._send_once(method, path, **options)
            await asyncio.sleep(_RETRY_SECONDS)
        return await self._send_once(method, path, **options)

    async def _send_once(self, method: str, path: str, **options: Any) -> Object:
        async with self._session.request(method, path, **options) as response:
            data = await response.read()
            if response.status >= 400:  # noqa: PLR2004  # HTTP: client and server errors
                raise Refused(response.status, f"{method} {path}", data.decode()[:300])
            answer: Object = msgspec.json.decode(data)
            return answer

    async def watch(self, path: str, version: str) -> AsyncIterator[Event]:
        """Yield the changes after ``version``, bookmarks included, until the server ends it."""
        query = {"watch": "true", "resourceVersion": version, "allowWatchBookmarks": "true"}
        forever = aiohttp.ClientTimeout(total=None, sock_connect=10)
        async with self._session.get(path, params=query, timeout=forever) as response:
            if response.status != 200:  # noqa: PLR2004  # HTTP: OK
                text = (await response.text())[:300]
                raise Refused(response.status, f"watch {path}", text)
            async for line in response.content:
                if line.strip():
                    change = msgspec.json.decode(line)
                    yield Event(change["type"], change["object"])


class Reflector:
    """Lists one resource and follows it: tells every change once, deletions included."""

    def __init__(self, api: Api, path: str, tell: Callable[[Event], None]) -> None:
        """Remember what to follow and whom to tell."""
        self._api = api
        self._path = path
        self._tell = tell
        self._known: dict[str, Object] = {}
        self.version = 0
        """The newest resourceVersion seen."""

    async def run(self) -> None:
        """Follow the resource for ever; a lost connection or history is taken up again."""
        while True:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError, Refused):
                await self._list()
                await self._follow()
            await asyncio.sleep(_RETRY_SECONDS)

    async def _list(self) -> None:
        answer = await self._api.get(self._path)
        items = {item["metadata"]["uid"]: item for item in answer["items"]}
        for uid in self._known.keys() - items.keys():
            self._note(Event("DELETED", self._known[uid]))
        for uid, item in items.items():
            self._note(Event("MODIFIED" if uid in self._known else "ADDED", item))
        self.version = int(answer["metadata"]["resourceVersion"])
        self._tell(Event("SYNCED", {}))

    async def _follow(self) -> None:
        while True:
            async for event in self._api.watch(self._path, str(self.version)):
                if event.kind == "ERROR":
                    if event.object.get("code") == _GONE:
                        return
                    raise Refused(int(event.object.get("code", 500)), self._path, str(event.object))
                self.version = int(event.object["metadata"]["resourceVersion"])
                if event.kind != "BOOKMARK":
                    self._note(event)

    def _note(self, event: Event) -> None:
        uid = event.object["metadata"]["uid"]
        if event.kind == "DELETED":
            self._known.pop(uid, None)
        else:
            self._known[uid] = event.object
        self._tell(event)
