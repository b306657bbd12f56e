"""What the supervisor and its children are told: the shape of one embedded cluster, as JSON."""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from harness.clusters.embedded.addresses import (
    SERVICE_NETWORK,
    SERVICE_NETWORK6,
    IpFamily,
    Network,
    NodePlan,
    plan_nodes,
)
from harness.errors import ClusterError


class ControlPlane(enum.Enum):
    """Which API server a cluster has."""

    BUILTIN = "builtin"
    """A small one of ours, which schedules, too."""
    REAL = "real"
    """kube-apiserver, etcd, kube-controller-manager and kube-scheduler themselves."""


class Proxy(enum.Enum):
    """Who programs Services on the nodes."""

    NFTABLES = "nftables"
    """A small one of ours."""
    KUBE_PROXY_NFTABLES = "kube-proxy-nftables"
    KUBE_PROXY_IPTABLES = "kube-proxy-iptables"
    KUBE_PROXY_IPVS = "kube-proxy-ipvs"

    @property
    def mode(self) -> str:
        """kube-proxy's name for what it does; empty for our own."""
        return self.value.removeprefix("kube-proxy-") if self is not Proxy.NFTABLES else ""


class Cni(enum.Enum):
    """How pods are connected to their node."""

    ROUTED = "routed"
    BRIDGED = "bridged"


@dataclass(frozen=True, slots=True)
class Shape:
    """The shape of an embedded cluster."""

    name: str
    nodes: int = 2
    cni: Cni = Cni.ROUTED
    bridge_netfilter: bool = False
    """``bridge-nf-call-iptables`` on the nodes; only bridged nodes notice."""

    mixed_netfilter: bool = False
    """Whether every other pod bridge of a node, from the first, has ``nf_call_iptables`` set."""

    bridges: int = 1
    """Pod bridges of each bridged node; its pods take turns."""

    ip_family: IpFamily = IpFamily.IPV4

    masquerade: bool = False
    """Whether connections from pods to the outside carry their node's address."""

    pods_per_node: int = 110
    """Allocatable pods of each node (the kubelet's own default)."""

    time_wait: int = 0
    """conntrack's TIME_WAIT timeout on nodes in seconds; 0 leaves the kernel's (120)."""

    proxy: Proxy = Proxy.NFTABLES

    programs: Mapping[str, str] = field(default_factory=dict)
    """The real control plane's programs: name to path. None of them: the builtin one."""

    kubernetes: str = ""
    """The real control plane's version."""

    pod_logs: bool = False
    """Whether each nginx keeps a log of its own, requests included; it costs a few percent."""

    @property
    def control_plane(self) -> ControlPlane:
        """Which API server it has."""
        return ControlPlane.REAL if self.programs else ControlPlane.BUILTIN

    def plan(self) -> tuple[NodePlan, ...]:
        """Return the nodes' addresses."""
        segments = self.bridges if self.cni is Cni.BRIDGED else 1
        return plan_nodes(self.nodes, self.pods_per_node, self.ip_family, segments)

    @property
    def service_networks(self) -> tuple[Network, ...]:
        """Return the ranges of the ClusterIPs, the primary family's first."""
        return self.ip_family.of(SERVICE_NETWORK, SERVICE_NETWORK6)

    def to_json(self) -> str:
        """Return it as JSON."""
        return json.dumps(self.describe() | {"programs": dict(self.programs)})

    def describe(self) -> dict[str, Any]:
        """Return its fields, but for where programs lie."""
        plain = {
            "cni": self.cni.value,
            "proxy": self.proxy.value,
            "ip_family": self.ip_family.value,
        }
        fields = asdict(self) | plain
        del fields["programs"]
        return fields

    @classmethod
    def from_json(cls, text: str) -> Shape:
        """Read what :meth:`to_json` wrote; ClusterError if another version of this wrote it."""
        fields = json.loads(text)
        try:
            kinds = {
                "cni": Cni(fields["cni"]),
                "proxy": Proxy(fields["proxy"]),
                "ip_family": IpFamily(fields["ip_family"]),
            }
            return cls(**(fields | kinds))
        except (KeyError, TypeError, ValueError) as error:
            message = "another version of the harness brought it up, only `down` is left for it"
            raise ClusterError(message) from error
