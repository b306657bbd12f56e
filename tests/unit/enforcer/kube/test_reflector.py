"""List and watch against a real HTTP server that misbehaves as a script says."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port

from enforcer.kube import connect, watch_cluster
from enforcer.kube.client import HttpApi
from enforcer.kube.failures import UnreachableError
from enforcer.kube.reflector import Timing
from enforcer.model.changes import Change, Kind, Put, Removed, Replaced
from enforcer.model.objects import Namespace

Json = dict[str, Any]
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]

FAST = Timing(
    page_size=2,
    stall_seconds=30.0,
    backoff_first=0.01,
    backoff_most=0.05,
    longest_wish=1.0,
    short_watch=0.0,
)
PATIENCE = 20.0
NAMESPACES = "/api/v1/namespaces"


def namespace(name: str, version: int = 1) -> Json:
    """Make a namespace's manifest."""
    return {"metadata": {"name": name, "resourceVersion": str(version)}}


def line(kind: str, item: Any) -> bytes:
    """Make a line of a watch."""
    return json.dumps({"type": kind, "object": item}).encode() + b"\n"


class Script:
    """An API server whose namespaces follow a script; the other kinds are empty and quiet."""

    def __init__(self) -> None:
        """Serve nothing yet; an answer that is not scripted is a list, or a quiet watch."""
        self.namespaces: list[Json] = []
        self.version = "10"
        self.lists: list[Answer] = []
        self.watches: list[Answer] = []
        self.asked: list[web.Request] = []
        self.events: list[Json] = []
        self.closing = asyncio.Event()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer any GET."""
        watching = "watch" in request.query
        if request.path != NAMESPACES:
            if watching:
                return await self.watch()(request)
            return web.json_response({"metadata": {"resourceVersion": "1"}, "items": []})
        self.asked.append(request)
        script = self.watches if watching else self.lists
        usual = self.watch() if watching else self.page
        return await (script.pop(0) if script else usual)(request)

    async def event(self, request: web.Request) -> web.Response:
        """Take an Event."""
        self.events.append(await request.json())
        return web.json_response({}, status=201)

    async def page(self, request: web.Request) -> web.Response:
        """Answer with a page; the token is the number of the next object."""
        first = int(request.query.get("continue", "0"))
        after = first + int(request.query.get("limit", "1000"))
        meta = {"resourceVersion": self.version}
        if after < len(self.namespaces):
            meta["continue"] = str(after)
        return web.json_response({"metadata": meta, "items": self.namespaces[first:after]})

    def watch(self, *chunks: bytes, end: str = "never") -> Answer:
        """Make a watch that sends chunks, then stays silent, ends in order, or is cut."""

        async def respond(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            for chunk in chunks:
                await response.write(chunk)
            if end == "never":
                await self.closing.wait()
            elif end == "cut" and request.transport is not None:
                request.transport.abort()
            return response

        return respond

    def queries(self, *, watch: bool) -> list[dict[str, str]]:
        """Return what was asked for so far."""
        found = (dict(request.query) for request in self.asked)
        return [query for query in found if ("watch" in query) == watch]


def refusal(status: int, message: str = "no", **headers: str) -> Answer:
    """Make an answer that is an error."""

    async def respond(_request: web.Request) -> web.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.json_response({"message": message}, status=status, headers=named)

    return respond


class Seen:
    """The changes of namespaces that were told."""

    def __init__(self) -> None:
        """Nothing yet."""
        self._news = asyncio.Event()
        self.all: list[Change] = []
        self.changes: list[Change] = []

    def take(self, change: Change) -> None:
        """Keep a change."""
        self.all.append(change)
        if isinstance(change, Put):
            told = isinstance(change.item, Namespace)
        else:
            told = change.kind is Kind.NAMESPACES
        if told:
            self.changes.append(change)
        self._news.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return as soon as the condition about what was told holds."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._news.clear()
                await self._news.wait()

    def summary(self) -> list[str]:
        """Describe the changes of namespaces in short."""
        return [_short(change) for change in self.changes]


def _short(change: Change) -> str:
    match change:
        case Replaced():
            names = (item.name for item in change.objects if isinstance(item, Namespace))
            return f"={','.join(names)}"
        case Put(Namespace(name)):
            return f"+{name}"
        case Removed():
            return f"-{change.key.name}"
    return "?"


@pytest.fixture
async def script() -> AsyncIterator[Script]:
    """A server that has not been started."""
    found = Script()
    yield found
    found.closing.set()


def kubeconfig(folder: Path, server: str, **user: str) -> Path:
    """Write a kubeconfig for a server."""
    content = {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": user}],
    }
    path = folder / "config"
    path.write_text(json.dumps(content))
    return path


@asynccontextmanager
async def serving(script: Script, port: int | None = None) -> AsyncIterator[str]:
    """Start the server and return its URL; quiet watches end with it."""
    application = web.Application()
    application.router.add_get("/{path:.*}", script.answer)
    application.router.add_post("/{path:.*}", script.event)
    async with TestServer(application, port=port) as server:
        yield str(server.make_url("/"))
        script.closing.set()


async def until(condition: Callable[[], bool]) -> None:
    """Return as soon as the condition holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - a log sets no event
            await asyncio.sleep(FAST.backoff_first)


@asynccontextmanager
async def session(script: Script, folder: Path, **user: str) -> AsyncIterator[HttpApi]:
    """Start the server and connect to it by a kubeconfig."""
    async with (
        serving(script) as url,
        connect(kubeconfig(folder, url, **user)) as client,
    ):
        yield client


@asynccontextmanager
async def mirrored(script: Script, folder: Path, timing: Timing = FAST) -> AsyncIterator[Seen]:
    """Watch the scripted cluster while the context lasts."""
    seen = Seen()
    async with session(script, folder) as client:
        task = asyncio.create_task(watch_cluster(client, seen.take, timing))
        try:
            yield seen
        finally:
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()


async def run(script: Script, folder: Path, expected: Iterable[str]) -> Seen:
    """Watch until as many changes as expected were told, and compare them."""
    wanted = list(expected)
    async with mirrored(script, folder) as seen:
        await seen.until(lambda: len(seen.changes) >= len(wanted))
        assert seen.summary() == wanted
    return seen


async def test_every_kind_is_listed_before_it_is_watched(script: Script, tmp_path: Path) -> None:
    """The first change of each kind is the whole of it."""
    async with mirrored(script, tmp_path) as seen:
        await seen.until(lambda: len(seen.all) == len(Kind))

        assert all(isinstance(change, Replaced) for change in seen.all)


async def test_a_list_comes_in_pages_and_is_told_at_once(script: Script, tmp_path: Path) -> None:
    """Pages are asked for with limit and continue; half a list is never told."""
    script.namespaces = [namespace(name) for name in "abcde"]

    await run(script, tmp_path, ["=a,b,c,d,e"])

    assert script.queries(watch=False) == [
        {"limit": "2"},
        {"limit": "2", "continue": "2"},
        {"limit": "2", "continue": "4"},
    ]


async def test_pages_that_expire_are_asked_for_as_one(script: Script, tmp_path: Path) -> None:
    """A list that takes longer than the server keeps its version comes without limit."""
    script.namespaces = [namespace(name) for name in "abc"]
    script.lists = [script.page, refusal(410)]

    await run(script, tmp_path, ["=a,b,c"])

    assert script.queries(watch=False)[-1] == {}


async def test_changes_are_told_in_order(script: Script, tmp_path: Path) -> None:
    """Additions, changes and removals, wherever the network cuts the bytes."""
    stream = b"".join(
        [
            line("ADDED", namespace("a", 11)),
            line("MODIFIED", namespace("a", 12)),
            line("ADDED", namespace("b", 13)),
            line("DELETED", namespace("a", 14)),
        ]
    )
    script.watches = [script.watch(stream[:30], stream[30:150], stream[150:])]

    await run(script, tmp_path, ["=", "+a", "+a", "+b", "-a"])


async def test_an_object_may_be_large(script: Script, tmp_path: Path) -> None:
    """The API server stores objects of more than a megabyte; a watch sends each as one line."""
    large = namespace("a", 11)
    large["metadata"]["annotations"] = {"note": "x" * 3_000_000}
    script.watches = [script.watch(line("ADDED", large))]

    await run(script, tmp_path, ["=", "+a"])


@pytest.mark.parametrize("end", ["in order", "cut"])
async def test_a_watch_that_ends_goes_on(end: str, script: Script, tmp_path: Path) -> None:
    """From the version that was seen last, without a new list, whatever ended it."""
    half = line("ADDED", namespace("b", 12))[:40] if end == "cut" else b""
    script.watches = [
        script.watch(line("ADDED", namespace("a", 11)), half, end=end),
        script.watch(line("ADDED", namespace("b", 12))),
    ]

    await run(script, tmp_path, ["=", "+a", "+b"])

    assert [query["resourceVersion"] for query in script.queries(watch=True)] == ["10", "11"]
    assert all(query["allowWatchBookmarks"] == "true" for query in script.queries(watch=True))
    assert len(script.queries(watch=False)) == 1


async def test_a_bookmark_moves_the_version(script: Script, tmp_path: Path) -> None:
    """A bookmark is no change, but the next watch starts from it."""
    mark = line("BOOKMARK", {"metadata": {"resourceVersion": "99"}})
    script.watches = [
        script.watch(mark, end="in order"),
        script.watch(line("ADDED", namespace("a", 100))),
    ]

    await run(script, tmp_path, ["=", "+a"])

    assert script.queries(watch=True)[1]["resourceVersion"] == "99"


async def test_a_bookmark_is_heard(script: Script, tmp_path: Path) -> None:
    """The list, the bookmark and the event: whatever the server says shows that it is there."""
    mark = line("BOOKMARK", {"metadata": {"resourceVersion": "99"}})
    script.watches = [script.watch(mark, line("ADDED", namespace("a", 100)))]
    heard: list[Kind] = []
    seen = Seen()
    async with session(script, tmp_path) as client:
        task = asyncio.create_task(watch_cluster(client, seen.take, FAST, heard.append))
        await seen.until(lambda: heard.count(Kind.NAMESPACES) >= 3)
        task.cancel()
        await asyncio.wait([task])

    assert len(seen.changes) == 2


async def test_a_silent_watch_is_taken_for_dead(script: Script, tmp_path: Path) -> None:
    """Silence longer than a bookmark takes: watch again from the same version, no new list."""
    script.watches = [script.watch(), script.watch(line("ADDED", namespace("a", 11)))]
    timing = Timing(stall_seconds=0.1, backoff_first=0.01, short_watch=0.0)

    async with mirrored(script, tmp_path, timing) as seen:
        await seen.until(lambda: len(seen.changes) >= 2)

    assert [query["resourceVersion"] for query in script.queries(watch=True)][:2] == ["10", "10"]
    assert len(script.queries(watch=False)) == 1


GONE = line("ERROR", {"kind": "Status", "code": 410, "message": "too old resource version"})


@pytest.mark.parametrize("how", ["status", "event", "garbage"])
async def test_a_version_that_is_lost_means_a_new_list(
    how: str, script: Script, tmp_path: Path
) -> None:
    """410 as status or as event, and a line that hides what has changed: list again."""
    broken = {
        "status": refusal(410),
        "event": script.watch(GONE, end="in order"),
        "garbage": script.watch(b'{"type":"ADDED","object"\n'),
    }
    script.watches = [broken[how]]
    script.namespaces = [namespace("a")]

    await run(script, tmp_path, ["=a", "=a"])

    assert "resourceVersion" not in script.queries(watch=False)[1]


async def test_garbage_objects_never_stop_the_rest(script: Script, tmp_path: Path) -> None:
    """Neither in a list nor in a watch."""
    script.namespaces = [namespace("a"), {"metadata": 5}]
    garbage = line("ADDED", {"metadata": {"resourceVersion": "11", "name": 7}})
    script.watches = [script.watch(garbage, line("ADDED", namespace("b", 12)))]

    await run(script, tmp_path, ["=a", "+b"])

    assert len(script.queries(watch=True)) == 1


@pytest.mark.parametrize(
    ("status", "advice"), [(401, "credentials"), (403, "ClusterRole"), (500, "500")]
)
async def test_a_refusal_is_said_and_tried_again(
    status: int, advice: str, script: Script, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has what the server said and what to do; once it is put right, all is well."""
    script.lists = [refusal(status, "namespaces is forbidden"), refusal(status)]
    script.watches = [refusal(status), script.watch(line("ADDED", namespace("a", 11)))]

    await run(script, tmp_path, ["=", "+a"])

    assert "namespaces is forbidden" in caplog.text
    assert advice in caplog.text
    assert len(script.queries(watch=False)) == 3


async def test_a_server_that_is_busy_is_left_alone(script: Script, tmp_path: Path) -> None:
    """No request comes before the time that Retry-After asks for has passed."""
    asked: list[float] = []

    async def busy(request: web.Request) -> web.StreamResponse:
        asked.append(time.monotonic())
        return await refusal(429, Retry_After="1")(request)

    async def page(request: web.Request) -> web.StreamResponse:
        asked.append(time.monotonic())
        return await script.page(request)

    script.lists = [busy, page]

    await run(script, tmp_path, ["="])

    assert asked[1] - asked[0] >= 1.0


async def test_a_server_that_wants_a_day_is_asked_before(script: Script, tmp_path: Path) -> None:
    """Whatever Retry-After asks for, changes are not late by more than a bounded wait."""
    script.lists = [refusal(503, Retry_After="86400")]

    await run(script, tmp_path, ["="])


async def test_a_server_that_is_away_is_waited_for(tmp_path: Path) -> None:
    """Nothing is told and nothing is raised while nobody listens."""
    seen = Seen()
    async with connect(kubeconfig(tmp_path, "http://127.0.0.1:1")) as client:
        task = asyncio.create_task(watch_cluster(client, seen.take, FAST))
        with pytest.raises(UnreachableError):
            await client.list_page(Kind.PODS, {})

        assert not task.done()
        task.cancel()
        await asyncio.wait([task])
    assert seen.all == []


async def test_an_outage_is_told_once_and_so_is_its_end(
    script: Script, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Four kinds that try again and again warn once: why, where, and that the rules stay."""
    caplog.set_level("DEBUG", "enforcer.kube")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens
        port = taken.getsockname()[1]
        async with connect(kubeconfig(tmp_path, f"http://127.0.0.1:{port}")) as client:
            task = asyncio.create_task(watch_cluster(client, Seen().take, FAST))
            await until(lambda: len(caplog.records) > 2 * len(Kind))
            taken.close()
            async with serving(script, port):
                await until(lambda: "answers again" in caplog.text)
                task.cancel()
                await asyncio.wait([task])

    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1
    assert f"at http://127.0.0.1:{port}: Connection refused; the rules stay" in warnings[0]
    assert caplog.text.count("answers again") == 1


async def test_a_quiet_watch_ends_an_outage(
    script: Script, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A server that takes watches again is back, though it has nothing to tell yet."""
    caplog.set_level("INFO", "enforcer.kube")
    port = unused_port()
    async with connect(kubeconfig(tmp_path, f"http://127.0.0.1:{port}")) as client:
        async with serving(script, port):
            task = asyncio.create_task(watch_cluster(client, Seen().take, FAST))
            await until(lambda: caplog.text.count("listed") == len(Kind))
        await until(lambda: "Connection refused" in caplog.text)
        script.closing.clear()

        async with serving(script, port):
            await until(lambda: "answers again" in caplog.text)
            task.cancel()
            await asyncio.wait([task])

    assert caplog.text.count("listed") == len(Kind)


async def test_a_token_file_is_read_again(script: Script, tmp_path: Path) -> None:
    """Whoever replaces the token need not restart the daemon."""
    token = tmp_path / "token"
    token.write_text("first\n")
    async with session(script, tmp_path, tokenFile="token") as client:
        await client.list_page(Kind.NAMESPACES, {})
        token.write_text("second\n")
        await client.list_page(Kind.NAMESPACES, {})

    sent = [request.headers["Authorization"] for request in script.asked]
    assert sent == ["Bearer first", "Bearer second"]


async def test_an_event_is_created(script: Script, tmp_path: Path) -> None:
    """As it is, in the namespace that is named."""
    async with session(script, tmp_path) as client:
        await client.create_event("nsa", b'{"reason": "NotUnderstood"}')

    assert script.events == [{"reason": "NotUnderstood"}]
