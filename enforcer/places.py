"""Who is meant by ``FROM`` and ``TO:PORT`` on a command line: pods, nodes and addresses."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from enforcer.errors import SettingsError
from enforcer.model.net import LAST_PORT, IPAddress, Protocol
from enforcer.model.objects import Key, Node, Pod
from enforcer.policy.cluster import Cluster
from enforcer.policy.reasons import End, Traffic

_ICMP = "icmp"
_SHAPE = "write NAMESPACE/POD, node/NAME or an address"


@dataclass(frozen=True, slots=True)
class Place:
    """A pod, a node or a bare address, with every address that it has."""

    text: str
    addresses: tuple[IPAddress, ...]
    pod: Pod | None = None
    node: str = ""
    """The node that a pod runs on, or that this is; empty for a bare address."""

    @property
    def on_host(self) -> bool:
        """Whether it is the node itself, be it through a hostNetwork pod."""
        return bool(self.node) and (self.pod is None or self.pod.host_network)

    def end(self, address: IPAddress) -> End:
        """Return this place as the end of a connection."""
        return End(address, self.pod)


def parse_target(text: str) -> tuple[str, Traffic]:
    """Split ``TO:PORT[/PROTO]`` or ``TO/icmp``; ``ValueError`` says what is wrong."""
    place, slash, last = text.rpartition("/")
    if slash and last.lower() == _ICMP:
        return place, Traffic(None)
    protocol = Protocol.TCP
    if slash and last.upper() in Protocol.__members__:
        protocol, text = Protocol[last.upper()], place
    place, colon, port = text.rpartition(":")
    if not colon or not place:
        message = f"{text!r} names no port; write TO:PORT, TO:PORT/udp or TO/icmp"
        raise ValueError(message)
    if not port.isdecimal() or not 0 < int(port) <= LAST_PORT:
        message = f"{port!r} is no port of TCP, UDP or SCTP; write TO:PORT[/tcp|udp|sctp]"
        raise ValueError(message)
    return place, Traffic(protocol, int(port))


class Places:
    """Finds places in a cluster."""

    def __init__(self, cluster: Cluster) -> None:
        """Answer for ``cluster`` as it is now."""
        self._cluster = cluster
        nodes = cluster.nodes.values()
        self._nodes = {address: node for node in nodes for address in node.addresses}

    def find(self, text: str) -> Place:
        """Return the place that a text means; ``ValueError`` says what is wrong with it."""
        inner = text.removeprefix("[").removesuffix("]")
        try:
            return self._at(text, ipaddress.ip_address(inner))
        except ValueError:
            pass
        first, slash, name = text.partition("/")
        if not slash or not first or not name:
            message = f"{text!r} is no place; {_SHAPE}"
            raise ValueError(message)
        if first == "node" and name in self._cluster.nodes:
            return _of_node(text, self._cluster.nodes[name])
        return self._pod(text, Key(first, name))

    def _at(self, text: str, address: IPAddress) -> Place:
        """Return who has an address; of several pods, the one that policies would mean."""
        if node := self._nodes.get(address):
            return Place(text, (address,), node=node.name)
        pods = [pod for pod in self._cluster.pods.values() if address in pod.addresses]
        pods.sort(key=lambda pod: (bool(pod.problem), pod.key))
        if pods:
            return Place(text, (address,), pods[0], pods[0].node)
        return Place(text, (address,))

    def _pod(self, text: str, key: Key) -> Place:
        pod = self._cluster.pods.get(key)
        if pod is None:
            raise ValueError(self._no_pod(key))
        if not pod.addresses:
            message = (
                f"pod {key} has no address (not started yet, or finished): nothing reaches it, and "
                "what it sends is denied as an unknown pod's until its address is known"
            )
            raise ValueError(message)
        return Place(text, pod.addresses, pod, pod.node)

    def _no_pod(self, key: Key) -> str:
        if key.namespace == "node":
            known = ", ".join(sorted(self._cluster.nodes)) or "none"
            return f"there is no Node {key.name}; there is: {known}"
        there = sorted(pod.name for pod in self._cluster.pods if pod.namespace == key.namespace)
        shown = ", ".join(there[:_MOST_NAMES]) + (", ..." if len(there) > _MOST_NAMES else "")
        return f"there is no pod {key}; namespace {key.namespace} has: {shown or 'no pods'}"


_MOST_NAMES = 10


def _of_node(text: str, node: Node) -> Place:
    if not node.addresses:
        message = f"Node {node.name} has no address"
        raise ValueError(message)
    return Place(text, node.addresses, node=node.name)


def find_both(cluster: Cluster, client: str, target: str) -> tuple[Place, Place, Traffic]:
    """Return client, server and traffic; SettingsError names every mistake, one a line."""
    places = Places(cluster)
    mistakes: list[str] = []

    def find(name: str, text: str) -> Place | None:
        try:
            return places.find(text)
        except ValueError as error:
            mistakes.append(f"{name}: {error}")
            return None

    source = find("FROM", client)
    server, traffic = None, Traffic(None)
    try:
        place, traffic = parse_target(target)
    except ValueError as error:
        mistakes.append(f"TO: {error}")
    else:
        server = find("TO", place)
    if source is None or server is None:
        raise SettingsError("\n".join(mistakes))
    return source, server, traffic
