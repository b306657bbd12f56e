"""Events: each problem once, on its object, and never a reason to stop."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from enforcer import events as module
from enforcer.events import Events, event_of, notice_of, notice_of_node
from enforcer.kube.client import Query
from enforcer.kube.failures import StatusError, UnreachableError
from enforcer.metrics import Metrics
from enforcer.model.changes import Kind, Put
from enforcer.model.net import Direction
from enforcer.model.objects import BlockPeer, EveryPort, Key, Node, Policy, Rule
from enforcer.model.selectors import EVERYTHING
from enforcer.node import Synced
from enforcer.notices import Notices, UnenforcedWatch
from enforcer.policy.cluster import Cluster
from enforcer.policy.compiled import Allowed, CompiledPolicy, LocalPod, PolicyClass, Problem
from enforcer.policy.warnings import Overlaps

Json = dict[str, Any]
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
PROBLEM = Problem(Key("shop", "np"), "spec: who knows", Kind.POLICIES)


class FakeApi:
    """Takes events as the API does, names included; serves some paths."""

    def __init__(self, paths: Json | None = None) -> None:
        self.events: dict[tuple[str, str], Json] = {}
        self.failures: list[Exception] = []
        self.posts = 0
        self.paths = paths or {}

    async def create_event(self, namespace: str, event: bytes) -> None:
        self.posts += 1
        if self.failures:
            raise self.failures.pop(0)
        body = json.loads(event)
        assert body["metadata"]["namespace"] == namespace
        if (namespace, body["metadata"]["name"]) in self.events:
            raise StatusError("create an Event", 409, "already exists")
        self.events[namespace, body["metadata"]["name"]] = body

    async def get(self, path: str) -> bytes:
        if path not in self.paths:
            raise StatusError(f"get {path}", 404, "not found")
        return json.dumps(self.paths[path]).encode()

    async def list_page(self, kind: Kind, query: Query) -> bytes:
        raise NotImplementedError

    def watch(self, kind: Kind, query: Query, stall: float) -> AsyncGenerator[bytes, None]:
        raise NotImplementedError


async def post_all(events: Events, api: FakeApi, posts: int) -> None:
    """Let the events be posted, until there were so many attempts and nothing is left."""
    task = asyncio.create_task(events.follow(api))
    async with asyncio.timeout(10):
        while api.posts < posts or events._queue.qsize():  # noqa: ASYNC110  # a fake tells nobody
            await asyncio.sleep(0.001)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_an_event_is_about_its_object() -> None:
    """A policy's is in the policy's namespace, with what is wrong as the message."""
    event = event_of(notice_of(PROBLEM), "n1", NOW)

    assert event["metadata"]["namespace"] == "shop"
    assert event["involvedObject"] == {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "namespace": "shop",
        "name": "np",
    }
    assert (event["type"], event["message"]) == ("Warning", "spec: who knows")
    assert event["firstTimestamp"] == "2026-01-02T03:04:05Z"


def test_an_event_on_a_node_is_where_kubectl_looks() -> None:
    """In default, with the node's name as its uid, as the kubelet's."""
    event = event_of(notice_of_node("n1", "NotProved", "why"), "n1", NOW)

    assert event["metadata"]["namespace"] == "default"
    assert event["involvedObject"] == {
        "apiVersion": "v1",
        "kind": "Node",
        "name": "n1",
        "uid": "n1",
    }


@pytest.mark.parametrize("name", ["?", "a" * 253, "Upper.Case", "x.y-z", "-"])
def test_names_are_valid_whatever_the_object_is_called(name: str) -> None:
    """A DNS subdomain of at most 253 characters."""
    event = event_of(notice_of(Problem(Key("shop", name), "m" * 5000)), "n1", NOW)

    found = event["metadata"]["name"]
    assert len(found) <= 253
    assert re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", found)
    assert len(event["message"]) == 1024


async def test_a_problem_is_told_once() -> None:
    """However often it is seen; another problem of the same object is another event."""
    api, events = FakeApi(), Events("n1")
    other = Problem(PROBLEM.subject, "something else")

    for _ in range(5):
        events.tell([notice_of(PROBLEM), notice_of(other)])
    await post_all(events, api, 2)

    assert sorted(event["message"] for event in api.events.values()) == [
        "something else",
        "spec: who knows",
    ]
    assert api.posts == 2


async def test_what_another_node_said_already_is_no_failure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The same problem has the same name everywhere: the API keeps one, nobody complains."""
    api = FakeApi()
    for node in ("n1", "n2"):
        events = Events(node)
        events.tell([notice_of(PROBLEM)])
        await post_all(events, api, 1 if node == "n1" else 2)

    assert len(api.events) == 1
    assert caplog.text == ""


async def test_a_refusal_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """Without the right to create events the daemon goes on, and says so one time."""
    api, events = FakeApi(), Events("n1")
    api.failures = [StatusError("create an Event", 422, "no")] * 2

    events.tell([notice_of(PROBLEM), notice_of(Problem(Key("shop", "b"), "x"))])
    with caplog.at_level(logging.WARNING):
        await post_all(events, api, 2)

    assert caplog.text.count("could not be posted") == 1


async def test_a_server_that_is_away_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """An event survives a short outage."""
    monkeypatch.setattr(module, "_PAUSE", 0.0)
    api, events = FakeApi(), Events("n1")
    api.failures = [UnreachableError("away")]

    events.tell([notice_of(PROBLEM)])
    await post_all(events, api, 2)

    assert len(api.events) == 1


# --- which events are due -------------------------------------------------------------------------


def block_policy(name: str, cidr: str, *excepts: str) -> Policy:
    """Return a policy that lets a block in."""
    block = BlockPeer(ip_network(cidr), tuple(map(ip_network, excepts)))
    rules = {Direction.INGRESS: (Rule((block,), EveryPort()),)}
    return Policy(Key("shop", name), EVERYTHING, rules)


def world(*policies: Policy) -> tuple[Cluster, CompiledPolicy]:
    """Return a cluster with two nodes, and a node's compiled view of one pod."""
    cluster = Cluster()
    for name, network in (("n1", "10.1.0.0/24"), ("n2", "fd00:2::/64")):
        cluster.apply(Put(Node(name, (), (ip_network(network),))))
    for policy in policies:
        cluster.apply(Put(policy))
    keys = tuple(policy.key for policy in policies)
    found = PolicyClass(Direction.INGRESS, keys, Allowed())
    pod = LocalPod(Key("shop", "p"), (ip_address("10.1.0.2"),), found)
    return cluster, CompiledPolicy("n1", (pod,), (), frozenset())


@pytest.mark.parametrize(
    ("cidr", "excepts", "words"),
    [
        ("10.0.0.0/13", [], ["pod range 10.1.0.0/24"]),
        ("10.1.0.7/32", [], ["pod range 10.1.0.0/24"]),
        ("fd00::/16", [], ["pod range fd00:2::/64"]),
        ("10.0.0.0/13", ["10.1.0.0/16"], []),
        ("10.2.0.0/16", [], []),
        ("10.96.0.0/16", [], ["Service range 10.96.0.0/12"]),
        ("0.0.0.0/0", [], ["pod range 10.1.0.0/24", "Service range 10.96.0.0/12"]),
        ("0.0.0.0/0", ["10.0.0.0/8"], []),
    ],
)
def test_a_block_that_overlaps_is_warned_of(
    cidr: str, excepts: list[str], words: list[str]
) -> None:
    """Pod ranges of any node and the given Service ranges, excepts taken away."""
    overlaps = Overlaps([ip_network("10.96.0.0/12")])

    found = overlaps.warnings(*world(block_policy("np", cidr, *excepts)))

    assert len(found) == len(words)
    assert all(word in problem.message for word, problem in zip(words, found, strict=True))


def test_a_changed_policy_or_range_is_looked_at_again() -> None:
    """What is remembered is never stale."""
    overlaps = Overlaps([])
    assert overlaps.warnings(*world(block_policy("np", "10.1.0.0/16")))
    assert not overlaps.warnings(*world(block_policy("np", "10.9.0.0/16")))

    cluster, compiled = world(block_policy("np", "10.9.0.0/16"))
    cluster.apply(Put(Node("n3", (), (ip_network("10.9.1.0/24"),))))

    assert overlaps.warnings(cluster, compiled)


async def test_a_sync_tells_of_problems_surprises_and_what_is_not_proved() -> None:
    """On the policy, on the policy, and on the Node."""
    api, events = FakeApi(), Events("n1")
    notices = Notices(events, Overlaps([]))
    cluster, compiled = world(block_policy("np", "10.0.0.0/8"))
    bad = CompiledPolicy("n1", compiled.pods, (), frozenset(), (PROBLEM,))

    for _ in range(2):
        notices.synced(cluster, bad, Synced(1, {}, repaired=False, problems=("no br_netfilter",)))
    await post_all(events, api, 3)

    told = {(event["involvedObject"]["kind"], event["reason"]) for event in api.events.values()}
    assert told == {
        ("NetworkPolicy", "NetworkPolicyNotUnderstood"),
        ("NetworkPolicy", "NetworkPolicySurprising"),
        ("Node", "NetworkPolicyNotProved"),
    }


GROUP = "policy.networking.k8s.io"
VERSION = f"{GROUP}/v1alpha2"
OTHER_KINDS = {
    "/apis": {"groups": [{"name": GROUP, "versions": [{"groupVersion": VERSION}]}]},
    f"/apis/{VERSION}": {"resources": [{"name": "clusternetworkpolicies"}, {"name": "x/status"}]},
    f"/apis/{VERSION}/clusternetworkpolicies": {"items": [{"metadata": {"name": "cnp"}}]},
}


async def test_policies_of_other_kinds_are_named(caplog: pytest.LogCaptureFixture) -> None:
    """As not enforced: event, metric and log; once."""
    api, events, metrics = FakeApi(OTHER_KINDS), Events("n1"), Metrics()
    watch = UnenforcedWatch(events, metrics)

    await watch.look(api)
    await watch.look(api)
    await post_all(events, api, 1)

    (event,) = api.events.values()
    assert event["involvedObject"]["kind"] == "ClusterNetworkPolicy"
    assert caplog.text.count("is not enforced") == 1
    value = metrics.registry.get_sample_value
    assert value("enforcer_unenforced_policies", {"kind": "ClusterNetworkPolicy"}) == 1
    assert value("enforcer_unenforced_policies", {"kind": "AdminNetworkPolicy"}) == 0


@pytest.mark.parametrize(
    "paths",
    [{"/apis": {"groups": []}}, {}, {"/apis": {"groups": 5}}, {"/apis": OTHER_KINDS["/apis"]}],
)
async def test_an_api_without_them_or_without_an_answer_is_fine(paths: Json) -> None:
    """Nothing is found and nothing fails."""
    events = Events("n1")

    await UnenforcedWatch(events, Metrics()).look(FakeApi(paths))

    assert events._queue.empty()
