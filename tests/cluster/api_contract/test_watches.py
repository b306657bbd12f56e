"""Watches: who lists and then watches misses nothing."""

from __future__ import annotations

from tests.cluster.api_contract.objects import MERGE, leases
from tests.cluster.api_contract.servers import Api, Watching


async def make(api: Api, namespace: str, name: str, **labels: str) -> None:
    """Make a lease."""
    answer = await api("POST", leases(namespace), {"metadata": {"name": name, "labels": labels}})
    assert answer.code == 201


async def label(api: Api, namespace: str, name: str, **labels: str | None) -> None:
    """Change a lease's labels."""
    body = {"metadata": {"labels": labels}}
    answer = await api("PATCH", leases(namespace, name), body, MERGE)
    assert answer.code == 200


async def read(watch: Watching, count: int) -> list[tuple[str, str]]:
    """Return the types and names of the next events."""
    events = [await watch.next() for _ in range(count)]
    return [(kind, value["metadata"]["name"]) for kind, value in events]


async def test_a_watch_continues_where_a_list_ended(api: Api, namespace: str) -> None:
    """Also with what happened between the two; each event has a later version."""
    await make(api, namespace, "a")
    listed = await api("GET", leases(namespace))
    await make(api, namespace, "b")

    async with api.watch(leases(namespace), resourceVersion=listed.version) as watch:
        await label(api, namespace, "a", app="web")
        await api("DELETE", leases(namespace, "a"))
        events = [await watch.next() for _ in range(3)]

    assert [(kind, value["metadata"]["name"]) for kind, value in events] == [
        ("ADDED", "b"),
        ("MODIFIED", "a"),
        ("DELETED", "a"),
    ]
    versions = [int(value["metadata"]["resourceVersion"]) for _, value in events]
    assert int(listed.version) < versions[0] < versions[1] < versions[2]


async def test_a_watch_without_a_version_begins_with_what_is_there(
    api: Api, namespace: str
) -> None:
    """As events, in the same stream."""
    await make(api, namespace, "a")
    for query in ({}, {"resourceVersion": "0"}):
        async with api.watch(leases(namespace), **query) as watch:
            assert await read(watch, 1) == [("ADDED", "a")]
    async with api.watch(leases(namespace)) as watch:
        await read(watch, 1)
        await make(api, namespace, "b")
        assert await read(watch, 1) == [("ADDED", "b")]


async def test_a_watch_may_ask_for_the_list_and_its_end(api: Api, namespace: str) -> None:
    """SendInitialEvents: the bookmark says that the list is complete, and at which version."""
    await make(api, namespace, "a")
    query = {
        "sendInitialEvents": "true",
        "allowWatchBookmarks": "true",
        "resourceVersionMatch": "NotOlderThan",
    }
    async with api.watch(leases(namespace), **query) as watch:
        assert await read(watch, 1) == [("ADDED", "a")]
        kind, value = await watch.next()

    assert kind == "BOOKMARK"
    assert value["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert int(value["metadata"]["resourceVersion"]) > 0


async def test_an_object_enters_and_leaves_a_selection(api: Api, namespace: str) -> None:
    """To a watcher of a selection, entering is an addition and leaving is a deletion."""
    listed = await api("GET", leases(namespace))
    query = {"resourceVersion": listed.version, "labelSelector": "app=web"}
    async with api.watch(leases(namespace), **query) as watch:
        await make(api, namespace, "other", app="db")
        await make(api, namespace, "a", app="db")
        await label(api, namespace, "a", app="web")
        await label(api, namespace, "a", more="x")
        await label(api, namespace, "a", app="db")
        await label(api, namespace, "a", more="y")
        await label(api, namespace, "a", app="web")
        await api("DELETE", leases(namespace, "a"))
        events = [await watch.next() for _ in range(5)]

    assert [kind for kind, _ in events] == ["ADDED", "MODIFIED", "DELETED", "ADDED", "DELETED"]
    left = events[2][1]["metadata"]
    assert left["labels"] == {"app": "web", "more": "x"}
    assert int(left["resourceVersion"]) > int(events[1][1]["metadata"]["resourceVersion"])


async def test_a_watch_of_a_namespace_sees_no_other(api: Api, namespace: str) -> None:
    """Objects of other namespaces are somebody else's."""
    other = f"{namespace}-other"
    await api("POST", "/api/v1/namespaces", {"metadata": {"name": other}})
    listed = await api("GET", leases(namespace))

    async with api.watch(leases(namespace), resourceVersion=listed.version) as watch:
        await make(api, other, "b")
        await make(api, namespace, "a")
        assert await read(watch, 1) == [("ADDED", "a")]


async def test_a_watch_ends_after_its_time(api: Api, namespace: str) -> None:
    """TimeoutSeconds is the client's to choose."""
    listed = await api("GET", leases(namespace))
    query = {"resourceVersion": listed.version, "timeoutSeconds": "1"}
    async with api.watch(leases(namespace), **query) as watch:
        assert await watch.ended()


async def test_a_change_that_changes_nothing_is_no_event(api: Api, namespace: str) -> None:
    """Equal writes wake nobody."""
    await make(api, namespace, "a", app="web")
    listed = await api("GET", leases(namespace))
    async with api.watch(leases(namespace), resourceVersion=listed.version) as watch:
        await label(api, namespace, "a", app="web")
        await make(api, namespace, "b")
        assert await read(watch, 1) == [("ADDED", "b")]
