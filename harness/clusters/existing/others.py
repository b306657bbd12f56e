"""Who else is on a cluster: programs that may enforce, and policies that are not ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from harness.clusters.base import Manifest
from harness.clusters.kube.owned import is_ours

OURS = "npd-enforcer"
"""The DaemonSet of this repository's own enforcer, whoever deployed it."""

KNOWN: Mapping[str, str] = MappingProxyType(
    {
        "anetd": "GKE Dataplane V2 (Cilium)",
        "antrea-agent": "Antrea",
        "aws-node": "AWS VPC CNI",
        "azure-npm": "Azure NPM",
        "calico-node": "Calico",
        "canal": "Canal (Calico)",
        "cilium": "Cilium",
        "kindnet": "kindnet",
        "kube-network-policies": "kube-network-policies",
        "kube-ovn-cni": "Kube-OVN",
        "kube-router": "kube-router",
        OURS: "npd enforcer",
        "ovnkube-node": "OVN-Kubernetes",
        "weave-net": "Weave Net",
    }
)
"""DaemonSets by their names, and what runs there.

All of them can enforce NetworkPolicy, and most do: whether one does, only a probe can tell.
"""

CLUSTER_WIDE = (
    "adminnetworkpolicies.policy.networking.k8s.io",
    "baselineadminnetworkpolicies.policy.networking.k8s.io",
    "clusternetworkpolicies.policy.networking.k8s.io",
    "globalnetworkpolicies.crd.projectcalico.org",
    "ciliumclusterwidenetworkpolicies.cilium.io",
    "clusternetworkpolicies.crd.antrea.io",
)
"""Kinds of policy that are of no namespace, and so may select our pods as well."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A DaemonSet that is known to enforce NetworkPolicy where it is told to."""

    daemon_set: str
    """``namespace/name``."""
    product: str

    def __str__(self) -> str:
        """Return the product and its DaemonSet."""
        return f"{self.product} (DaemonSet {self.daemon_set})"


def candidates(daemon_sets: Iterable[Manifest]) -> tuple[Candidate, ...]:
    """Return the DaemonSets that may enforce already, in the order of their names."""
    found = (
        Candidate(name_of(one), KNOWN[one["metadata"]["name"]])
        for one in daemon_sets
        if one["metadata"]["name"] in KNOWN and not is_ours(one)
    )
    return tuple(sorted(found, key=str))


def foreign(policies: Iterable[Manifest]) -> tuple[str, ...]:
    """Return the policies that are not ours, as ``namespace/name`` (or a name), sorted."""
    return tuple(sorted(name_of(one) for one in policies if not is_ours(one)))


def name_of(manifest: Manifest) -> str:
    """Return ``namespace/name``; the name alone where there is no namespace."""
    metadata = manifest["metadata"]
    return "/".join(filter(None, (metadata.get("namespace"), metadata["name"])))
