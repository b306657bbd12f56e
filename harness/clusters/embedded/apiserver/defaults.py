"""What Kubernetes fills in where a manifest is silent, in place, before anything is validated.

Only defaults that somebody reads: an enforcer, a proxy, the kubelet, or kubectl. Values of a wrong
type are passed over: validation refuses them next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from harness.clusters.embedded.apiserver.resources import Kind, Object


def fill(kind: Kind, value: Object) -> None:
    """Fill in a kind's defaults; what is set already stays."""
    if kind.name in _SPECS:
        value.setdefault("spec", {})
    if kind.name in _DEFAULTS and isinstance(value.get("spec", {}), dict):
        _DEFAULTS[kind.name](value)


def initial_status(kind: Kind, value: Object) -> None:
    """Set the status that a new object has; a Node brings its own, as kubelets register."""
    match kind.name:
        case "Pod":
            value["status"] = {"phase": "Pending", "qosClass": "BestEffort"}
        case "Namespace":
            value["status"] = {"phase": "Active"}
        case "Service":
            value["status"] = {"loadBalancer": {}}


def _pod(pod: Object) -> None:
    spec = pod["spec"]
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("schedulerName", "default-scheduler")
    for container in _objects(spec, "containers"):
        container.setdefault("imagePullPolicy", "IfNotPresent")
        for port in _objects(container, "ports"):
            port.setdefault("protocol", "TCP")


def _service(service: Object) -> None:
    spec = service["spec"]
    spec.setdefault("type", "ClusterIP")
    spec.setdefault("sessionAffinity", "None")
    for port in _objects(spec, "ports"):
        port.setdefault("protocol", "TCP")
        if not port.get("targetPort"):
            port["targetPort"] = port.get("port", 0)


def _network_policy(policy: Object) -> None:
    spec = policy["spec"]
    spec.setdefault("podSelector", {})
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]
    for direction in ("ingress", "egress"):
        for rule in _objects(spec, direction):
            for port in _objects(rule, "ports"):
                port.setdefault("protocol", "TCP")
    _drop_empty(spec)


_OMITTED_WHEN_EMPTY = frozenset(
    {"ingress", "egress", "from", "to", "ports", "except", "matchExpressions", "matchLabels"}
)


def _drop_empty(value: Any) -> None:
    """Drop what Kubernetes does not keep: the ``omitempty`` lists of a NetworkPolicy's types."""
    match value:
        case dict():
            for key in [k for k in value if k in _OMITTED_WHEN_EMPTY and value[k] in ([], {})]:
                del value[key]
            for part in value.values():
                _drop_empty(part)
        case list():
            for part in value:
                _drop_empty(part)


def _namespace(namespace: Object) -> None:
    metadata = namespace["metadata"]
    labels = metadata.setdefault("labels", {})
    if isinstance(labels, dict):
        labels["kubernetes.io/metadata.name"] = metadata.get("name")
    namespace.setdefault("spec", {}).setdefault("finalizers", ["kubernetes"])


def _objects(parent: Any, key: str) -> Iterator[Object]:
    listed = parent.get(key)
    if isinstance(listed, list):
        yield from (item for item in listed if isinstance(item, dict))


_SPECS = {"Pod", "Service", "NetworkPolicy", "Node", "Lease"}
_DEFAULTS: Mapping[str, Callable[[Object], None]] = {
    "Pod": _pod,
    "Service": _service,
    "NetworkPolicy": _network_policy,
    "Namespace": _namespace,
}
