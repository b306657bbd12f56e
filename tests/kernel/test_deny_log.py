"""The deny log and the counters, from real packets that a real table denies."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from enforcer.counters import Counters, read_counters
from enforcer.denylog import Denied, DenyLog
from enforcer.errors import KernelError
from enforcer.metrics import Metrics
from enforcer.model.changes import Put
from enforcer.model.net import Direction
from enforcer.model.objects import Key, Pod
from enforcer.nflog import Logged, LogReader
from enforcer.node import Synced
from enforcer.policy.cluster import Cluster
from enforcer.policy.compiled import CompiledPolicy
from enforcer.settings import LOG_GROUP
from tests.kernel.netlab import NODE, OUTSIDE, Lab, Verdict
from tests.kernel.policies import compiled, egress, ingress

pytestmark = pytest.mark.kernel

SYNCED = Synced(1, {}, repaired=False, problems=())
PATIENCE = 10.0
PROXY = """
table ip proxy {
    chain prerouting {
        type nat hook prerouting priority -100; policy accept;
        ip daddr 10.96.0.1 tcp dport 8000 dnat to 10.2.0.2:80
    }
}
"""


@pytest.fixture
def reader(lab: Lab) -> Iterator[LogReader]:
    """Return the reader of the node's log group."""
    with lab.node.call(LogReader, LOG_GROUP) as found:
        yield found


def names(lab: Lab, policy: CompiledPolicy) -> DenyLog:
    """Return a log that knows the lab's pods and what the node enforces."""
    cluster = Cluster()
    for pod in lab.pods:
        addresses = (ip_address(pod.ip4), ip_address(pod.ip6))
        cluster.apply(Put(Pod(Key("ns", pod.name), "node", {}, addresses)))
    log = DenyLog(Metrics())
    log.synced(cluster, policy, SYNCED)
    return log


def next_line(reader: LogReader, log: DenyLog) -> Denied:
    """Return the next denied connection that the kernel logs."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        select.select([reader], [], [], PATIENCE)
        found, _ = reader.read()
        if found:
            denied = log.name(found[0])
            assert denied is not None
            return denied
    raise AssertionError("the kernel logged nothing")


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_denied_connection_is_logged_with_names(
    lab: Lab, reader: LogReader, version: int, kind: socket.SocketKind
) -> None:
    """Who, to whom, on which port, in which direction, by which policy."""
    one, two, _ = lab.pods
    policy = compiled(lab.pods, {2: [ingress(name="closed")]})
    lab.sync(policy)
    address = two.ip4 if version == 4 else two.ip6

    assert lab.probe("p1", address, 80, kind) is Verdict.DROPPED

    denied = next_line(reader, names(lab, policy))
    assert (denied.direction, denied.policies) == (Direction.INGRESS, (Key("ns", "closed"),))
    assert (denied.client, denied.server) == (Key("ns", "p1"), Key("ns", "p2"))
    assert str(denied.flow.client) == (one.ip4 if version == 4 else one.ip6)
    assert (str(denied.flow.server), denied.flow.server_port) == (address, 80)
    assert denied.flow.protocol == (6 if kind is socket.SOCK_STREAM else 17)


def test_egress_is_logged_as_egress(lab: Lab, reader: LogReader) -> None:
    """The client's own policy denies; the server is no pod."""
    policy = compiled(lab.pods, {1: [egress(name="stay")]})
    lab.sync(policy)

    lab.probe("p1", "14.215.0.10", 80)

    line = str(next_line(reader, names(lab, policy)))
    assert line.startswith("denied egress TCP ns/p1 (10.2.0.1:")
    assert line.endswith("-> 14.215.0.10:80 by ns/stay")


def test_a_connection_through_a_service_is_logged_with_its_backend(
    lab: Lab, reader: LogReader
) -> None:
    """What is denied is the connection to the pod, on the pod's port."""
    policy = compiled(lab.pods, {2: [ingress()]})
    lab.sync(policy)
    lab.node.run("nft", "-f", "-", text=PROXY)

    lab.probe("p1", "10.96.0.1", 8000)

    denied = next_line(reader, names(lab, policy))
    assert (denied.server, denied.flow.server_port) == (Key("ns", "p2"), 80)
    assert denied.client == Key("ns", "p1")


def test_what_is_allowed_is_not_logged(lab: Lab, reader: LogReader) -> None:
    """Nor is what the pod sends to itself, through the same deny chain."""
    lab.sync(compiled(lab.pods, {2: [ingress()]}))

    assert lab.probe("p2", lab.pods[1].ip4, 80) is Verdict.OPEN
    assert lab.probe("p1", lab.pods[2].ip4, 80) is Verdict.OPEN
    assert lab.probe(NODE, lab.pods[1].ip4, 80) is Verdict.OPEN
    assert lab.probe("p1", lab.pods[1].ip4, 81) is Verdict.DROPPED

    found: list[Logged] = []
    end = time.monotonic() + PATIENCE
    while not found and time.monotonic() < end:
        select.select([reader], [], [], PATIENCE)
        found, _ = reader.read()
    assert {item.flow.server_port for item in found} == {81}


def test_the_kernel_limits_a_flood(lab: Lab, reader: LogReader) -> None:
    """A thousand denied packets at once are some tens of lines."""
    lab.sync(compiled(lab.pods, {2: [ingress()]}))
    flood = lab.spaces["p1"].call(socket.socket, socket.AF_INET, socket.SOCK_DGRAM)
    with flood:
        for number in range(1000):
            flood.sendto(b"x", (lab.pods[1].ip4, 1024 + number))

    found: list[Logged] = []
    while select.select([reader], [], [], 1.0)[0]:
        found += reader.read()[0]
    assert 1 <= len(found) <= 100


def test_a_group_that_is_taken_is_told(lab: Lab, reader: LogReader) -> None:
    """Another logger reads it: the daemon says so and goes on without the log."""
    with pytest.raises(KernelError, match="read by another program"):
        lab.node.call(LogReader, LOG_GROUP)
    assert reader.fileno() >= 0


def test_denials_are_counted_by_the_kernel(lab: Lab) -> None:
    """By direction, and unknown pods apart."""
    known = lab.pods[:2]
    lab.sync(compiled(known, {2: [ingress()], 1: [egress()]}))
    metrics = Metrics()

    lab.probe(OUTSIDE, lab.pods[1].ip4, 80, socket.SOCK_DGRAM)
    lab.probe("p1", "14.215.0.10", 80, socket.SOCK_DGRAM)
    lab.probe(OUTSIDE, lab.pods[2].ip4, 80, socket.SOCK_DGRAM)

    Counters(metrics).add(lab.node.call(read_counters))
    value = metrics.registry.get_sample_value
    assert value("enforcer_denied_packets_total", {"direction": "ingress"}) == 1
    assert value("enforcer_denied_packets_total", {"direction": "egress"}) == 1
    assert value("enforcer_dropped_packets_total", {"reason": "unknown_pod"}) == 1
