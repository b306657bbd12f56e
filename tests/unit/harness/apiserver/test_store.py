"""The store numbers every write and remembers the latest of them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from harness.clusters.embedded.apiserver.errors import ApiError, Reason
from harness.clusters.embedded.apiserver.resources import KINDS, NODES, PODS
from harness.clusters.embedded.apiserver.store import Store


def pod(name: str, **spec: Any) -> dict[str, Any]:
    """Return a pod to be stored."""
    return {"metadata": {"namespace": "n", "name": name}, "spec": spec}


def test_every_write_of_any_kind_gets_the_next_version() -> None:
    """One counter serves all kinds, so versions of different kinds compare."""
    store = Store(KINDS)

    first = store.put(PODS, pod("a"))
    second = store.put(NODES, {"metadata": {"name": "n1"}})
    third = store.remove(PODS, first.key)

    assert [second.version, third.version] == [first.version + 1, first.version + 2]
    assert third.value["metadata"]["resourceVersion"] == str(third.version)


def test_a_write_that_changes_nothing_is_no_write() -> None:
    """Equal content keeps its version and wakes nobody."""
    store = Store(KINDS)
    before = store.put(PODS, pod("a"))

    after = store.put(PODS, pod("a"))

    assert after is before
    assert store.version == before.version


def test_a_stored_object_is_not_changed_by_later_writes() -> None:
    """A record read earlier still shows what was read."""
    store = Store(KINDS)
    before = store.put(PODS, pod("a", nodeName="n1"))
    value = before.fresh()
    value["spec"]["nodeName"] = "n2"

    store.put(PODS, value)

    assert before.value["spec"]["nodeName"] == "n1"


def test_a_list_is_in_the_order_of_keys() -> None:
    """Pages of a list need an order."""
    store = Store(KINDS)
    for name in ("c", "a", "b"):
        store.put(PODS, pod(name))

    assert [record.key[1] for record in store.list(PODS, "n")] == ["a", "b", "c"]
    assert store.list(PODS, "other") == []


async def test_a_cursor_reads_what_came_after_its_version() -> None:
    """Whoever lists and then follows misses nothing and sees nothing twice."""
    store = Store(KINDS)
    store.put(PODS, pod("a"))
    version = store.version
    store.put(PODS, pod("b"))
    store.put(NODES, {"metadata": {"name": "n1"}})
    store.remove(PODS, ("n", "a"))

    changes = await store.follow(PODS, version).next()

    assert [(c.last.key[1], c.after is None) for c in changes] == [("b", False), ("a", True)]


async def test_a_cursor_waits_for_news() -> None:
    """A follower that has read everything sleeps until the next change."""
    store = Store(KINDS)
    waiting = asyncio.create_task(anext_changes(store))
    await asyncio.sleep(0)

    store.put(PODS, pod("a"))

    async with asyncio.timeout(10):
        assert await waiting == ["a"]


async def anext_changes(store: Store) -> list[str]:
    """Return the names in the next changes of pods."""
    return [c.last.key[1] for c in await store.follow(PODS, store.version).next()]


def test_what_is_unread_is_read_once() -> None:
    """A bookmark is sent only where this is empty, so that it never overtakes a change."""
    store = Store(KINDS)
    cursor = store.follow(PODS, store.version)
    store.put(PODS, pod("a"))

    assert [len(cursor.unread()), len(cursor.unread())] == [1, 0]


def test_a_version_before_the_kept_history_is_expired() -> None:
    """Who asks for forgotten changes is told to list again, instead of missing some."""
    store = Store(KINDS, history=10)
    first = store.put(PODS, pod("first")).version
    for number in range(100):
        store.put(PODS, pod(f"p{number}"))

    store.follow(PODS, store.version - 10)
    with pytest.raises(ApiError) as refused:
        store.follow(PODS, first)

    assert refused.value.reason is Reason.EXPIRED


async def test_a_follower_that_falls_behind_is_expired() -> None:
    """Changes that were forgotten unread end the watch; they are never skipped in silence."""
    store = Store(KINDS, history=10)
    cursor = store.follow(PODS, store.version)
    for number in range(100):
        store.put(PODS, pod(f"p{number}"))

    with pytest.raises(ApiError) as refused:
        await cursor.next()

    assert refused.value.reason is Reason.EXPIRED


def test_a_quiet_kind_keeps_its_history_while_others_are_busy() -> None:
    """A watch of policies outlives any number of changes of pods."""
    store = Store(KINDS, history=10)
    version = store.put(NODES, {"metadata": {"name": "n1"}}).version
    for number in range(100):
        store.put(PODS, pod(f"p{number}"))

    store.follow(NODES, version)


def test_a_version_from_the_future_is_refused() -> None:
    """A client of an earlier server must list again, not wait for ever."""
    store = Store(KINDS)

    with pytest.raises(ApiError) as refused:
        store.follow(PODS, store.version + 1)

    assert refused.value.reason is Reason.TIMEOUT


def test_a_namespace_knows_how_many_objects_it_holds() -> None:
    """An update is not a second object."""
    store = Store(KINDS)
    store.put(PODS, pod("a"))
    store.put(PODS, pod("a", nodeName="n1"))
    store.put(PODS, pod("b"))
    store.remove(PODS, ("n", "a"))

    assert store.population("n") == 1
