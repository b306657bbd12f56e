"""Events on the objects that a person should look at: Kubernetes' own way of telling them.

An event's name is made of what it says. So the same problem seen by a hundred nodes, or again
after a restart, is one event: the API refuses the second one, and that is fine.
https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2s
from typing import Any

from enforcer.errors import ApiError
from enforcer.kube.client import Api
from enforcer.kube.failures import StatusError
from enforcer.model.changes import Kind
from enforcer.model.objects import Key
from enforcer.policy.compiled import Problem

logger = logging.getLogger(__name__)

REASON_NOT_UNDERSTOOD = "NetworkPolicyNotUnderstood"
REASON_SURPRISING = "NetworkPolicySurprising"
REASON_NOT_PROVED = "NetworkPolicyNotProved"
REASON_NOT_ENFORCED = "PolicyNotEnforced"

DEFAULT_NAMESPACE = "default"
"""Where events on cluster-wide objects are, by the API's own rule."""

_LONGEST_NAME = 253 - 1 - 16
_LONGEST_MESSAGE = 1024
_NO_NAME = re.compile(r"[^a-z0-9.-]+")
_CONFLICT = 409
_TRIES = 3
_PAUSE = 2.0
_API_KINDS: Mapping[Kind, tuple[str, str]] = {
    Kind.PODS: ("v1", "Pod"),
    Kind.NAMESPACES: ("v1", "Namespace"),
    Kind.NODES: ("v1", "Node"),
    Kind.POLICIES: ("networking.k8s.io/v1", "NetworkPolicy"),
}


@dataclass(frozen=True, slots=True)
class Subject:
    """The object that an event is about."""

    api_version: str
    kind: str
    key: Key


@dataclass(frozen=True, slots=True)
class Notice:
    """A warning about an object."""

    subject: Subject
    reason: str
    message: str


def notice_of(problem: Problem, reason: str = REASON_NOT_UNDERSTOOD) -> Notice:
    """Return a problem as a notice on its object."""
    return Notice(Subject(*_API_KINDS[problem.kind], problem.subject), reason, problem.message)


def notice_of_node(node: str, reason: str, message: str) -> Notice:
    """Return a notice on a Node."""
    return Notice(Subject(*_API_KINDS[Kind.NODES], Key("", node)), reason, message)


class Events:
    """Posts each notice once. Never fails: what cannot be posted is logged once."""

    def __init__(self, node: str) -> None:
        """Post in the name of this node's enforcer."""
        self._node = node
        self._told: set[Notice] = set()
        self._queue: asyncio.Queue[Notice] = asyncio.Queue()
        self._complained = False

    def tell(self, notices: Iterable[Notice]) -> None:
        """Post the notices that were not posted before, in the background."""
        for notice in notices:
            if notice not in self._told and len(self._told) < _MOST:
                self._told.add(notice)
                self._queue.put_nowait(notice)

    async def follow(self, api: Api) -> None:
        """Post what is told. Never ends."""
        while True:
            await self._post(api, await self._queue.get())

    async def _post(self, api: Api, notice: Notice) -> None:
        namespace = notice.subject.key.namespace or DEFAULT_NAMESPACE
        body = json.dumps(event_of(notice, self._node, datetime.now(UTC))).encode()
        for left in reversed(range(_TRIES)):
            try:
                await api.create_event(namespace, body)
            except ApiError as error:
                if isinstance(error, StatusError) and error.code == _CONFLICT:
                    return  # it is there already: said by another node, or before a restart
                if left and not (isinstance(error, StatusError) and error.needs_list):
                    await asyncio.sleep(_PAUSE)
                    continue
                self._complain(error)
            return

    def _complain(self, error: ApiError) -> None:
        level = logging.DEBUG if self._complained else logging.WARNING
        self._complained = True
        logger.log(
            level, "an event could not be posted (further ones are not mentioned): %s", error
        )


_MOST = 10_000
"""Notices that one daemon posts at most; a cluster that gives more has other troubles."""


def event_of(notice: Notice, node: str, now: datetime) -> dict[str, Any]:
    """Return the Event (``v1``) of a notice."""
    subject, namespace = notice.subject, notice.subject.key.namespace or DEFAULT_NAMESPACE
    involved = {
        "apiVersion": subject.api_version,
        "kind": subject.kind,
        "name": subject.key.name,
        "namespace": subject.key.namespace,
    }
    if subject.kind == "Node":
        involved["uid"] = subject.key.name  # as the kubelet does; kubectl describe looks for it
    stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": _name(notice), "namespace": namespace},
        "involvedObject": {field: value for field, value in involved.items() if value},
        "type": "Warning",
        "reason": notice.reason,
        "message": _shortened(notice.message),
        "source": {"component": "npd-enforcer", "host": node},
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "count": 1,
    }


def _name(notice: Notice) -> str:
    subject = notice.subject
    identity = json.dumps([subject.kind, str(subject.key), notice.reason, notice.message])
    digest = blake2s(identity.encode(), digest_size=8).hexdigest()
    name = _NO_NAME.sub("-", subject.key.name.lower())[:_LONGEST_NAME].strip("-.") or "unnamed"
    return f"{name}.{digest}"


def _shortened(message: str) -> str:
    return message if len(message) <= _LONGEST_MESSAGE else f"{message[: _LONGEST_MESSAGE - 3]}..."
