"""The table of kinds: what this API server serves. Next: ``store``, which keeps their objects."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]
"""A decoded API object. Once stored it is never changed: every write makes a new one."""


class Scope(enum.Enum):
    """Whether a kind's objects live in a namespace or beside them."""

    NAMESPACED = "Namespaced"
    CLUSTER = "Cluster"


class Access(enum.Enum):
    """What a client may do with a kind."""

    FULL = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
    EMPTY = ("get", "list", "watch")
    """There are none and none can be made: ``kubectl describe`` asks for them."""


class Lists(enum.Enum):
    """What a strategic merge patch does to the lists in a kind's spec."""

    MERGED = "merged by key"
    ATOMIC = "replaced as a whole"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of object: its names, where it lives, what can be asked of it."""

    name: str
    plural: str
    group: str = ""
    scope: Scope = Scope.NAMESPACED
    short: tuple[str, ...] = ()
    access: Access = Access.FULL
    subresources: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    """Field selectors beside metadata.name and metadata.namespace."""

    version: str = "v1"
    lists: Lists = Lists.MERGED

    @property
    def api_version(self) -> str:
        """The ``apiVersion`` of its objects."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def resource(self) -> str:
        """The plural with its group, as messages name it: ``networkpolicies.networking.k8s.io``."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


_EVENT_FIELDS = (
    *(f"involvedObject.{field}" for field in ("kind", "namespace", "name", "uid", "fieldPath")),
    "reason",
    "source",
    "type",
)

NAMESPACES = Kind(
    "Namespace",
    "namespaces",
    scope=Scope.CLUSTER,
    short=("ns",),
    subresources=("status",),
    fields=("status.phase",),
)
NODES = Kind(
    "Node",
    "nodes",
    scope=Scope.CLUSTER,
    short=("no",),
    subresources=("status",),
    fields=("spec.unschedulable",),
)
PODS = Kind(
    "Pod",
    "pods",
    short=("po",),
    subresources=("status",),
    fields=(
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.hostNetwork",
        "spec.serviceAccountName",
        "status.phase",
        "status.podIP",
    ),
)
SERVICES = Kind(
    "Service",
    "services",
    short=("svc",),
    subresources=("status",),
    fields=("spec.clusterIP", "spec.type"),
)
NETWORK_POLICIES = Kind(
    "NetworkPolicy",
    "networkpolicies",
    "networking.k8s.io",
    short=("netpol",),
    lists=Lists.ATOMIC,
)
ENDPOINTS = Kind("Endpoints", "endpoints", short=("ep",))
ENDPOINT_SLICES = Kind("EndpointSlice", "endpointslices", "discovery.k8s.io")

KINDS = (
    NAMESPACES,
    NODES,
    PODS,
    SERVICES,
    NETWORK_POLICIES,
    Kind("ConfigMap", "configmaps", short=("cm",)),
    ENDPOINTS,
    ENDPOINT_SLICES,
    Kind("Event", "events", short=("ev",), fields=_EVENT_FIELDS),
    Kind("Lease", "leases", "coordination.k8s.io"),
    Kind("ServiceAccount", "serviceaccounts", short=("sa",)),
    Kind("LimitRange", "limitranges", short=("limits",), access=Access.EMPTY),
    Kind("ResourceQuota", "resourcequotas", short=("quota",), access=Access.EMPTY),
)

RETURNED_WHEN_DELETED = {"Pod", "Service", "ServiceAccount"}
"""Deleting one of these answers with the object, another with a Status, as clients expect."""

BY_PATH = {(kind.group, kind.version, kind.plural): kind for kind in KINDS}
GROUPS = tuple(dict.fromkeys((kind.group, kind.version) for kind in KINDS))


def find(group: str, version: str, plural: str) -> Kind | None:
    """Return the kind that a path names; None where it is not served."""
    return BY_PATH.get((group, version, plural))
