"""Watches: a history read aloud, one JSON document a line.

https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass

from harness.clusters.embedded.apiserver.errors import ApiError
from harness.clusters.embedded.apiserver.resources import Kind, Object
from harness.clusters.embedded.apiserver.selectors import Selection
from harness.clusters.embedded.apiserver.store import Change, Cursor, Record, Store, encode

BOOKMARK_SECONDS = 60.0
"""Between bookmarks, as a real API server sends them."""

Render = Callable[[Record], bytes]
"""Encodes an object as the client asked for it: as it is, or as a row of a table."""


class Bookmarks(enum.Enum):
    """Whether the client wants to be told how far the history is when nothing happens."""

    NONE = 0
    ALLOWED = 1
    INITIAL_EVENTS_END = 2
    """Also to mark the end of the initial list (``sendInitialEvents``)."""


@dataclass(frozen=True, slots=True)
class Watch:
    """What a client watches and how; version 0: begin with all there is."""

    kind: Kind
    selection: Selection
    version: int
    bookmarks: Bookmarks
    seconds: float
    render: Render


async def stream(store: Store, watch: Watch) -> AsyncGenerator[bytes, None]:
    """Yield a watch's lines until its time is over or its history is lost.

    Lost history (410) is an event in the stream, as a real API server sends it; ApiError (Timeout)
    is raised before the first line where the version was never given out.
    """
    store.require_known(watch.version)
    try:
        cursor = store.follow(watch.kind, watch.version or store.version)
        yield b"".join(_initial(store, watch))
        async for changes in _until(cursor, watch):
            lines = [line for change in changes for line in _lines(change, watch)]
            if not changes and watch.bookmarks is not Bookmarks.NONE:
                lines = [_bookmark(store, watch.kind)]
            if lines:
                yield b"".join(lines)
    except ApiError as error:
        yield _line("ERROR", encode(error.status()))


async def _until(cursor: Cursor, watch: Watch) -> AsyncIterator[Sequence[Change]]:
    """Yield changes as they come, and nothing at each time for a bookmark and at the end."""
    clock = asyncio.get_running_loop()
    end = clock.time() + watch.seconds
    bookmark = clock.time() + BOOKMARK_SECONDS
    while clock.time() < end:
        try:
            async with asyncio.timeout_at(min(end, bookmark)):
                changes = await cursor.next()
        except TimeoutError:
            bookmark = clock.time() + BOOKMARK_SECONDS
            changes = cursor.unread()  # a bookmark must not overtake what came in this very moment
        yield changes


def _initial(store: Store, watch: Watch) -> Iterator[bytes]:
    if not watch.version:
        for record in store.list(watch.kind, watch.selection.namespace):
            if watch.selection.matches(record.value):
                yield _line("ADDED", watch.render(record))
    if watch.bookmarks is Bookmarks.INITIAL_EVENTS_END:
        yield _bookmark(store, watch.kind, {"k8s.io/initial-events-end": "true"})


def _lines(change: Change, watch: Watch) -> Iterator[bytes]:
    """Yield how a change looks to this watcher: entering or leaving its selection counts."""
    matches = watch.selection.matches
    was = change.before is not None and matches(change.before.value)
    if change.after is not None and matches(change.after.value):
        yield _line("MODIFIED" if was else "ADDED", watch.render(change.after))
    elif was and change.before is not None:
        last = change.last if change.after is None else _restamped(change.before, change.version)
        yield _line("DELETED", watch.render(last))


def _restamped(record: Record, version: int) -> Record:
    """Return an object as it last was in a selection, with the version at which it left."""
    value = record.fresh()
    value["metadata"]["resourceVersion"] = str(version)
    return Record(record.key, version, value, encode(value))


def _bookmark(store: Store, kind: Kind, annotations: Object | None = None) -> bytes:
    metadata: Object = {"resourceVersion": str(store.version)}
    if annotations:
        metadata["annotations"] = annotations
    value = {"kind": kind.name, "apiVersion": kind.api_version, "metadata": metadata}
    return _line("BOOKMARK", encode(value))


def _line(event: str, body: bytes) -> bytes:
    return b'{"type":"%s","object":%s}\n' % (event.encode(), body)
