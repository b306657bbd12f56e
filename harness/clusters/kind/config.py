"""kind's configuration as a value (https://kind.sigs.k8s.io/docs/user/configuration/)."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any


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
    """A cluster to be made. Its own CNI is left out: kindnet enforces NetworkPolicy itself."""

    workers: int = 1
    proxy: KubeProxyMode = KubeProxyMode.IPTABLES
    family: IpFamily = IpFamily.IPV4

    def document(self) -> dict[str, Any]:
        """Return it as kind reads it."""
        return {
            "kind": "Cluster",
            "apiVersion": "kind.x-k8s.io/v1alpha4",
            "networking": {
                "disableDefaultCNI": True,
                "kubeProxyMode": self.proxy.value,
                "ipFamily": self.family.value,
            },
            "nodes": [{"role": "control-plane"}, *[{"role": "worker"}] * self.workers],
        }
