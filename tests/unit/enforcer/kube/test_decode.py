"""Pods, namespaces, nodes, lists, watch events and dumps out of JSON."""

from __future__ import annotations

import json
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from enforcer.errors import DecodeError, SettingsError
from enforcer.kube import load_dump
from enforcer.kube.decode import decode_object, decode_page
from enforcer.kube.events import Progress, WatchError, decode_event
from enforcer.model.changes import Kind, Put, Removed, Unreadable
from enforcer.model.net import Direction, Protocol
from enforcer.model.objects import Key, NamedPort, Namespace, Node, Pod, Policy
from enforcer.model.selectors import EVERYTHING

METADATA = {"namespace": "nsa", "name": "a1", "labels": {"app": "a"}}


def decode(kind: Kind, item: Any) -> Any:
    """Decode one object."""
    return decode_object(kind, json.dumps(item).encode())


def pod(**status: Any) -> Pod:
    """Decode a pod with this status."""
    item = {"metadata": METADATA, "spec": {"nodeName": "n1"}, "status": status}
    found = decode(Kind.PODS, item)
    assert isinstance(found, Pod)
    return found


def test_a_pod_is_what_enforcement_needs_of_it() -> None:
    """Addresses of both families, once each; whatever else there is is skipped."""
    ips = [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]
    found = pod(phase="Running", podIP="10.0.0.1", podIPs=ips, conditions=[{"type": "Ready"}])

    assert found == Pod(
        key=Key("nsa", "a1"),
        node="n1",
        labels={"app": "a"},
        addresses=(ip_address("10.0.0.1"), ip_address("fd00::1")),
    )


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_finished_pod_has_no_addresses(phase: str) -> None:
    """Its address may already belong to another pod."""
    assert pod(phase=phase, podIP="10.0.0.1").addresses == ()


def test_a_pod_that_is_being_deleted_is_a_pod_until_it_ends() -> None:
    """It may serve for as long as its grace period lasts, and what policies say holds so long."""
    status = {"phase": "Running", "podIP": "10.0.0.1"}
    ending = {**METADATA, "deletionTimestamp": "2026-01-01T00:00:00Z"}
    item = {"metadata": ending, "spec": {"nodeName": "n1"}, "status": status}

    assert decode(Kind.PODS, item) == pod(**status)


@pytest.mark.parametrize("status", [{}, {"phase": "Pending"}, {"podIP": "", "podIPs": None}])
def test_a_pod_that_waits_has_no_addresses(status: Any) -> None:
    """And that is no problem."""
    assert (pod(**status).addresses, pod(**status).problem) == ((), "")


def test_named_ports_are_those_of_containers_and_sidecars() -> None:
    """Init containers that end before the pod serves are left out."""
    web = {"name": "web", "containerPort": 80}
    dns = {"name": "dns", "containerPort": 53, "protocol": "UDP"}
    spec = {
        "containers": [{"ports": [web, {"containerPort": 9}]}, {"ports": None}],
        "initContainers": [{"restartPolicy": "Always", "ports": [dns]}, {"ports": [web | dns]}],
    }
    found = decode(Kind.PODS, {"metadata": METADATA, "spec": spec, "status": {}})

    assert found.named_ports == (
        NamedPort("web", Protocol.TCP, 80),
        NamedPort("dns", Protocol.UDP, 53),
    )


@pytest.mark.parametrize(
    ("part", "value", "addresses"),
    [
        ("metadata", {**METADATA, "labels": {"app": 7}}, 1),
        ("metadata", {**METADATA, "labels": ["app"]}, 1),
        ("spec", {"nodeName": "n1", "containers": "none"}, 1),
        ("spec", {"nodeName": "n1", "containers": [{"ports": [{"containerPort": 0}]}]}, 1),
        ("spec", {"nodeName": "n1", "hostNetwork": "yes"}, 0),
        ("status", {"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.256"}]}, 1),
        ("status", {"podIP": "10.0.0.1", "podIPs": [{"ip": "::ffff:10.0.0.9"}]}, 1),
        ("status", {"podIPs": "10.0.0.1"}, 0),
    ],
)
def test_a_broken_pod_carries_its_problem(part: str, value: Any, addresses: int) -> None:
    """What is still clear of its addresses is kept: they are denied, not forgotten."""
    whole = {"metadata": METADATA, "spec": {"nodeName": "n1"}, "status": {"podIP": "10.0.0.1"}}
    found = decode(Kind.PODS, whole | {part: value})

    assert found.problem
    assert len(found.addresses) == addresses


def test_a_namespace_has_its_name_label() -> None:
    """Whether its manifest says so or not; broken labels leave that one and a problem."""
    plain = decode(Kind.NAMESPACES, {"metadata": {"name": "nsa", "labels": {"app": "x"}}})
    broken = decode(Kind.NAMESPACES, {"metadata": {"name": "nsa", "labels": 3}})

    assert plain == Namespace("nsa", {"app": "x", "kubernetes.io/metadata.name": "nsa"})
    assert broken.problem
    assert broken.labels == {"kubernetes.io/metadata.name": "nsa"}


def test_a_node_has_addresses_and_ranges() -> None:
    """Names among its addresses are skipped; podCIDR is part of podCIDRs, and may stand alone."""
    addresses = [
        {"type": "InternalIP", "address": "192.168.0.1"},
        {"type": "ExternalIP", "address": "2001:db8::1"},
        {"type": "Hostname", "address": "n1"},
    ]
    spec = {"podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24", "fd00::/64"]}
    item = {"metadata": {"name": "n1"}, "spec": spec, "status": {"addresses": addresses}}

    assert decode(Kind.NODES, item) == Node(
        "n1",
        (ip_address("192.168.0.1"), ip_address("2001:db8::1")),
        (ip_network("10.1.0.0/24"), ip_network("fd00::/64")),
    )


def test_a_node_without_a_range_that_can_be_read_says_so() -> None:
    """The readable ones are kept."""
    spec = {"podCIDR": "10.1.0.0", "podCIDRs": ["fd00::/64"]}
    found = decode(Kind.NODES, {"metadata": {"name": "n1"}, "spec": spec})

    assert found.pod_networks == (ip_network("fd00::/64"),)
    assert "10.1.0.0" in found.problem


def test_garbage_in_a_list_never_stops_the_rest() -> None:
    """Each object stands for itself; what has no name is reported with what is left of it."""
    items = [{"metadata": METADATA}, 7, {"metadata": {"namespace": "nsb", "name": 1}}, None, {}]
    body = {"metadata": {"resourceVersion": "12", "continue": "token"}, "items": items}
    page = decode_page(Kind.PODS, json.dumps(body).encode())

    assert (page.version, page.next_page) == ("12", "token")
    assert isinstance(page.objects[0], Pod)
    rest = page.objects[1:]
    assert all(isinstance(item, Unreadable) for item in rest)
    assert [item.key.namespace for item in rest if isinstance(item, Unreadable)][1] == "nsb"


def test_text_that_is_not_utf8_spoils_its_own_object_only() -> None:
    """Bytes are looked at object by object."""
    good = json.dumps({"metadata": METADATA}).encode()
    body = b'{"metadata":{},"items":[{"metadata":{"name":"\xff"}},%s]}' % good
    page = decode_page(Kind.PODS, body)

    assert [type(item) for item in page.objects] == [Unreadable, Pod]


def test_a_policy_without_a_name_denies_its_namespace() -> None:
    """It cannot be told what it says, so nothing in its namespace is open."""
    found = decode(Kind.POLICIES, {"metadata": {"namespace": "nsa", "name": 5}, "spec": {}})

    assert isinstance(found, Policy)
    assert found.key.namespace == "nsa"
    assert found.is_placed
    assert found.rules == {Direction.INGRESS: (), Direction.EGRESS: ()}


@pytest.mark.parametrize(
    "metadata", [{"name": "np"}, {"name": "np", "namespace": 5}, {"namespace": ["a"]}, "strange"]
)
def test_a_policy_without_a_namespace_denies_every_namespace(metadata: Any) -> None:
    """It may be any namespace's, whatever its rules allow."""
    found = decode(Kind.POLICIES, {"metadata": metadata, "spec": {"ingress": [{}]}})

    assert isinstance(found, Policy)
    assert not found.is_placed
    assert found.pods == EVERYTHING
    assert found.rules == {Direction.INGRESS: (), Direction.EGRESS: ()}
    assert found.problem


def test_a_pod_without_a_namespace_is_nobody() -> None:
    """No policy could select it: it must not pass for one that none selects."""
    found = decode(Kind.PODS, {"metadata": {"name": "a1"}})

    assert found == Unreadable(Kind.PODS, Key("", "a1"), "metadata.namespace is missing")


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"items":3,"metadata":{}}', b"{}"])
def test_what_is_no_list_is_an_error(body: bytes) -> None:
    """An answer that is no list must not look like an empty one."""
    with pytest.raises(DecodeError, match="list of pods"):
        decode_page(Kind.PODS, body)


def event(kind: str, item: Any) -> Any:
    """Decode a line of a watch of pods."""
    return decode_event(Kind.PODS, json.dumps({"type": kind, "object": item}).encode())


def test_watch_events() -> None:
    """Each event carries how far the watch has got."""
    item = {"metadata": {**METADATA, "resourceVersion": "7"}, "spec": {}, "status": {}}
    changed = Pod(Key("nsa", "a1"), "", {"app": "a"}, ())

    assert event("ADDED", item) == Progress("7", Put(changed))
    assert event("MODIFIED", item) == Progress("7", Put(changed))
    assert event("DELETED", item) == Progress("7", Removed(Kind.PODS, Key("nsa", "a1")))
    assert event("BOOKMARK", {"metadata": {"resourceVersion": "9"}}) == Progress("9", None)
    assert event("ERROR", {"code": 410, "message": "too old"}) == WatchError(410, "too old")


@pytest.mark.parametrize("kind", ["ADDED", "MODIFIED", "DELETED"])
def test_an_event_of_a_policy_without_a_namespace_is_an_error(kind: str) -> None:
    """It hides which policy has changed: only a list can tell."""
    item = {"metadata": {"name": "np", "resourceVersion": "7"}}
    line = json.dumps({"type": kind, "object": item}).encode()

    with pytest.raises(DecodeError, match="namespace is missing"):
        decode_event(Kind.POLICIES, line)


def test_a_deleted_namespace_is_removed_by_its_name() -> None:
    """Cluster-wide objects have no namespace in their key."""
    item = {"metadata": {"name": "nsa", "resourceVersion": "7"}}
    line = json.dumps({"type": "DELETED", "object": item}).encode()

    found = decode_event(Kind.NAMESPACES, line)

    assert found == Progress("7", Removed(Kind.NAMESPACES, Key("", "nsa")))


@pytest.mark.parametrize(
    "line", [b"{", b"7", b'{"type":"RENAMED","object":{}}', b'{"type":"ADDED"}']
)
def test_a_line_that_cannot_be_read_is_an_error(line: bytes) -> None:
    """It hides which object has changed."""
    with pytest.raises(DecodeError):
        decode_event(Kind.PODS, line)


NETPOL = {"kind": "NetworkPolicy", "metadata": {"namespace": "nsa", "name": "np"}, "spec": {}}
PODS = {"kind": "PodList", "items": [{"metadata": METADATA}]}
NAMESPACE = {"kind": "Namespace", "metadata": {"name": "nsa"}}


@pytest.mark.parametrize(
    "dump",
    [
        {"kind": "List", "items": [NETPOL, {"kind": "Pod", "metadata": METADATA}, NAMESPACE]},
        [NETPOL, PODS, NAMESPACE, {"kind": "Service", "metadata": {"name": "s"}}],
        {"kind": "List", "items": [PODS, {"kind": "List", "items": [NETPOL, NAMESPACE]}]},
    ],
)
def test_a_dump_is_a_cluster(dump: Any, tmp_path: Path) -> None:
    """As kubectl prints it, or several such documents in an array; other kinds are skipped."""
    path = tmp_path / "cluster.json"
    path.write_text(json.dumps(dump, indent=4))

    cluster = load_dump(path)

    assert cluster.synced
    assert set(cluster.pods) == {Key("nsa", "a1")}
    assert set(cluster.policies) == {Key("nsa", "np")}
    assert set(cluster.namespaces) == {"nsa"}


@pytest.mark.parametrize("text", [None, "", "kind: List", '{"items": 3}'])
def test_a_dump_that_is_none_is_an_error(text: str | None, tmp_path: Path) -> None:
    """One sentence that names the file."""
    path = tmp_path / "cluster.json"
    if text is not None:
        path.write_text(text)

    with pytest.raises(SettingsError, match=r"cluster\.json"):
        load_dump(path)
