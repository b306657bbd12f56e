"""Objects, versions, history. Knows no HTTP and no rules of any kind; next: ``registry``.

One counter numbers every write of every kind (the resourceVersion). Each kind has its objects and
a history of its latest changes; whoever watches reads that history at its own pace through a
:class:`Cursor`, so a change costs a watcher nothing but its own bytes, and who falls too far
behind is told to list again.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import attrgetter

import msgspec

from harness.clusters.embedded.apiserver.errors import ApiError, Reason, expired, not_found
from harness.clusters.embedded.apiserver.resources import Kind, Object

Key = tuple[str, str]
"""Namespace (empty for cluster-scoped kinds) and name."""

DEFAULT_HISTORY = 20_000
"""Changes kept of each kind: 8,000 pods made and their status set, with some to spare."""

encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder().decode


@dataclass(frozen=True, slots=True)
class Record:
    """One version of one object, encoded once."""

    key: Key
    version: int
    value: Object
    body: bytes

    def fresh(self) -> Object:
        """Return a copy that may be changed."""
        value: Object = decode(self.body)
        return value


@dataclass(frozen=True, slots=True)
class Change:
    """One write: what was, and what is; a deleted object's last state has a version of its own."""

    version: int
    before: Record | None
    after: Record | None
    last: Record


@dataclass(slots=True)
class _Log:
    """A kind's history: at least ``keep`` changes, trimmed in strides so that appending is cheap.

    Positions count changes since the start and stay valid when older ones are forgotten.
    """

    keep: int
    changes: list[Change] = field(default_factory=list)
    forgotten: int = 0
    forgotten_version: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def end(self) -> int:
        return self.forgotten + len(self.changes)

    def append(self, change: Change) -> None:
        self.changes.append(change)
        if len(self.changes) > self.keep + max(1, self.keep // 4):
            old = len(self.changes) - self.keep
            self.forgotten += old
            self.forgotten_version = self.changes[old - 1].version
            del self.changes[:old]
        news, self.news = self.news, asyncio.Event()
        news.set()

    def position(self, version: int) -> int:
        """Return the position after ``version``; Expired where the history has begun later."""
        if version < self.forgotten_version:
            raise expired(f"too old resource version: {version} ({self.forgotten_version})")
        return self.forgotten + bisect_right(self.changes, version, key=attrgetter("version"))


@dataclass(slots=True)
class Cursor:
    """A reader's place in a kind's history."""

    _log: _Log
    _position: int

    async def next(self) -> Sequence[Change]:
        """Wait for changes and return all there are; Expired where some were forgotten unread."""
        while self._position == self._log.end:
            await self._log.news.wait()
        return self.unread()

    def unread(self) -> Sequence[Change]:
        """Return the changes there are, possibly none; Expired as above."""
        start = self._position - self._log.forgotten
        if start < 0:
            raise expired("too old resource version: this watch fell behind the kept history")
        self._position = self._log.end
        return self._log.changes[start:]


class Store:
    """Every object of every kind. All methods run to their end within one turn of the loop."""

    def __init__(self, kinds: Sequence[Kind], history: int = DEFAULT_HISTORY) -> None:
        """Begin empty; ``history`` is the number of changes kept of each kind."""
        self.version = 1
        self._records: dict[Kind, dict[Key, Record]] = {kind: {} for kind in kinds}
        self._logs = {kind: _Log(history) for kind in kinds}
        self._population: Counter[str] = Counter()

    def find(self, kind: Kind, key: Key) -> Record | None:
        """Return an object, or None."""
        return self._records[kind].get(key)

    def get(self, kind: Kind, key: Key) -> Record:
        """Return an object, or refuse with NotFound."""
        record = self.find(kind, key)
        if record is None:
            raise not_found(kind, key[1])
        return record

    def list(self, kind: Kind, namespace: str = "") -> list[Record]:
        """Return a kind's objects (of one namespace) in the order of their keys."""
        records = self._records[kind]
        keys = sorted(key for key in records if not namespace or key[0] == namespace)
        return [records[key] for key in keys]

    def population(self, namespace: str) -> int:
        """Return how many objects a namespace holds."""
        return self._population[namespace]

    def put(self, kind: Kind, value: Object) -> Record:
        """Store a new object or a new version; a write that changes nothing is no write."""
        metadata = value["metadata"]
        key = (metadata.get("namespace", ""), metadata["name"])
        before = self.find(kind, key)
        if before is not None:
            metadata["resourceVersion"] = str(before.version)
            if value == before.value:
                return before
        after = self._stamp(key, value)
        self._records[kind][key] = after
        self._population[key[0]] += before is None
        self._logs[kind].append(Change(after.version, before, after, after))
        return after

    def remove(self, kind: Kind, key: Key) -> Record:
        """Remove an object and return its last state, with the version of its removal."""
        before = self._records[kind].pop(key)
        last = self._stamp(key, before.fresh())
        self._population[key[0]] -= 1
        self._logs[kind].append(Change(last.version, before, None, last))
        return last

    def follow(self, kind: Kind, version: int) -> Cursor:
        """Return a cursor at the first change after ``version``; Expired or Timeout as due."""
        self.require_known(version)
        log = self._logs[kind]
        return Cursor(log, log.position(version))

    def require_known(self, version: int) -> None:
        """Refuse a version that was never given out, as after a restart of this server."""
        if version > self.version:
            raise ApiError(
                Reason.TIMEOUT,
                f"Too large resource version: {version}, current: {self.version}",
                {"causes": [{"reason": "ResourceVersionTooLarge"}], "retryAfterSeconds": 1},
            )

    def _stamp(self, key: Key, value: Object) -> Record:
        self.version += 1
        value["metadata"]["resourceVersion"] = str(self.version)
        return Record(key, self.version, value, encode(value))
