"""The DaemonSet's own pod, alone: with other rights, in a network namespace of its own.

So many of them run side by side on one node, and what they do to the kernel concerns no one: each
enforces there what it would on the *other* node, none of whose pods it can see.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from harness.clusters.base import Manifest
from harness.clusters.kube.kubectl import Kubectl
from tests.kind.deployed import BASE, WORKLOAD_IMAGE, rendered

HOME = "npd-kind-rights"


@dataclass(frozen=True, slots=True)
class Single:
    """One enforcer: a name, RBAC rules, capabilities, arguments, and what is there before it."""

    name: str
    rules: Sequence[dict[str, Any]]
    capabilities: tuple[str, ...] = ("NET_ADMIN", "NET_RAW")
    arguments: tuple[str, ...] = ()
    preparation: str = ""
    """A shell script that runs in the pod's network namespace first, with NET_ADMIN."""


def manifests(kubectl: Kubectl, single: Single, nodes: tuple[str, str]) -> Iterable[Manifest]:
    """Return a Single's objects, made of the base's own; ``nodes`` are where, and for which."""
    base = {item["kind"]: item for item in rendered(kubectl, BASE)}
    spec = copy.deepcopy(base["DaemonSet"]["spec"]["template"]["spec"])
    (container,) = spec["containers"]
    where, whose = nodes
    spec |= {"nodeName": where, "hostNetwork": False, "serviceAccountName": single.name}
    spec |= {"restartPolicy": "Always", "terminationGracePeriodSeconds": 1}
    container["env"] = [{"name": "NODE_NAME", "value": whose}]
    container["args"] = list(single.arguments)
    container["securityContext"]["capabilities"]["add"] = list(single.capabilities)
    if single.preparation:
        spec["initContainers"] = [_preparation(single.preparation)]
    account = {"metadata": {"name": single.name, "namespace": HOME}}
    yield {"apiVersion": "v1", "kind": "ServiceAccount", **account}
    yield {**_cluster_wide("ClusterRole", single.name), "rules": list(single.rules)}
    yield {
        **_cluster_wide("ClusterRoleBinding", single.name),
        "roleRef": {**base["ClusterRoleBinding"]["roleRef"], "name": f"npd-kind-{single.name}"},
        "subjects": [{"kind": "ServiceAccount", "name": single.name, "namespace": HOME}],
    }
    yield {"apiVersion": "v1", "kind": "Pod", **account, "spec": spec}


def base_rules(kubectl: Kubectl) -> list[dict[str, Any]]:
    """Return the RBAC rules of the base."""
    found = {item["kind"]: item for item in rendered(kubectl, BASE)}
    rules: list[dict[str, Any]] = found["ClusterRole"]["rules"]
    return rules


@dataclass(frozen=True, slots=True)
class Verb:
    """One verb on one resource: the smallest thing that can be taken away."""

    group: str
    resource: str
    verb: str

    @property
    def name(self) -> str:
        """Return it as a part of names."""
        return f"no-{self.verb}-{self.resource.replace('*', 'others')}"


def verbs(rules: Iterable[dict[str, Any]]) -> list[Verb]:
    """Return every single verb that rules grant."""
    return [
        Verb(group, resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    ]


def without(rules: Iterable[dict[str, Any]], taken: Verb) -> list[dict[str, Any]]:
    """Return the rules without one verb."""
    return [
        {"apiGroups": [it.group], "resources": [it.resource], "verbs": [it.verb]}
        for it in verbs(rules)
        if it != taken
    ]


def log(kubectl: Kubectl, single: Single) -> str:
    """Return what a Single has said, its runs before this one included."""
    commands = (("--previous",), ())
    said = [kubectl.attempt("-n", HOME, "logs", single.name, *extra) for extra in commands]
    return "".join(done.stdout for done in said if done.returncode == 0)


def is_ready(kubectl: Kubectl, single: Single) -> bool:
    """Whether a Single is ready."""
    status = kubectl.get("pod", "-n", HOME, single.name)["status"]
    return any(one["ready"] for one in status.get("containerStatuses", ()))


def _preparation(script: str) -> dict[str, Any]:
    return {
        "name": "preparation",
        "image": WORKLOAD_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-exc", script],
        "securityContext": {"privileged": True},
    }


def _cluster_wide(kind: str, name: str) -> Manifest:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": f"npd-kind-{name}"},
    }
