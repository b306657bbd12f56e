"""From a path to what it names.

https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-uris
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.clusters.embedded.apiserver.errors import ApiError, Reason, not_served
from harness.clusters.embedded.apiserver.resources import KINDS, Kind, Scope, find
from harness.clusters.embedded.apiserver.store import Key


@dataclass(frozen=True, slots=True)
class Target:
    """What a path names: a collection (no name), an object, or a part of it."""

    kind: Kind
    namespace: str = ""
    name: str = ""
    subresource: str = ""

    @property
    def key(self) -> Key:
        """The object's key in the store."""
        return (self.namespace, self.name)


def parse(path: str) -> Target:
    """Read a resource path; refuse by name what is not served."""
    match path.strip("/").split("/"):
        case ["api", version, *rest] if rest:
            return _target("", version, rest)
        case ["apis", group, version, *rest] if rest:
            return _target(group, version, rest)
        case ["api" | "apis" | "openapi" | "swagger.json", *_]:
            raise not_served(f"{path} (an API group or document of a full Kubernetes)")
    raise ApiError(Reason.NOT_FOUND, "the server could not find the requested resource")


def _target(group: str, version: str, segments: list[str]) -> Target:
    match segments:
        case ["namespaces", namespace, plural, *tail] if plural not in _OF_NAMESPACES:
            rest = [plural, *tail]
        case _:
            namespace, rest = "", segments
    plural, name, subresource, *more = [*rest, "", ""]
    kind = find(group, version, plural)
    if kind is None or any(more):
        raise not_served(f"{plural} in {group or 'core'}/{version}; it serves {_SERVED}")
    if subresource and subresource not in kind.subresources:
        instead = f"; use: harness cluster exec {namespace}/{name} -- COMMAND"
        raise not_served(f"{plural}/{subresource}{instead if subresource in _STREAMS else ''}")
    if bool(namespace) != (kind.scope is Scope.NAMESPACED) and (namespace or name):
        raise ApiError(Reason.NOT_FOUND, "the server could not find the requested resource")
    return Target(kind, namespace, name, subresource)


_STREAMS = {"exec", "attach", "portforward"}
"""Parts of a pod that kubectl speaks to in a protocol that no kept Python library has."""

_OF_NAMESPACES = {"status", "finalize"}
_SERVED = ", ".join(kind.resource for kind in KINDS)
