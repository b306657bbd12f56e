"""Which rights a run needs, and which of them we lack: asked before anything is created.

Every right is asked for by a SelfSubjectAccessReview, for all namespaces: those of a run do not
exist yet. https://kubernetes.io/docs/reference/access-authn-authz/authorization/#checking-api-access
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from harness.clusters.base import Right
from harness.clusters.kube.kubectl import Kubectl

_LOOK = ("get", "list", "watch")
_KEEP = (*_LOOK, "create", "update", "patch", "delete")

FOR_A_RUN = (
    Right(("nodes",), _LOOK),
    Right(("namespaces", "pods", "services"), _KEEP),
    Right(("pods/exec",), ("create", "get")),
    Right(("serviceaccounts",), ("get",)),
    Right(("endpointslices",), ("list",), "discovery.k8s.io"),
    Right(("daemonsets",), _KEEP, "apps"),
    Right(("networkpolicies",), _KEEP, "networking.k8s.io"),
)
"""What a run does, whichever enforcer is judged. Newer kubectl opens an exec by ``get``."""

FOR_INSTALLING = (
    Right(("serviceaccounts",), _KEEP),
    Right(("clusterroles", "clusterrolebindings"), _KEEP, "rbac.authorization.k8s.io"),
    Right(("events",), ("create",)),
    Right(("*",), ("list",), "policy.networking.k8s.io"),
)
"""What it takes besides to deploy an enforcer of ours. The last two it is given itself, and nobody
can give away a right that he has not (RBAC's "privilege escalation prevention")."""

FOR_CLEANUP = (
    Right(("namespaces",), ("get", "list", "watch", "delete")),
    Right(("daemonsets",), ("get", "list", "watch", "delete"), "apps"),
)
"""What it takes to find what a run left, and to remove it."""


@dataclass(frozen=True, slots=True)
class Action:
    """One verb on one resource: the smallest thing that can be allowed or not."""

    verb: str
    resource: str
    group: str = ""

    def __str__(self) -> str:
        """Return it as ``kubectl auth can-i`` takes it."""
        resource, slash, sub = self.resource.partition("/")
        group = f".{self.group}" if self.group else ""
        return f"{self.verb} {resource}{group}{slash}{sub}"

    def review(self) -> dict[str, Any]:
        """Return the question as the API takes it."""
        resource, _, sub = self.resource.partition("/")
        asked = {"verb": self.verb, "group": self.group, "resource": resource}
        return {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": asked | ({"subresource": sub} if sub else {})},
        }


def actions(rights: Iterable[Right]) -> Iterator[Action]:
    """Yield every single action that rights are made of."""
    for right in rights:
        for resource in right.resources:
            yield from (Action(verb, resource, right.group) for verb in right.verbs)


def missing(kubectl: Kubectl, rights: Iterable[Right]) -> tuple[Action, ...]:
    """Return all that we may not do, by the API server's word; ClusterError where it cannot say."""
    asked = list(actions(rights))
    answers = kubectl.create([one.review() for one in asked])
    return tuple(
        one for one, answer in zip(asked, answers, strict=True) if not answer["status"]["allowed"]
    )


def in_words(lacking: Sequence[Action]) -> str:
    """Say which rights are missing, one list for all."""
    return f"missing rights, in all namespaces: {', '.join(map(str, lacking))}"
