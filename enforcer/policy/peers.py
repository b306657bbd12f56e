"""Peers of rules -> addresses, each question answered once per compile."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TypeVar, cast

from enforcer.model.net import IPAddress, PortRange
from enforcer.model.objects import BlockPeer, EveryPeer, NamedPortRef, Peer, Pod, PodPeer
from enforcer.model.selectors import EVERYTHING, Selector
from enforcer.policy import intervals
from enforcer.policy.allow import PeerPort
from enforcer.policy.cluster import Cluster, PodGroup

_Answer = TypeVar("_Answer")

_ALL_PODS = PodPeer(EVERYTHING, EVERYTHING, own_namespace=False)


class Peers:
    """Finds the pods that peers mean in one cluster, which must not change meanwhile."""

    def __init__(self, cluster: Cluster) -> None:
        """Answer for ``cluster`` as it is now."""
        self._cluster = cluster
        self._answers: dict[Hashable, object] = {}

    def addresses(self, peer: PodPeer, namespace: str) -> frozenset[IPAddress]:
        """Return the addresses of a policy's pod peer; ``namespace`` is the policy's."""
        return self._once(
            ("addresses", *_scope(peer, namespace)),
            lambda: frozenset[IPAddress]().union(
                *(group.addresses for group in self._groups(peer, namespace))
            ),
        )

    def on_port(self, addresses: frozenset[IPAddress], port: PortRange) -> frozenset[PeerPort]:
        """Return the addresses, each with the same single port."""
        return self._once(
            (port, addresses),
            lambda: frozenset((address, port.protocol, port.first) for address in addresses),
        )

    def on_named_port(
        self, peer: Peer | EveryPeer, namespace: str, port: NamedPortRef
    ) -> frozenset[PeerPort]:
        """Return the addresses of peers with the port that each of them gives this name.

        A pod that names two ports alike offers both. An address that is no pod names no ports.
        """
        match peer:
            case PodPeer():
                return self._named(peer, namespace, port)
            case EveryPeer():
                return self._named(_ALL_PODS, namespace, port)
            case BlockPeer():
                inside = intervals.of_block(peer)
                named = self._named(_ALL_PODS, namespace, port)
                return frozenset(item for item in named if intervals.contains(inside, item[0]))

    def _named(self, peer: PodPeer, namespace: str, port: NamedPortRef) -> frozenset[PeerPort]:
        return self._once(
            (port, *_scope(peer, namespace)),
            lambda: frozenset(
                (address, range_.protocol, range_.first)
                for group in self._groups(peer, namespace)
                for pod in group.pods.values()
                for range_ in named_port(pod, port)
                for address in pod.addresses
            ),
        )

    def _groups(self, peer: PodPeer, namespace: str) -> list[PodGroup]:
        names = (namespace,) if peer.own_namespace else self._namespaces(peer.namespaces)
        return [group for name in names for group in self._cluster.peers(name, peer.pods)]

    def _namespaces(self, selector: Selector) -> tuple[str, ...]:
        return self._once(
            ("namespaces", selector),
            lambda: tuple(
                namespace.name
                for namespace in self._cluster.namespaces.values()
                if not namespace.problem and selector.matches(namespace.labels)
            ),
        )

    def _once(self, question: Hashable, work: Callable[[], _Answer]) -> _Answer:
        if question not in self._answers:
            self._answers[question] = work()
        return cast("_Answer", self._answers[question])


def named_port(pod: Pod, port: NamedPortRef) -> list[PortRange]:
    """Return the ports that a pod gives this name, for this protocol."""
    return [
        PortRange(item.protocol, item.port, item.port)
        for item in pod.named_ports
        if (item.name, item.protocol) == (port.name, port.protocol)
    ]


def _scope(peer: PodPeer, namespace: str) -> tuple[PodPeer, str]:
    """Return what a peer's meaning depends on: its namespace only where it says so."""
    return peer, namespace if peer.own_namespace else ""
