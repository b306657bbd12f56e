"""Which values of the cluster options do not go together, and why.

Each rule looks at values that are sound by themselves; what speaks of one that is not is passed
over, so that a mistake is told once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

BRIDGE_PORTS = 1023
"""Ports that a Linux bridge holds (BR_MAX_PORTS in net/bridge/br_private.h)."""

KIND_PODS = 110
"""What the kubelet of a kind node admits: its own default."""


def complaints(given: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each mistake among values by option key."""
    match given.get("cluster"):
        case "kind":
            yield from _about_kind(given)
        case "kubeconfig":
            pass
        case _:
            yield from _about_control_plane(given)
    yield from _about_other_clusters(given)
    yield from _about_bridges(given)


_OF_SOME: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "kubeconfig": ("kubeconfig",),
        "context": ("kubeconfig",),
        "kind": ("kind",),
        "node_image": ("kind",),
        "kubectl": ("kind", "kubeconfig"),
        "image": ("kind", "kubeconfig"),
    }
)
"""Options that speak of some kinds of cluster alone."""


def _about_other_clusters(given: Mapping[str, Any]) -> Iterator[str]:
    """Say which values speak of another kind of cluster than the one that is meant."""
    for key, kinds in _OF_SOME.items():
        if given.get(key) and given.get("cluster") not in kinds:
            yield f"--{key.replace('_', '-')} goes with --cluster {' or '.join(kinds)}"
    if given.get("cni") == "kindnet" and given.get("cluster") != "kind":
        yield "--cni kindnet goes with --cluster kind"


def _about_kind(given: Mapping[str, Any]) -> Iterator[str]:
    """Say what a cluster of kind cannot be."""
    own = "is of embedded clusters alone, not of --cluster kind"
    wrong = {
        "control-plane": ("builtin", own),
        "proxy": ("nftables", f"{own}: there is kube-proxy-iptables"),
        "bridge-netfilter": ("mixed", own),
        "masquerade": ("on", own),
    }
    for name, (value, why) in wrong.items():
        if given.get(name.replace("-", "_")) == value:
            yield f"--{name} {value} {why}"
    if given.get("kubernetes_version"):
        yield "--kubernetes-version: on --cluster kind it is the node image's"
    if int(given.get("bridges", 1)) > 1:
        yield f"--bridges {given['bridges']} {own}"
    if int(given.get("pods_per_node", 0)) > KIND_PODS:
        yield f"--pods-per-node: a node of kind takes {KIND_PODS} pods"


def _about_control_plane(given: Mapping[str, Any]) -> Iterator[str]:
    """Say what the builtin control plane does not have."""
    if given.get("control_plane") != "builtin":
        return
    if given.get("kubernetes_version"):
        yield "--kubernetes-version goes with --control-plane real"
    if str(given.get("proxy")).startswith("kube-proxy"):
        yield (
            f"--proxy {given['proxy']} needs EndpointSlices, which a controller of "
            "--control-plane real makes"
        )


def _about_bridges(given: Mapping[str, Any]) -> Iterator[str]:
    """Say what does not go with the bridges asked for."""
    bridges, pods = int(given.get("bridges", 1)), int(given.get("pods_per_node", 0))
    if given.get("cni") == "bridged" and pods > BRIDGE_PORTS * bridges:
        yield (
            f"--pods-per-node {pods} does not go with --cni bridged: a Linux bridge holds "
            f"{BRIDGE_PORTS} ports; take more nodes, or --cni routed"
        )
    if given.get("cni") == "routed" and bridges > 1:
        yield f"--bridges {bridges} goes with --cni bridged"
    if given.get("bridge_netfilter") == "mixed" and "bridges" in given and bridges == 1:
        yield "--bridge-netfilter mixed needs --bridges 2 or more"
