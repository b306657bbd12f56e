"""The verbs, without HTTP: what it takes to create, change and delete an object of each kind.

Every method runs to its end within one turn of the loop, so there is nothing to lock. Next:
``server``, which speaks HTTP.
"""

from __future__ import annotations

import enum
import secrets
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from harness.clusters.embedded.apiserver import defaults
from harness.clusters.embedded.apiserver.allocate import ServiceAllocator
from harness.clusters.embedded.apiserver.errors import (
    ApiError,
    Cause,
    Reason,
    about,
    conflict,
    invalid,
    not_served,
)
from harness.clusters.embedded.apiserver.resources import (
    KINDS,
    NAMESPACES,
    NETWORK_POLICIES,
    PODS,
    SERVICES,
    Access,
    Kind,
    Object,
    Scope,
)
from harness.clusters.embedded.apiserver.routes import Target
from harness.clusters.embedded.apiserver.selectors import Selection
from harness.clusters.embedded.apiserver.store import Record, Store
from harness.clusters.embedded.apiserver.validation import check_metadata, check_types, validate

FIRST_NAMESPACES = ("default", "kube-system", "kube-node-lease")
"""Exist from the start. The first two cannot be deleted, as in Kubernetes."""

_SYSTEM = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds")
_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"
_MUTABLE_POD_FIELDS = ("tolerations", "activeDeadlineSeconds")

Edit = Callable[[Object], Object]
"""Turns a copy of the stored object into what the client wants it to be."""


class Part(enum.Enum):
    """What an update may change: everything but the status, or the status alone."""

    MAIN = ""
    STATUS = "status"


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    """``metav1.DeleteOptions``, as far as served. The grace period is in seconds."""

    grace: int | None = None
    uid: str | None = None
    version: str | None = None


class Registry:
    """Every object of the cluster, and the rules by which it changes."""

    def __init__(self, store: Store, services: ServiceAllocator) -> None:
        """Begin with the namespaces that every cluster has."""
        self.store = store
        self._services = services
        for name in FIRST_NAMESPACES:
            self.create(Target(NAMESPACES), {"metadata": {"name": name}})

    def create(self, target: Target, value: Object) -> Record:
        """Make a new object."""
        kind = target.kind
        _require_writable(kind)
        _adopt_type(kind, value)
        self._adopt_metadata(target, value)
        defaults.fill(kind, value)
        defaults.initial_status(kind, value)
        name = value["metadata"]["name"]
        self._check(kind, value, None)
        if self.store.find(kind, (target.namespace, name)):
            raise about(Reason.ALREADY_EXISTS, kind, name, "already exists")
        if kind is SERVICES:
            self._services.assign(value)
        return self.store.put(kind, value)

    def update(self, target: Target, edit: Edit, part: Part) -> Record:
        """Change an object; Conflict when the client read an older version of it."""
        kind = target.kind
        _require_writable(kind)
        old = self.store.get(kind, target.key)
        value = edit(old.fresh())
        _adopt_type(kind, value)
        _require_same(kind, old, value)
        if part is Part.STATUS:
            status = value.get("status", {})
            value = old.fresh() | {"status": status}
            check_types(kind, value)
        else:
            self._keep_what_stays(kind, value, old)
            self._check(kind, value, old.value)
            if kind is SERVICES:
                self._services.assign(value, old.value)
        record = self.store.put(kind, value)
        return self._remove(kind, record) if _is_finished(record.value) else record

    def delete(self, target: Target, options: DeleteOptions) -> Record:
        """Delete an object, or begin to: a running pod ends when its kubelet says so."""
        kind = target.kind
        _require_writable(kind)
        record = self.store.get(kind, target.key)
        _require_preconditions(kind, record, options)
        if kind is NAMESPACES:
            return self._delete_namespace(record)
        grace = _grace(record.value, options) if kind is PODS else 0
        if grace == 0 and not record.value["metadata"].get("finalizers"):
            if kind is PODS:  # watchers see that it is on its way before they see that it is gone
                record = self._begin_deletion(kind, record, grace)
            return self._remove(kind, record)
        return self._begin_deletion(kind, record, grace)

    def delete_collection(
        self, kind: Kind, selection: Selection, options: DeleteOptions
    ) -> list[Record]:
        """Delete every selected object."""
        if kind is NAMESPACES:
            raise ApiError(Reason.METHOD_NOT_ALLOWED, "namespaces are deleted one at a time")
        chosen = [r for r in self.store.list(kind) if selection.matches(r.value)]
        return [self.delete(Target(kind, *record.key), options) for record in chosen]

    def _adopt_metadata(self, target: Target, value: Object) -> None:
        metadata = value.setdefault("metadata", {})
        given = check_metadata(value)
        if given.resource_version:
            message = "resourceVersion should not be set on objects to be created"
            raise ApiError(Reason.UNKNOWN, message)
        if target.kind.scope is Scope.NAMESPACED:
            self._require_namespace(target, given.namespace)
            metadata["namespace"] = target.namespace
        else:
            metadata.pop("namespace", None)
        if given.generate_name and not given.name:
            suffix = "".join(secrets.choice(_SUFFIX) for _ in range(5))
            metadata["name"] = f"{given.generate_name[:58]}{suffix}"
        metadata.setdefault("name", "")
        for name in _SYSTEM:
            metadata.pop(name, None)
        metadata["uid"] = str(uuid.uuid4())
        metadata["creationTimestamp"] = _timestamp()
        if target.kind is NETWORK_POLICIES:
            metadata["generation"] = 1

    def _require_namespace(self, target: Target, given: str) -> None:
        if given and given != target.namespace:
            message = (
                f"the namespace of the provided object does not match the namespace sent on the "
                f"request: {given!r} is not {target.namespace!r}"
            )
            raise ApiError(Reason.BAD_REQUEST, message)
        namespace = self.store.get(NAMESPACES, ("", target.namespace))
        if "deletionTimestamp" in namespace.value["metadata"]:
            message = f"is forbidden: namespace {target.namespace} is being terminated"
            raise about(Reason.FORBIDDEN, target.kind, "", message)

    def _keep_what_stays(self, kind: Kind, value: Object, old: Record) -> None:
        metadata, was = value["metadata"], old.value["metadata"]
        for name in _SYSTEM:
            metadata.pop(name, None)
        metadata |= {name: was[name] for name in _SYSTEM if name in was}
        if was.get("namespace"):
            metadata["namespace"] = was["namespace"]
        if "status" in kind.subresources:
            value["status"] = old.value.get("status", {})
        defaults.fill(kind, value)
        if kind is NETWORK_POLICIES:
            changed = value.get("spec") != old.value.get("spec")
            metadata["generation"] = was["generation"] + changed

    def _check(self, kind: Kind, value: Object, old: Object | None) -> None:
        causes = list(validate(kind, value))
        if kind is PODS and old is not None and _fixed(value) != _fixed(old):
            message = "Forbidden: pod updates may not change fields other than images, tolerations"
            causes.append(Cause("spec", message, "FieldValueForbidden"))
        if kind is SERVICES:
            if old is not None:
                self._services.inherit(value, old)
            causes.extend(self._services.conflicts(value, old))
        if causes:
            raise invalid(kind, value["metadata"]["name"], causes)

    def _remove(self, kind: Kind, record: Record) -> Record:
        last = self.store.remove(kind, record.key)
        if kind is SERVICES:
            self._services.release(last.value)
        self._finish_namespace(record.key[0])
        return last

    def _begin_deletion(self, kind: Kind, record: Record, grace: int) -> Record:
        value = record.fresh()
        metadata = value["metadata"]
        if metadata.get("deletionGracePeriodSeconds", grace + 1) > grace:
            metadata["deletionTimestamp"] = _timestamp(grace)
            metadata["deletionGracePeriodSeconds"] = grace
        return self.store.put(kind, value)

    def _delete_namespace(self, record: Record) -> Record:
        name = record.key[1]
        if name in FIRST_NAMESPACES[:2]:
            raise about(Reason.FORBIDDEN, NAMESPACES, name, "is forbidden: it may not be deleted")
        value = record.fresh()
        value["metadata"].setdefault("deletionTimestamp", _timestamp())
        value["status"] = {"phase": "Terminating"}
        terminating = self.store.put(NAMESPACES, value)
        for kind in KINDS:
            if kind.scope is Scope.NAMESPACED and kind.access is Access.FULL:
                self.delete_collection(kind, Selection(namespace=name), DeleteOptions())
        return self._finish_namespace(name) or terminating

    def _finish_namespace(self, name: str) -> Record | None:
        """Remove a terminating namespace as soon as it is empty."""
        namespace = self.store.find(NAMESPACES, ("", name))
        if namespace is None or "deletionTimestamp" not in namespace.value["metadata"]:
            return None
        return None if self.store.population(name) else self._remove(NAMESPACES, namespace)


def _require_writable(kind: Kind) -> None:
    if kind.access is not Access.FULL:
        raise not_served(f"any change of {kind.plural}: it does not enforce them")


def _adopt_type(kind: Kind, value: Any) -> None:
    """Require a JSON object that does not claim to be something else, and name its type."""
    if not isinstance(value, dict) or not isinstance(value.get("metadata", {}), dict):
        raise ApiError(Reason.BAD_REQUEST, f"the body must be a {kind.name} as a JSON object")
    expected = {"apiVersion": kind.api_version, "kind": kind.name}
    for field, word in expected.items():
        if value.setdefault(field, word) != word:
            message = f"{field} {value[field]!r} does not match {word!r}, which the path names"
            raise ApiError(Reason.BAD_REQUEST, message)


def _require_same(kind: Kind, old: Record, value: Object) -> None:
    """Require that an update is of this very object, and of the version that is stored."""
    value.setdefault("metadata", {})
    given = check_metadata(value)
    namespace, name = old.key
    if given.name != name or given.namespace not in {"", namespace}:
        message = f"the name of the object ({given.name}) does not match the name on the URL"
        raise ApiError(Reason.BAD_REQUEST, message)
    if given.uid and given.uid != old.value["metadata"]["uid"]:
        raise conflict(kind, name, f"Precondition failed: UID in object meta: {given.uid}")
    if given.resource_version and given.resource_version != str(old.version):
        raise conflict(
            kind,
            name,
            "the object has been modified; please apply your changes to the latest version and "
            "try again",
        )


def _require_preconditions(kind: Kind, record: Record, options: DeleteOptions) -> None:
    if options.uid is not None and options.uid != record.value["metadata"]["uid"]:
        raise conflict(kind, record.key[1], f"Precondition failed: UID: {options.uid}")
    if options.version is not None and options.version != str(record.version):
        why = f"Precondition failed: ResourceVersion: {options.version}"
        raise conflict(kind, record.key[1], why)


def _grace(pod: Object, options: DeleteOptions) -> int:
    """Return the seconds that a pod has to end; none where no kubelet would end it."""
    spec, status = pod["spec"], pod.get("status", {})
    if not spec.get("nodeName") or status.get("phase") in {"Succeeded", "Failed"}:
        return 0
    if options.grace is not None:
        return max(0, options.grace)
    return int(spec["terminationGracePeriodSeconds"])


def _is_finished(value: Object) -> bool:
    """Whether nothing holds back the removal of an object whose deletion has begun."""
    metadata = value["metadata"]
    return metadata.get("deletionGracePeriodSeconds") == 0 and not metadata.get("finalizers")


def _fixed(pod: Object) -> Object:
    """Return what may never change in a pod's spec."""
    spec = {k: v for k, v in pod["spec"].items() if k not in _MUTABLE_POD_FIELDS}
    for group in ("containers", "initContainers"):
        spec[group] = [{**container, "image": ""} for container in spec.get(group, ())]
    return spec


def _timestamp(later: int = 0) -> str:
    return (datetime.now(UTC) + timedelta(seconds=later)).strftime("%Y-%m-%dT%H:%M:%SZ")
