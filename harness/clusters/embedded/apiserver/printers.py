"""Tables: the columns that ``kubectl get`` shows, worked out by the server as Kubernetes does.

https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-tables
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from harness.clusters.embedded.apiserver.resources import Kind, Object
from harness.clusters.embedded.apiserver.store import Record

_NONE = "<none>"


@dataclass(frozen=True, slots=True)
class Column:
    """One column; priority 1 is shown with ``-o wide`` only."""

    name: str
    cell: Callable[[Object], object]
    priority: int = 0

    def definition(self) -> Object:
        """Return it as ``metav1.TableColumnDefinition``."""
        return {
            "name": self.name,
            "type": "string",
            "format": "name" if self.name == "Name" else "",
            "description": self.name,
            "priority": self.priority,
        }


def table(kind: Kind, records: Sequence[Record], metadata: Object, include: str) -> Object:
    """Return a ``metav1.Table`` with a list's metadata; ``include``: the query's includeObject."""
    columns = _COLUMNS.get(kind.name, (_NAME, _AGE))
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": [column.definition() for column in columns],
        "rows": [_row(columns, record.value, include) for record in records],
    }


def _row(columns: Sequence[Column], value: Object, include: str) -> Object:
    row: Object = {"cells": [column.cell(value) for column in columns]}
    match include:
        case "Object":
            row["object"] = value
        case "None":
            pass
        case _:
            row["object"] = {
                "kind": "PartialObjectMetadata",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": value["metadata"],
            }
    return row


def age(since: str | None) -> str:
    """Return how long ago a timestamp was, in kubectl's short form."""
    if not since:
        return "<unknown>"
    then = datetime.fromisoformat(since)
    seconds = max(0, int((datetime.now(UTC) - then).total_seconds()))
    for unit, size, upto in (("s", 1, 120), ("m", 60, 7200), ("h", 3600, 172_800)):
        if seconds < upto:
            return f"{seconds // size}{unit}"
    return f"{seconds // 86_400}d"


def _name(value: Object) -> str:
    return str(value["metadata"]["name"])


def _get(*path: str) -> Callable[[Object], str]:
    """Return a cell that shows a field, or ``<none>``."""

    def cell(value: Object) -> str:
        found: object = value
        for step in path:
            found = found.get(step) if isinstance(found, dict) else None
        return str(found) if found not in {None, ""} else _NONE

    return cell


def _pairs(labels: Mapping[str, str] | None) -> str:
    return ",".join(f"{key}={labels[key]}" for key in sorted(labels)) if labels else _NONE


def _condition(value: Object, name: str) -> str:
    conditions = value.get("status", {}).get("conditions") or ()
    return next((c.get("status", "") for c in conditions if c.get("type") == name), "Unknown")


def _pod_ready(pod: Object) -> str:
    states = pod.get("status", {}).get("containerStatuses") or ()
    ready = sum(bool(state.get("ready")) for state in states)
    return f"{ready}/{len(pod['spec'].get('containers', ()))}"


def _pod_status(pod: Object) -> str:
    if "deletionTimestamp" in pod["metadata"]:
        return "Terminating"
    status = pod.get("status", {})
    for container in status.get("containerStatuses") or ():
        waiting = (container.get("state") or {}).get("waiting")
        if waiting and waiting.get("reason"):
            return str(waiting["reason"])
    return str(status.get("reason") or status.get("phase") or "Unknown")


def _pod_restarts(pod: Object) -> str:
    states = pod.get("status", {}).get("containerStatuses") or ()
    return str(sum(state.get("restartCount", 0) for state in states))


def _node_status(node: Object) -> str:
    ready = {"True": "Ready", "Unknown": "Unknown"}.get(_condition(node, "Ready"), "NotReady")
    cordoned = node.get("spec", {}).get("unschedulable")
    return f"{ready},SchedulingDisabled" if cordoned else ready


def _node_address(node: Object) -> str:
    addresses = node.get("status", {}).get("addresses") or ()
    found = (a["address"] for a in addresses if a.get("type") == "InternalIP")
    return next(found, _NONE)


def _service_ports(service: Object) -> str:
    return ",".join(map(_service_port, service["spec"].get("ports", ()))) or _NONE


def _service_port(port: Object) -> str:
    node_port = f":{port['nodePort']}" if port.get("nodePort") else ""
    return f"{port['port']}{node_port}/{port['protocol']}"


def _endpoints(endpoints: Object) -> str:
    shown = [
        f"{address['ip']}:{port['port']}"
        for subset in endpoints.get("subsets") or ()
        for address in subset.get("addresses") or ()
        for port in subset.get("ports") or ()
    ]
    more = f" + {len(shown) - 3} more..." if len(shown) > 3 else ""  # noqa: PLR2004  # as kubectl
    return ",".join(shown[:3]) + more or _NONE


def _policy_selector(policy: Object) -> str:
    selector = policy["spec"].get("podSelector", {})
    expressions = [
        f"{e['key']} {e['operator'].lower()} ({','.join(e.get('values', ()))})"
        for e in selector.get("matchExpressions") or ()
    ]
    labels = selector.get("matchLabels")
    return ",".join(([_pairs(labels)] if labels else []) + expressions) or _NONE


def _involved(event: Object) -> str:
    found = event.get("involvedObject", {})
    return f"{found.get('kind', '').lower()}/{found.get('name', '')}"


def _last_seen(event: Object) -> str:
    return age(event.get("lastTimestamp") or event.get("eventTime"))


_NAME = Column("Name", _name)
_AGE = Column("Age", lambda value: age(value["metadata"]["creationTimestamp"]))
_COLUMNS: Mapping[str, tuple[Column, ...]] = {
    "Namespace": (_NAME, Column("Status", _get("status", "phase")), _AGE),
    "Node": (
        _NAME,
        Column("Status", _node_status),
        Column("Roles", lambda _: _NONE),
        _AGE,
        Column("Version", _get("status", "nodeInfo", "kubeletVersion")),
        Column("Internal-IP", _node_address, 1),
        Column("Pod-CIDR", _get("spec", "podCIDR"), 1),
    ),
    "Pod": (
        _NAME,
        Column("Ready", _pod_ready),
        Column("Status", _pod_status),
        Column("Restarts", _pod_restarts),
        _AGE,
        Column("IP", _get("status", "podIP"), 1),
        Column("Node", _get("spec", "nodeName"), 1),
    ),
    "Service": (
        _NAME,
        Column("Type", _get("spec", "type")),
        Column("Cluster-IP", _get("spec", "clusterIP")),
        Column("External-IP", lambda _: _NONE),
        Column("Port(s)", _service_ports),
        _AGE,
        Column("Selector", lambda service: _pairs(service["spec"].get("selector")), 1),
    ),
    "NetworkPolicy": (_NAME, Column("Pod-Selector", _policy_selector), _AGE),
    "Endpoints": (_NAME, Column("Endpoints", _endpoints), _AGE),
    "Event": (
        Column("Last Seen", _last_seen),
        Column("Type", _get("type")),
        Column("Reason", _get("reason")),
        Column("Object", _involved),
        Column("Message", _get("message")),
        Column("Name", _name, 1),
    ),
}
