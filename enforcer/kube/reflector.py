"""List, watch, resume: the API's objects as a stream of changes that never ends.

https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes

A kind is listed in pages, then watched from the list's resourceVersion. Whatever ends a watch, the
next one goes on from the last version that was seen (each event and each bookmark carries one).
Only where that cannot work is the kind listed again: the version is gone (410), the server says
so, or an event could not be read and nobody knows what it was about. A list in which a policy's
namespace cannot be read is listed again and again until it can.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Never

from enforcer.errors import ApiError, DecodeError
from enforcer.kube.backoff import Backoff
from enforcer.kube.client import Api
from enforcer.kube.decode import Page, decode_page
from enforcer.kube.events import WatchError, decode_event
from enforcer.kube.failures import GONE, StalledError, StatusError, UnreachableError
from enforcer.kube.outage import Outage
from enforcer.model.changes import Change, Kind, Object, Replaced, Unreadable
from enforcer.model.objects import Policy

logger = logging.getLogger(__name__)

OnChange = Callable[[Change], None]
OnHeard = Callable[[Kind], None]
OnFollowed = Callable[[Kind, str], None]
"""Told of a kind why its changes are not followed; an empty text: they are again."""


def _ignore(*_: object) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Timing:
    """Waits and sizes. Each default says why."""

    page_size: int = 500
    """Objects a page, as kubectl asks for: bounds memory here and in the API server."""

    watch_seconds: int = 300
    """A watch is ended by the server after this to twice this: so load moves to a new server."""

    stall_seconds: float = 90.0
    """Silence after which a watch is taken for dead. The API server sends a bookmark a minute;
    where a server sends none, watching again from the same version costs next to nothing."""

    backoff_first: float = 0.25
    """The first wait after a failure, in seconds: a policy is late by no more than that."""

    reminder: float = 60.0
    """Seconds between two warnings of one outage of the API server."""

    backoff_most: float = 10.0
    """The longest wait, in seconds; a hundred nodes then ask a server in trouble 60 times a s."""

    longest_wish: float = 60.0
    """The longest wait, in seconds, that is granted to who asks for one (Retry-After): what answers
    in an API server's place for a moment may ask for a day, and changes would wait so long."""

    short_watch: float = 1.0
    """A watch that ends before this, in seconds, counts as a failure: never turn hot."""

    healthy_watch: float = 5.0
    """After a watch that lived this long, in seconds, the next wait is the first one again."""


DEFAULT_TIMING = Timing()


async def watch_cluster(
    client: Api,
    on_change: OnChange,
    timing: Timing = DEFAULT_TIMING,
    on_heard: OnHeard = _ignore,
    on_followed: OnFollowed = _ignore,
) -> Never:
    """Tell every change of every kind to ``on_change``, in the order of each kind; never ends.

    The first change of each kind is a ``Replaced``. Failures are logged and tried again.
    ``on_heard`` is told whenever the server says anything of a kind, be it a bookmark, and
    ``on_followed`` when a watch is taken or fails.
    """
    listeners = _Listeners(on_change, on_heard, on_followed, Outage(timing.reminder))
    async with asyncio.TaskGroup() as group:
        for kind in Kind:
            reflector = _Reflector(kind, client, timing, listeners)
            group.create_task(reflector.run(), name=kind.value)
    raise AssertionError("a reflector has ended")


@dataclass(frozen=True, slots=True)
class _Listeners:
    """Who is told what the reflectors see."""

    on_change: OnChange
    on_heard: OnHeard
    on_followed: OnFollowed
    outage: Outage


class _Reflector:
    """Mirrors one kind."""

    def __init__(self, kind: Kind, client: Api, timing: Timing, listeners: _Listeners) -> None:
        self._kind = kind
        self._client = client
        self._timing = timing
        self._listeners = listeners
        self._backoff = Backoff(timing.backoff_first, timing.backoff_most)
        self._version = ""
        """Where to go on watching; empty: list first."""

    async def run(self) -> Never:
        while True:
            try:
                if not self._version:
                    await self._list()
                await self._watch()
            except (ApiError, DecodeError) as error:
                await self._recover(error)

    async def _recover(self, error: ApiError | DecodeError) -> None:
        """Decide where to go on, and wait."""
        if _needs_list(error):
            self._version = ""
        wish = error.retry_after if isinstance(error, StatusError) else 0.0
        wait = self._backoff.next(at_least=min(wish, self._timing.longest_wish))
        then = "go on" if self._version else "list"
        self._listeners.on_followed(self._kind, str(error))
        match error:
            case StalledError():
                logger.info("%s; %s again in %.1f s", error, then, wait)
            case UnreachableError():
                self._listeners.outage.failed(self._kind, error)
            case _:
                logger.warning("%s; %s again in %.1f s", error, then, wait)
        await asyncio.sleep(wait)

    async def _list(self) -> None:
        try:
            objects, version = await self._pages(self._timing.page_size)
        except StatusError as error:
            if error.code != GONE:
                raise
            # The pages took longer than the server keeps their version: ask for one great page.
            objects, version = await self._pages(0)
        if not version:
            raise DecodeError(f"the list of {self._kind.value} has no resourceVersion")
        self._listeners.on_change(Replaced(self._kind, tuple(objects)))
        self._version = version
        self._listeners.outage.answered(self._kind)
        self._listeners.on_heard(self._kind)
        logger.info("listed %d %s", len(objects), self._kind.value)
        for item in objects:
            if isinstance(item, Policy) and not item.is_placed:
                # It denies every pod. No event of a watch would be known for its next version.
                raise DecodeError(f"the list of {self._kind.value} has {item.key}: {item.problem}")

    async def _pages(self, size: int) -> tuple[list[Object | Unreadable], str]:
        objects: list[Object | Unreadable] = []
        page = await self._page(size, "")
        objects.extend(page.objects)
        while page.next_page:
            page = await self._page(size, page.next_page)
            objects.extend(page.objects)
        return objects, page.version

    async def _page(self, size: int, token: str) -> Page:
        query = {"limit": str(size)} if size else {}
        if token:
            query["continue"] = token
        return decode_page(self._kind, await self._client.list_page(self._kind, query))

    async def _watch(self) -> None:
        """Watch until the server ends it in order; what then is missed, the next watch brings."""
        seconds = self._timing.watch_seconds * random.uniform(1.0, 2.0)  # noqa: S311  # jitter
        query = {
            "resourceVersion": self._version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(int(seconds)),
        }
        started = time.monotonic()
        stall = self._timing.stall_seconds
        try:
            async with aclosing(self._client.watch(self._kind, query, stall)) as lines:
                async for line in lines:
                    if line:
                        self._take(line)
                    else:
                        self._taken()
        finally:
            age = time.monotonic() - started
            if age >= self._timing.healthy_watch:
                self._backoff.reset()
        if age < self._timing.short_watch:
            raise ApiError(f"the watch of {self._kind.value} was ended at once")
        self._backoff.reset()

    def _taken(self) -> None:
        """Note that the server follows: not heard of, as it may take a watch and tell nothing."""
        self._listeners.outage.answered(self._kind)
        self._listeners.on_followed(self._kind, "")

    def _take(self, line: bytes) -> None:
        event = decode_event(self._kind, line)
        if isinstance(event, WatchError):
            raise _WatchEndedError(self._kind, event)
        if event.change is not None:
            self._listeners.on_change(event.change)
        self._version = event.version or self._version
        self._listeners.on_heard(self._kind)


class _WatchEndedError(ApiError):
    """The server ended a watch with an ERROR event."""

    def __init__(self, kind: Kind, event: WatchError) -> None:
        super().__init__(f"the watch of {kind.value} was ended: {event.code}: {event.message}")


def _needs_list(error: ApiError | DecodeError) -> bool:
    match error:
        case StatusError():
            return error.needs_list
        case _WatchEndedError() | DecodeError():
            return True
        case _:
            return False
