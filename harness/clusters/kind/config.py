"""kind's configuration as a value (https://kind.sigs.k8s.io/docs/user/configuration/)."""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass
from typing import Any

from harness.clusters.kind.network import PodWiring


class KubeProxyMode(enum.Enum):
    """How kube-proxy turns Services into packets' destinations."""

    IPTABLES = "iptables"
    NFTABLES = "nftables"
    IPVS = "ipvs"


class IpFamily(enum.Enum):
    """The addresses that pods and Services have."""

    IPV4 = "ipv4"
    IPV6 = "ipv6"
    DUAL = "dual"


@dataclass(frozen=True, slots=True)
class KindConfig:
    """A cluster to be made.

    kind's own CNI is left out unless it is asked for: it enforces NetworkPolicy itself.
    """

    workers: int = 1
    proxy: KubeProxyMode = KubeProxyMode.IPTABLES
    family: IpFamily = IpFamily.IPV4
    own_cni: bool = False

    def document(self) -> dict[str, Any]:
        """Return it as kind reads it."""
        return {
            "kind": "Cluster",
            "apiVersion": "kind.x-k8s.io/v1alpha4",
            "networking": {
                "disableDefaultCNI": not self.own_cni,
                "kubeProxyMode": self.proxy.value,
                "ipFamily": self.family.value,
            },
            "nodes": [{"role": "control-plane"}, *[{"role": "worker"}] * self.workers],
        }

    def mark(self) -> str:
        """Return a line that tells clusters of ours apart, whichever run made them."""
        return json.dumps(self.document(), sort_keys=True)


@dataclass(frozen=True, slots=True)
class KindShape:
    """A cluster, and how new pods are wired in it."""

    config: KindConfig = KindConfig()
    wiring: PodWiring = PodWiring.ROUTED
    bridge_netfilter: bool = False
    """``bridge-nf-call-iptables`` on the nodes; only bridged nodes notice."""

    def describe(self) -> dict[str, Any]:
        """Return it in the words of the cluster options."""
        return {
            "nodes": 1 + self.config.workers,
            "cni": "kindnet" if self.config.own_cni else self.wiring.name.lower(),
            "bridge_netfilter": self.bridge_netfilter,
            "bridges": 1,
            "proxy": f"kube-proxy-{self.config.proxy.value}",
            "ip_family": self.config.family.value,
        }
