"""Who may do what on a real control plane (RBAC), as manifests: the harness, the node agent.

Enforcers say what they need themselves; see :func:`account`.
https://kubernetes.io/docs/reference/access-authn-authz/rbac/
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.clusters.base import Right
from harness.clusters.embedded.pki import Client

Manifest = dict[str, Any]
_GROUP = "rbac.authorization.k8s.io"
_VERSION = f"{_GROUP}/v1"
SYSTEM = "kube-system"
_READ = ("get", "list", "watch")

_AGENT_RIGHTS = (
    Right(("nodes",), (*_READ, "create", "patch")),
    Right(("nodes/status",), ("patch",)),
    Right(("pods",), (*_READ, "delete")),
    Right(("pods/status",), ("patch",)),
    Right(("services", "namespaces"), _READ),
    Right(("endpointslices",), _READ, "discovery.k8s.io"),
    Right(("leases",), ("get", "create", "patch"), "coordination.k8s.io"),
)


def bootstrap() -> list[Manifest]:
    """Return the roles that a cluster needs to come up, in the order to create them."""
    harness, agent = Client.HARNESS.value[0], Client.AGENT.value[0]
    return [
        _binding(harness, "cluster-admin", _user(harness)),
        _role(agent, _AGENT_RIGHTS),
        _binding(agent, agent, _user(agent)),
    ]


def account(name: str, rights: Sequence[Right]) -> list[Manifest]:
    """Return a ServiceAccount in ``kube-system`` and its rights, as an enforcer's manifest has."""
    subject = {"kind": "ServiceAccount", "name": name, "namespace": SYSTEM}
    return [
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": name, "namespace": SYSTEM},
        },
        _role(name, rights),
        _binding(name, name, subject),
    ]


def _role(name: str, rights: Sequence[Right]) -> Manifest:
    rules = [
        {
            "apiGroups": [right.group],
            "resources": list(right.resources),
            "verbs": list(right.verbs),
        }
        for right in rights
    ]
    metadata = {"name": name}
    return {"apiVersion": _VERSION, "kind": "ClusterRole", "metadata": metadata, "rules": rules}


def _binding(name: str, role: str, subject: Manifest) -> Manifest:
    return {
        "apiVersion": _VERSION,
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": _GROUP, "kind": "ClusterRole", "name": role},
        "subjects": [subject],
    }


def _user(name: str) -> Manifest:
    return {"kind": "User", "name": name, "apiGroup": _GROUP}
