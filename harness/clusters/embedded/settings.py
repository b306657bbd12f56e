"""What the supervisor and its children are told: the shape of one embedded cluster, as JSON."""

from __future__ import annotations

import enum
import json
from dataclasses import asdict, dataclass

from harness.clusters.embedded.addresses import NodePlan, plan_nodes


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

    masquerade: bool = False
    """Whether connections from pods to the outside carry their node's address."""

    pods_per_node: int = 110
    """Allocatable pods of each node (the kubelet's own default)."""

    time_wait: int = 0
    """conntrack's TIME_WAIT timeout on nodes in seconds; 0 leaves the kernel's (120)."""

    def plan(self) -> tuple[NodePlan, ...]:
        """Return the nodes' addresses."""
        return plan_nodes(self.nodes, self.pods_per_node)

    def to_json(self) -> str:
        """Return it as JSON."""
        return json.dumps(asdict(self) | {"cni": self.cni.value})

    @classmethod
    def from_json(cls, text: str) -> Shape:
        """Read what :meth:`to_json` wrote."""
        fields = json.loads(text)
        return cls(**(fields | {"cni": Cni(fields["cni"])}))
