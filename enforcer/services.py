"""What a Service's address looks like from here, for who asks about one.

The enforcer does not watch Services: conntrack tells it the backend of each connection, and that
is whom it judges. So who asks about a node's port, a ClusterIP or a load balancer's address is
told whom to ask about.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from enforcer.model.net import IPAddress, IPNetwork
from enforcer.places import Place
from enforcer.policy.reasons import Traffic

NODE_PORTS: Final = range(30000, 32768)
"""kube-apiserver's default --service-node-port-range."""

_BACKEND = (
    "a connection through a Service is judged by its backend, and Services are not watched here: "
    "ask about the backend, NAMESPACE/POD:TARGETPORT"
)


def advice(
    target: Place, traffic: Traffic, services: Iterable[IPNetwork], pods: Iterable[IPNetwork]
) -> tuple[str, ...]:
    """Return a sentence for each address of a target that may be a Service's.

    ``services`` are the Service ranges as far as they are known, ``pods`` the nodes' pod ranges.
    """
    if target.pod is not None:
        return ()
    if target.node:
        return _of_node(target, traffic)
    ranges, inside = tuple(services), tuple(pods)
    found = (_of_address(address, ranges, inside) for address in target.addresses)
    return tuple(sentence for sentence in found if sentence)


def _of_node(target: Place, traffic: Traffic) -> tuple[str, ...]:
    if traffic.protocol is None or traffic.port not in NODE_PORTS:
        return ()
    what = f"{target.text} is node {target.node}, and port {traffic.port} may be a NodePort"
    return (f"{what}: {_BACKEND}",)


def _of_address(
    address: IPAddress, services: tuple[IPNetwork, ...], pods: tuple[IPNetwork, ...]
) -> str:
    if (found := next((net for net in services if address in net), None)) is not None:
        return f"{address} is in the Service range {found}: {_BACKEND}"
    if any(address in network for network in pods):
        return ""
    return f"{address} is no pod's and no node's; should it be a Service's: {_BACKEND}"
