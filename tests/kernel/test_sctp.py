"""SCTP, where the kernel has it: judged by its own ports, and revoked like the rest."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.kernel.netlab import OUTSIDE, Lab, Verdict, echoes, family
from tests.kernel.policies import SCTP, TCP, compiled, ingress, peer_ports, peers

pytestmark = [pytest.mark.kernel, pytest.mark.optional("@sctp")]

ADDRESSES = pytest.mark.parametrize("address", ["ip4", "ip6"])
PORT = 90


@contextmanager
def association(lab: Lab, place: str, address: str) -> Iterator[socket.socket]:
    """Open an association to an echo server."""
    sock = lab.spaces[place].call(_socket, family(address))
    with sock:
        sock.settimeout(2)
        sock.connect((address, PORT))
        yield sock


def probe(lab: Lab, place: str, address: str) -> Verdict:
    """Say how an association to an echo server ends."""
    try:
        with association(lab, place, address) as sock:
            return Verdict.OPEN if echoes(sock) else Verdict.DROPPED
    except TimeoutError:
        return Verdict.DROPPED


@pytest.fixture(autouse=True)
def _server(lab: Lab) -> None:
    for pod in lab.pods:
        listener = lab.spaces[pod.name].call(_socket, socket.AF_INET6)
        listener.bind(("::", PORT))
        listener.listen(16)
        lab.echo.add(listener)


def _socket(family: socket.AddressFamily) -> socket.socket:
    return socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_SCTP)


@ADDRESSES
def test_a_port_of_sctp_is_no_port_of_tcp(lab: Lab, address: str) -> None:
    """A rule for one protocol opens nothing of the other."""
    one, two, three = lab.pods
    allowed = {2: [ingress(peer_ports([one], (SCTP, PORT)))], 3: [ingress(peers(), "none")]}
    lab.sync(compiled(lab.pods, allowed))

    assert probe(lab, "p1", getattr(two, address)) is Verdict.OPEN
    assert probe(lab, "p3", getattr(two, address)) is Verdict.DROPPED
    assert probe(lab, "p1", getattr(three, address)) is Verdict.DROPPED
    assert lab.probe("p1", getattr(two, address), 80) is Verdict.DROPPED

    lab.sync(compiled(lab.pods, {2: [ingress(peer_ports([one], (TCP, PORT)))]}))
    assert probe(lab, "p1", getattr(two, address)) is Verdict.DROPPED


def test_who_is_outside_is_judged_by_address(lab: Lab) -> None:
    """An association from outside reaches an isolated pod from an allowed network alone."""
    two = lab.pods[1]
    lab.sync(compiled(lab.pods, {2: [ingress(peers("14.215.0.10"))]}))
    assert probe(lab, OUTSIDE, two.ip4) is Verdict.OPEN

    lab.sync(compiled(lab.pods, {2: [ingress(peers("14.216.0.10"))]}))
    assert probe(lab, OUTSIDE, two.ip4) is Verdict.DROPPED


@ADDRESSES
def test_an_association_is_cut_by_a_tightening(lab: Lab, address: str) -> None:
    """What a policy forbids is cut at the next packet; what it still allows goes on."""
    one, two, three = lab.pods
    lab.sync(compiled(lab.pods, {2: [ingress(peers(one, three))]}))
    with (
        association(lab, "p1", getattr(two, address)) as cut,
        association(lab, "p3", getattr(two, address)) as kept,
    ):
        assert echoes(cut)
        assert echoes(kept)

        lab.sync(compiled(lab.pods, {2: [ingress(peers(three))]}))

        assert not echoes(cut)
        assert echoes(kept)
