"""Which events are due: what was not understood, not proved, surprising, or not enforced at all."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Never

from enforcer.errors import EnforcerError
from enforcer.events import (
    REASON_NOT_ENFORCED,
    REASON_NOT_PROVED,
    REASON_SURPRISING,
    Events,
    Notice,
    Subject,
    notice_of,
    notice_of_node,
)
from enforcer.kube import Unenforced, find_unenforced
from enforcer.kube.client import Api
from enforcer.metrics import Metrics
from enforcer.model.objects import Key
from enforcer.node import Synced
from enforcer.policy.cluster import Cluster
from enforcer.policy.compiled import CompiledPolicy, Problem
from enforcer.policy.warnings import Overlaps

logger = logging.getLogger(__name__)

LOOK_PERIOD = 60.0
"""Seconds between two looks for policies of kinds that are not enforced."""


class Notices:
    """Turns syncs into events."""

    def __init__(self, events: Events, overlaps: Overlaps) -> None:
        """Tell ``events``; ``overlaps`` knows which policies may surprise."""
        self._events = events
        self._overlaps = overlaps
        self._warned: frozenset[Problem] = frozenset()

    def synced(self, cluster: Cluster, compiled: CompiledPolicy, synced: Synced) -> None:
        """Tell what is new since the last sync."""
        warnings = frozenset(self._overlaps.warnings(cluster, compiled))
        for item in sorted(warnings - self._warned, key=lambda item: item.subject):
            logger.warning("%s %s: %s", item.kind.value, item.subject, item.message)
        self._warned = warnings
        self._events.tell(notice_of(problem) for problem in compiled.problems)
        self._events.tell(notice_of(item, REASON_SURPRISING) for item in warnings)
        self._events.tell(_not_proved(compiled.node, synced.problems))


def _not_proved(node: str, problems: Iterable[str]) -> Iterator[Notice]:
    for problem in problems:
        message = f"enforcement on this node is not proved: {problem}"
        yield notice_of_node(node, REASON_NOT_PROVED, message)


class UnenforcedWatch:
    """Names policies of kinds that this program does not enforce."""

    def __init__(self, events: Events, metrics: Metrics) -> None:
        """Tell ``events`` and count into ``metrics``."""
        self._events = events
        self._metrics = metrics
        self._known: frozenset[Unenforced] = frozenset()
        self._complained = False

    async def follow(self, api: Api) -> Never:
        """Look now and then. Never ends, never fails."""
        while True:
            await self.look(api)
            await asyncio.sleep(LOOK_PERIOD)

    async def look(self, api: Api) -> None:
        """Look once."""
        try:
            found = await find_unenforced(api)
        except EnforcerError as error:
            level = logging.DEBUG if self._complained else logging.INFO
            self._complained = True
            logger.log(level, "cannot look for policies that are not enforced here: %s", error)
            return
        for item in found:
            if item not in self._known:
                logger.warning("%s %s: %s", item.kind, item.name, _NOT_ENFORCED)
        self._known = frozenset(found)
        self._metrics.count_unenforced(Counter(item.kind for item in found))
        self._events.tell(
            Notice(
                Subject(item.api_version, item.kind, Key("", item.name)),
                REASON_NOT_ENFORCED,
                _NOT_ENFORCED,
            )
            for item in found
        )


_NOT_ENFORCED = "is not enforced on this cluster's npd nodes: only NetworkPolicy is"
