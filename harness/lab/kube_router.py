"""kube-router 0.2.0's rules for the study's policy, as its source lays them out.

For each isolated pod: a chain that accepts replies, then what comes from the node, then asks the
pod's policies, then logs and rejects; a jump to it in OUTPUT and two in FORWARD, the second for
bridged frames. Each is *inserted* at the head, so that a pod's place in FORWARD is arbitrary: the
measured pod stands in the middle. Of kube-router's source: v0.2.0,
pkg/controllers/netpol/network_policy_controller.go.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

POLICY = "KUBE-NWPLCY-STUDY"
SOURCES, TARGETS = "KUBE-SRC-STUDY", "KUBE-DST-STUDY"


@dataclass(frozen=True, slots=True)
class IptablesRules:
    """What ``iptables-restore`` and ``ipset restore`` are given."""

    iptables: str
    ipset: str


def rules(pods: Sequence[str], network: str, ports: Sequence[int]) -> IptablesRules:
    """Return the rules of a node with these pods, reached from ``network`` on TCP ``ports``."""
    chains = {pod: _chain(pod) for pod in pods}
    lines = [
        "*filter",
        *(f":{name} ACCEPT [0:0]" for name in ("INPUT", "FORWARD", "OUTPUT")),
        *(f":{name} - [0:0]" for name in (POLICY, *chains.values())),
        *(jump for pod, chain in chains.items() for jump in _jumps(pod, chain)),
        *(rule for pod, chain in chains.items() for rule in _pod(pod, chain)),
        *(
            f'-A {POLICY} -m comment --comment "rule to ACCEPT traffic from source ipBlock" '
            f"-m set --match-set {SOURCES} src -m set --match-set {TARGETS} dst "
            f"-p tcp -m tcp --dport {port} -j ACCEPT"
            for port in ports
        ),
        "COMMIT",
    ]
    sets = [
        f"create {SOURCES} hash:net family inet",
        f"add {SOURCES} {network}",
        f"create {TARGETS} hash:ip family inet",
        *(f"add {TARGETS} {pod}" for pod in pods),
    ]
    return IptablesRules("\n".join(lines) + "\n", "\n".join(sets) + "\n")


def _chain(pod: str) -> str:
    return f"KUBE-POD-FW-{hashlib.sha256(pod.encode()).hexdigest()[:16].upper()}"


def _jumps(pod: str, chain: str) -> list[str]:
    note = f'-m comment --comment "rule to jump traffic destined to POD {pod} to chain {chain}"'
    return [
        f"-A FORWARD -m physdev --physdev-is-bridged {note} -d {pod} -j {chain}",
        f"-A FORWARD {note} -d {pod} -j {chain}",
        f"-A OUTPUT {note} -d {pod} -j {chain}",
    ]


def _pod(pod: str, chain: str) -> list[str]:
    return [
        f"-A {chain} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        f"-A {chain} -m addrtype --src-type LOCAL -d {pod} -j ACCEPT",
        f"-A {chain} -j {POLICY}",
        f"-A {chain} -m limit --limit 10/minute --limit-burst 10 -j NFLOG --nflog-group 100",
        f"-A {chain} -j REJECT --reject-with icmp-port-unreachable",
    ]
