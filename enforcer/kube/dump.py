"""A cluster out of a file, as ``kubectl get pods,ns,nodes,netpol -A -o json`` prints it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import msgspec

from enforcer.errors import SettingsError
from enforcer.kube.decode import decode_object
from enforcer.kube.policies import MALFORMED
from enforcer.model.changes import Kind, Object, Replaced, Unreadable
from enforcer.policy.cluster import Cluster

_KINDS = {
    "Pod": Kind.PODS,
    "Namespace": Kind.NAMESPACES,
    "Node": Kind.NODES,
    "NetworkPolicy": Kind.POLICIES,
}


class _Document(msgspec.Struct):
    kind: str = ""
    items: list[msgspec.Raw] | None = None


_document = msgspec.json.Decoder(_Document)
_several = msgspec.json.Decoder(list[msgspec.Raw])


def load_dump(path: Path) -> Cluster:
    """Read a dump: an object, a List (``PodList`` and the like too) or a JSON array of them.

    Objects of other kinds are skipped. SettingsError if the file cannot be read or is no JSON.
    """
    try:
        raw = path.read_bytes()
        found = list(_objects(raw, ""))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error
    except MALFORMED as error:
        raise SettingsError(f"{path}: is no dump of Kubernetes objects in JSON: {error}") from error
    by_kind: defaultdict[Kind, list[Object | Unreadable]] = defaultdict(list)
    for kind, item in found:
        by_kind[kind].append(decode_object(kind, item))
    cluster = Cluster()
    for kind in Kind:
        cluster.apply(Replaced(kind, tuple(by_kind[kind])))
    return cluster


def _objects(raw: msgspec.Raw | bytes, default: str) -> Iterator[tuple[Kind, msgspec.Raw]]:
    """Find the objects in a document; those in a ``PodList`` do not say their kind themselves."""
    if bytes(raw).lstrip()[:1] == b"[":
        for item in _several.decode(raw):
            yield from _objects(item, default)
        return
    document = _document.decode(raw)
    name = document.kind or default
    if document.items is not None:
        for item in document.items:
            yield from _objects(item, name.removesuffix("List"))
    elif name in _KINDS:
        yield _KINDS[name], msgspec.Raw(bytes(raw))
