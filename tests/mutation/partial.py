"""Mutants that take a part of what a policy says for the whole: of a list the first, of a mask 24.

They are right for every policy that has one of each thing, as most examples have.
"""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Callable
from typing import Any

from enforcer.kube import decode, policies
from enforcer.model.changes import Kind, Put
from enforcer.model.net import IPNetwork, PortRange, Protocol
from enforcer.model.objects import BlockPeer, EveryPeer, EveryPort, PodPeer, Policy
from enforcer.model.selectors import Selector
from enforcer.policy import cluster
from tests.mutation.catalogue import Ground, mutant, wrap
from tests.mutation.following import each_change

Function = Callable[..., Any]

_MULTIPORT = 15
"""As many ports as a rule of iptables' multiport holds (iptables-extensions(8))."""


_Change = Callable[[tuple[Any, ...]], tuple[Any, ...]]


def _each_list(name: str, every: type, change: _Change) -> None:
    """Change every list of peers or ports that is not empty."""

    def around(real: Function) -> Function:
        def changed(listed: Any, where: str) -> Any:
            found = real(listed, where)
            return found if isinstance(found, every) else change(found)

        return changed

    wrap(policies, name, around)


def _each_block(change: Callable[[BlockPeer], BlockPeer]) -> None:
    wrap(policies, "_block", lambda real: lambda given, where: change(real(given, where)))


@mutant(first="NP-PORT-016")
def first_port_only() -> None:
    """Of a rule's ports only the first one counts."""
    _each_list("_ports", EveryPort, lambda found: found[:1])


@mutant(first="NP-PORT-019")
def fifteen_ports_at_most() -> None:
    """Of a rule's ports the first fifteen count, as many as a rule of iptables holds."""
    _each_list("_ports", EveryPort, lambda found: found[:_MULTIPORT])


@mutant(first="NP-PEER-005")
def first_peer_only() -> None:
    """Of a rule's peers only the first one counts."""
    _each_list("_peers", EveryPeer, lambda found: found[:1])


@mutant(first="NP-PEER-015")
def except_of_the_first_block_only() -> None:
    """The exceptions of a rule's second block, and of further ones, are not looked at."""

    def change(found: tuple[Any, ...]) -> tuple[Any, ...]:
        first, *others = found
        return (first, *(_whole(one) for one in others))

    _each_list("_peers", EveryPeer, change)


def _whole(peer: Any) -> Any:
    return BlockPeer(peer.network) if isinstance(peer, BlockPeer) else peer


@mutant(first="NP-HOSTILE-004")
def first_except_only() -> None:
    """Of a block's exceptions only the first one counts."""
    _each_block(lambda one: dataclasses.replace(one, excepts=one.excepts[:1]))


@mutant(ground=Ground.IPV6, first="NP-PEER-020")
def except_ignored_for_ipv6() -> None:
    """The exceptions of IPv6 blocks are not looked at."""
    _each_block(lambda one: one if one.network.version == 4 else BlockPeer(one.network))


@mutant(first="NP-PEER-019")
def blocks_end_at_24() -> None:
    """A block that is narrower than 256 addresses is taken for all of these."""
    _each_block(lambda one: dataclasses.replace(one, network=_at_least_24(one.network)))


def _at_least_24(network: IPNetwork) -> IPNetwork:
    if isinstance(network, ipaddress.IPv4Network) and network.prefixlen > 24:
        return network.supernet(new_prefix=24)
    return network


@mutant(first="NP-PORT-018")
def ranges_of_tcp_alone() -> None:
    """Of a range of ports that is not TCP's only the first is admitted."""

    def first(real: Function) -> Function:
        def port(given: Any, where: str) -> Any:
            found = real(given, where)
            ranged = isinstance(found, PortRange) and found.protocol is not Protocol.TCP
            return dataclasses.replace(found, last=found.first) if ranged else found

        return port

    wrap(policies, "_port", first)


@mutant(first="NP-HOSTILE-009")
def any_term_of_a_selector() -> None:
    """A selector of several terms is met by whoever meets one of them: OR for AND."""

    def matches(self: Selector, labels: Any) -> bool:
        terms = [Selector((one,)) for one in self.requirements]
        return not terms or any(real(term, labels) for term in terms)

    real = Selector.matches
    wrap(Selector, "matches", lambda _: matches)


@mutant(first="NP-PEER-003")
def empty_namespace_selector_is_own_namespace() -> None:
    """A namespaceSelector that is empty is taken for one that is missing."""

    def own(real: Function) -> Function:
        def peer(given: Any, where: str) -> Any:
            found = real(given, where)
            empty = isinstance(found, PodPeer) and not found.namespaces.requirements
            return dataclasses.replace(found, own_namespace=True) if empty else found

        return peer

    wrap(policies, "_peer", own)


@mutant(first="NP-PEER-013")
def host_network_pods_are_peers() -> None:
    """A selector of pods means pods on their node's network, too, and so the whole node."""
    wrap(cluster, "_can_be_peer", lambda _: lambda pod: bool(pod.addresses))


@mutant(ground=Ground.IPV6, first="NP-PEER-001")
def first_address_only() -> None:
    """Of a pod's addresses, one for each family, only the first one is known."""

    def first(real: Function) -> Function:
        def pod(key: Any, opened: Any) -> Any:
            found = real(key, opened)
            return dataclasses.replace(found, addresses=found.addresses[:1])

        return pod

    decoders: Any = decode._DECODERS
    decoders[Kind.PODS] = first(decoders[Kind.PODS])


@mutant(first="NP-STACK-007")
def policies_of_one_name_are_one() -> None:
    """Of two policies with one name in two namespaces the second takes the other's place."""

    def change(known: cluster.Cluster, given: Any) -> Any:
        if isinstance(given, Put) and isinstance(given.item, Policy):
            for key in [one for one in known.policies if one.name == given.item.key.name]:
                if key != given.item.key:
                    known._remove(Kind.POLICIES, key)
        return given

    each_change(change)
