"""The fields that this server reads, typed; the rest of an object passes through unread.

A value of the wrong type is found by decoding into these (400, as with a real API server); what a
value means is checked in ``validation``.
"""

from __future__ import annotations

import msgspec


class Shape(msgspec.Struct, rename="camel", frozen=True, gc=False):
    """Base: camelCase names, unknown fields ignored."""


class Metadata(Shape, frozen=True):
    """``metav1.ObjectMeta``."""

    name: str = ""
    generate_name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    finalizers: tuple[str, ...] = ()


class Plain(Shape, frozen=True):
    """Any object of which only the metadata is read."""

    metadata: Metadata = Metadata()


class ContainerPort(Shape, frozen=True):
    """``v1.ContainerPort``."""

    container_port: int = 0
    host_port: int = 0
    name: str = ""
    protocol: str = "TCP"


class Container(Shape, frozen=True):
    """``v1.Container``."""

    name: str = ""
    image: str = ""
    ports: tuple[ContainerPort, ...] = ()


class PodSpec(Shape, frozen=True):
    """``v1.PodSpec``."""

    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] = ()
    node_name: str = ""
    node_selector: dict[str, str] = {}
    host_network: bool = False
    restart_policy: str = "Always"
    termination_grace_period_seconds: int = 30


class Condition(Shape, frozen=True):
    """``v1.PodCondition`` and ``v1.NodeCondition``."""

    type: str = ""
    status: str = ""


class ContainerState(Shape, frozen=True):
    """``v1.ContainerStateWaiting``, of all states the one that is shown."""

    reason: str = ""


class ContainerStatus(Shape, frozen=True):
    """``v1.ContainerStatus``."""

    ready: bool = False
    restart_count: int = 0
    state: dict[str, ContainerState] = {}


class PodStatus(Shape, frozen=True):
    """``v1.PodStatus``."""

    phase: str = ""
    pod_ip: str = msgspec.field(default="", name="podIP")
    conditions: tuple[Condition, ...] = ()
    container_statuses: tuple[ContainerStatus, ...] = ()


class Pod(Plain, frozen=True):
    """``v1.Pod``."""

    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


class Taint(Shape, frozen=True):
    """``v1.Taint``."""

    effect: str = ""


class NodeSpec(Shape, frozen=True):
    """``v1.NodeSpec``."""

    unschedulable: bool = False
    taints: tuple[Taint, ...] = ()


class Address(Shape, frozen=True):
    """``v1.NodeAddress``."""

    type: str = ""
    address: str = ""


class NodeStatus(Shape, frozen=True):
    """``v1.NodeStatus``."""

    allocatable: dict[str, int | str] = {}
    conditions: tuple[Condition, ...] = ()
    addresses: tuple[Address, ...] = ()


class Node(Plain, frozen=True):
    """``v1.Node``."""

    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()


class ServicePort(Shape, frozen=True):
    """``v1.ServicePort``."""

    port: int = 0
    name: str = ""
    protocol: str = "TCP"
    target_port: int | str = 0
    node_port: int = 0


class ServiceSpec(Shape, frozen=True):
    """``v1.ServiceSpec``."""

    type: str = "ClusterIP"
    selector: dict[str, str] = {}
    ports: tuple[ServicePort, ...] = ()
    cluster_ip: str = msgspec.field(default="", name="clusterIP")
    cluster_ips: tuple[str, ...] = msgspec.field(default=(), name="clusterIPs")
    external_name: str = ""


class Service(Plain, frozen=True):
    """``v1.Service``."""

    spec: ServiceSpec = ServiceSpec()


class Expression(Shape, frozen=True):
    """``metav1.LabelSelectorRequirement``."""

    key: str = ""
    operator: str = ""
    values: tuple[str, ...] = ()


class LabelSelector(Shape, frozen=True):
    """``metav1.LabelSelector``."""

    match_labels: dict[str, str] = {}
    match_expressions: tuple[Expression, ...] = ()


class IPBlock(Shape, frozen=True):
    """``networking.k8s.io/v1.IPBlock``."""

    cidr: str = ""
    exclude: tuple[str, ...] = msgspec.field(default=(), name="except")


class Peer(Shape, frozen=True):
    """``networking.k8s.io/v1.NetworkPolicyPeer``."""

    pod_selector: LabelSelector | None = None
    namespace_selector: LabelSelector | None = None
    ip_block: IPBlock | None = None


class PolicyPort(Shape, frozen=True):
    """``networking.k8s.io/v1.NetworkPolicyPort``."""

    protocol: str = "TCP"
    port: int | str | None = None
    end_port: int | None = None


class PolicyRule(Shape, frozen=True):
    """An ingress or an egress rule; each uses one of ``from`` and ``to``."""

    ports: tuple[PolicyPort, ...] = ()
    sources: tuple[Peer, ...] = msgspec.field(default=(), name="from")
    destinations: tuple[Peer, ...] = msgspec.field(default=(), name="to")


class PolicySpec(Shape, frozen=True):
    """``networking.k8s.io/v1.NetworkPolicySpec``."""

    pod_selector: LabelSelector = LabelSelector()
    ingress: tuple[PolicyRule, ...] = ()
    egress: tuple[PolicyRule, ...] = ()
    policy_types: tuple[str, ...] = ()


class NetworkPolicy(Plain, frozen=True):
    """``networking.k8s.io/v1.NetworkPolicy``."""

    spec: PolicySpec = PolicySpec()


class Preconditions(Shape, frozen=True):
    """``metav1.Preconditions``."""

    uid: str | None = None
    resource_version: str | None = None


class DeleteOptions(Shape, frozen=True):
    """``metav1.DeleteOptions``; there are no owners here, so propagation means nothing."""

    grace_period_seconds: int | None = None
    preconditions: Preconditions = Preconditions()
    dry_run: tuple[str, ...] = ()
