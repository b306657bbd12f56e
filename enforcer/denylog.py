"""The deny log: one line for each denied connection that the kernel logs, with names in it.

The kernel logs at most ten packets a second for each class of pods, with the class's tag as the
prefix. Here the tag becomes policies and addresses become pods; beyond
:data:`MOST_LINES` a second, lines are counted and left out.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass

from enforcer.errors import EnforcerError, KernelError
from enforcer.metrics import Metrics
from enforcer.model.net import Direction, IPAddress
from enforcer.model.objects import Key, Pod
from enforcer.nflog import Flow, Logged, LogReader
from enforcer.node import Synced
from enforcer.policy.cluster import Cluster
from enforcer.policy.compiled import CompiledPolicy
from enforcer.ruleset.names import PREFIXES, ClassNames

logger = logging.getLogger(__name__)

MOST_LINES = 50
"""Lines a second: a flood of denied packets must not become a flood of the log."""

PROTOCOLS: Mapping[int, str] = {1: "ICMP", 6: "TCP", 17: "UDP", 58: "ICMPv6", 132: "SCTP"}
_DIRECTIONS = {prefix: direction for direction, prefix in PREFIXES.items()}
_MARK = "npd"


@dataclass(frozen=True, slots=True)
class Denied:
    """A denied connection with names; ``policies`` is empty for a pod that nobody understood."""

    direction: Direction
    policies: tuple[Key, ...]
    flow: Flow
    client: Key | None
    server: Key | None

    def __str__(self) -> str:
        """Return the line for a person."""
        by = ", ".join(map(str, self.policies)) or "default deny"
        protocol = PROTOCOLS.get(self.flow.protocol, f"protocol {self.flow.protocol}")
        client = _end(self.client, self.flow.client, self.flow.client_port)
        server = _end(self.server, self.flow.server, self.flow.server_port)
        return f"denied {self.direction.value} {protocol} {client} -> {server} by {by}"

    def fields(self) -> dict[str, object]:
        """Return the line's parts for JSON."""
        return {
            "direction": self.direction.value,
            "policies": [str(key) for key in self.policies] or ["default deny"],
            "protocol": PROTOCOLS.get(self.flow.protocol, str(self.flow.protocol)),
            **_end_fields("client", self.client, self.flow.client, self.flow.client_port),
            **_end_fields("server", self.server, self.flow.server, self.flow.server_port),
        }


def _end(pod: Key | None, address: IPAddress, port: int) -> str:
    where = f"[{address}]" if address.version == 6 and port else str(address)  # noqa: PLR2004
    socket = f"{where}:{port}" if port else where
    return f"{pod} ({socket})" if pod else socket


def _end_fields(side: str, pod: Key | None, address: IPAddress, port: int) -> dict[str, object]:
    return {
        f"{side}Namespace": pod.namespace if pod else None,
        f"{side}Pod": pod.name if pod else None,
        f"{side}Address": str(address),
        f"{side}Port": port or None,
    }


class DenyLog:
    """Turns what the kernel logs into log lines, with the names of the last sync."""

    def __init__(self, metrics: Metrics) -> None:
        """Count into ``metrics``."""
        self._metrics = metrics
        self._cluster = Cluster()
        self._names = ClassNames()
        self._now: dict[tuple[Direction, str], tuple[Key, ...]] = {}
        self._policies: dict[tuple[Direction, str], tuple[Key, ...]] = {}
        self._pods: dict[IPAddress, Key] | None = None
        self._budget = Budget(MOST_LINES)

    def synced(self, cluster: Cluster, compiled: CompiledPolicy, _synced: Synced) -> None:
        """Take the names of what the kernel holds from now on.

        Tags that are gone stay known for one more change: their packets may still be on the way.
        """
        self._cluster, self._pods = cluster, None
        names = self._names.of(item for item in compiled.classes() if not item.allowed.everything)
        now = {(item.direction, name.tag): item.policies for name, item in names}
        self._policies = {**self._now, **now}
        self._now = now

    def name(self, logged: Logged) -> Denied | None:
        """Return a logged packet with names; None if its prefix is none of ours."""
        mark, _, rest = logged.prefix.partition(":")
        prefix, _, tag = rest.rstrip(": ").partition(":")
        if mark != _MARK or prefix not in _DIRECTIONS:
            return None
        direction, flow = _DIRECTIONS[prefix], logged.flow
        policies = self._policies.get((direction, tag), ())
        return Denied(direction, policies, flow, self._pod(flow.client), self._pod(flow.server))

    def _pod(self, address: IPAddress) -> Key | None:
        if self._pods is None:  # made when somebody is denied, not at each sync
            self._pods = {
                known: pod.key
                for pod in self._cluster.pods.values()
                if _is_peer(pod)
                for known in pod.addresses
            }
        return self._pods.get(address)

    async def follow(self, group: int | None) -> None:
        """Log what the kernel logs to ``group``. Never ends; without a log it says so and waits."""
        if group is None:
            await asyncio.Event().wait()
            return
        try:
            reader = LogReader(group)
        except EnforcerError as error:
            logger.warning("no deny log: %s; denied connections are still counted", error)
            await asyncio.Event().wait()
            return
        with reader:
            loop = asyncio.get_running_loop()
            loop.add_reader(reader, self._read, reader)
            try:
                await asyncio.Event().wait()
            finally:
                loop.remove_reader(reader)

    def _read(self, reader: LogReader) -> None:
        try:
            found, lost = reader.read()
        except KernelError as error:
            asyncio.get_running_loop().remove_reader(reader)
            logger.warning("the deny log ends: %s; denied connections are still counted", error)
            return
        if lost:
            self._metrics.deny_log_lost.inc()
        for logged in found:
            self._tell(logged)

    def _tell(self, logged: Logged) -> None:
        denied = self.name(logged)
        if denied is None:
            return
        if not self._budget.take():
            self._metrics.deny_log_lost.inc()
            return
        logger.info("%s", denied, extra={"fields": denied.fields()})


def _is_peer(pod: Pod) -> bool:
    return not pod.host_network


class Budget:
    """Allows some things a second."""

    def __init__(self, most: int) -> None:
        """Allow ``most`` a second."""
        self._most = most
        self._second = 0
        self._left = most

    def take(self) -> bool:
        """Whether there is one left in this second."""
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._left = second, self._most
        self._left -= 1
        return self._left >= 0
