"""What runs of ours left on a cluster: found by our label, and removed; nothing else is touched."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from harness.clusters.existing import rights
from harness.clusters.kube.kubectl import Kubectl
from harness.clusters.kube.owned import SELECTOR
from harness.errors import UsageError

KINDS = (
    "daemonsets.apps",
    "serviceaccounts",
    "clusterrolebindings.rbac.authorization.k8s.io",
    "clusterroles.rbac.authorization.k8s.io",
    "namespaces",
)
"""Where what is ours may be, outside of namespaces of ours and those themselves.

What is in such a namespace goes with it. They come last: who sees them gone sees all gone.
"""

_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Left:
    """An object of ours that is still there."""

    kind: str
    name: str
    namespace: str = ""

    def __str__(self) -> str:
        """Return it as a person would name it."""
        where = f"{self.namespace}/" if self.namespace else ""
        return f"{self.kind.partition('.')[0].removesuffix('s')} {where}{self.name}"


def find(kubectl: Kubectl) -> tuple[Left, ...]:
    """Return what bears our label, without what goes along with a namespace of ours."""
    lacking = rights.missing(kubectl, rights.FOR_CLEANUP)
    if lacking:
        raise UsageError(rights.in_words(lacking))
    found = [one for kind in KINDS for one in _of_kind(kubectl, kind)]
    homes = {one.name for one in found if one.kind == "namespaces"}
    return tuple(one for one in found if one.namespace not in homes)


def remove(kubectl: Kubectl, found: Sequence[Left]) -> None:
    """Remove these objects, and return when all are gone."""
    wait = ("--ignore-not-found", "--wait", f"--timeout={_SECONDS:g}s")
    for (kind, namespace), some in groupby(found, lambda one: (one.kind, one.namespace)):
        where = ("-n", namespace) if namespace else ()
        names = (one.name for one in some)
        kubectl.run("delete", kind, *names, *where, *wait, timeout=_SECONDS + 10)


def _of_kind(kubectl: Kubectl, kind: str) -> Iterator[Left]:
    """Yield what is ours of a kind; nothing where we may not look: then no run made any."""
    done = kubectl.attempt("get", kind, "-A", "-l", SELECTOR, "-o", "json")
    if done.returncode:
        return
    for item in json.loads(done.stdout)["items"]:
        metadata = item["metadata"]
        yield Left(kind, metadata["name"], metadata.get("namespace", ""))
