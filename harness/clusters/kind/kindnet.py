"""kind's own CNI without its judgement: addresses and routes stay, and nobody enforces.

kindnet lays a network configuration, routes to the other nodes and masquerading, and enforces
NetworkPolicy by nftables tables that send packets to its daemon
(https://github.com/kubernetes-sigs/kind/tree/main/images/kindnetd). The nodes of a cluster of ours
never change, so once they are ready its daemon has nothing more to do: it is sent away, its tables
go, and so does its masquerading, by which a pod would be its node to policies elsewhere. That
nobody enforces any more is not believed but proved: by the deny-all of every run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence

from harness.clusters.kube.kubectl import Kubectl, selecting
from harness.errors import ClusterError

SYSTEM = "kube-system"
OTHERS = frozenset({"kube-proxy"})
"""The DaemonSets of a new cluster that are not its CNI's: of kindnet's name, or of a replacement's
that the node image was built with."""

NOWHERE = {"npd.dev/sent-away": "true"}
"""A label that no node has."""

REMOVE = """
nft list tables 2>/dev/null | while read -r _ family name; do
  case $name in *network-policies) nft delete table "$family" "$name" && echo "$family $name";; esac
done
for program in iptables ip6tables; do
  $program -w -t nat -S POSTROUTING 2>/dev/null | grep -E -- '-j (KIND-MASQ-AGENT|MASQUERADE)' |
    sed 's/^-A/-D/' | while read -r rule; do
      echo "$rule" | xargs $program -w -t nat && echo "$program $rule"
    done
done
true
"""
"""Prints what it takes away. What kube-proxy masquerades is in a chain of its own, and stays."""


OnNode = Callable[[str, Sequence[str]], str]


def send_away(kubectl: Kubectl, nodes: Iterable[str], on_node: OnNode) -> list[str]:
    """Leave the pods their network and take the enforcement away; returns what went. Idempotent.

    ClusterError where the cluster has no CNI of its own.
    """
    there = kubectl.get("-n", SYSTEM, "daemonsets")["items"]
    daemons = [one for one in there if one["metadata"]["name"] not in OTHERS]
    if not daemons:
        raise ClusterError("--cni kindnet: the node image brings no CNI of its own")
    for one in daemons:
        _empty(kubectl, one["metadata"]["name"], one["spec"]["selector"]["matchLabels"])
    gone = [f"DaemonSet {one['metadata']['name']}" for one in daemons]
    for node in nodes:
        said = on_node(node, ["sh", "-c", REMOVE]).splitlines()
        gone += [f"{node}: {line}" for line in said]
    return gone


def _empty(kubectl: Kubectl, name: str, labels: dict[str, str]) -> None:
    """Let a DaemonSet have no pods, and return when they are gone."""
    change = {"spec": {"template": {"spec": {"nodeSelector": NOWHERE}}}}
    kubectl.run(
        "-n", SYSTEM, "patch", f"daemonset/{name}", "--type=merge", "-p", json.dumps(change)
    )
    kubectl.wait_gone(*selecting(SYSTEM, labels))
