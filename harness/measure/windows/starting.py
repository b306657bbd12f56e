"""Pods that start while policies select them: when they are reached, and by whom.

The moment that counts is that at which the pod's address was seen in its status, by a watch: from
then on others may know it. SIG-scalability's *pod creation reachability latency* begins there, too,
and ends with the first connection of a client that the policies let in.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from harness.clusters.base import Cluster, Outcome, PodRef, Probe, Verdict
from harness.measure.windows import changes
from harness.measure.windows.api import PodWatch
from harness.measure.windows.arithmetic import Answer, Change
from harness.measure.windows.tape import PATIENCE

_BURST, _BURST_SECONDS = 8, 0.02
"""So many probes of each client at once, and the silence that ends them."""

_ADDRESS_SECONDS = 60.0
"""How long a pod may take to get an address, on a machine that has much to do."""

_AFTERWARDS = 10 * _BURST_SECONDS
"""Seconds that a pod is probed on, once there is nothing more to wait for."""

_PASSED = {Verdict.OPEN, Verdict.RESET, Verdict.REFUSED}
"""A reset of the pod's own shows that the packet reached it."""


@dataclass(frozen=True, slots=True)
class Start:
    """One pod that started: when it was asked for, when its address was seen, and every probe."""

    asked: float
    addressed: float
    """Not a number where it got none in time: then nothing was asked either."""

    reached: Sequence[Answer]
    """Of the client that is let in: whether one of a burst was answered."""

    passed: Sequence[Answer]
    """Of the client that is not: whether a packet passed."""

    def change(self, *, opens: bool) -> Change:
        """Return it as a change that was acknowledged when its address was seen."""
        return Change(opens, self.asked, self.addressed)


@dataclass(frozen=True, slots=True)
class Starter:
    """Starts pods on one node and probes each from its first address on.

    ``admitted`` is a client that the policies let in, ``denied`` one that they do not; each may be
    missing. ``seen`` watches the pods' namespace.
    """

    cluster: Cluster
    seen: PodWatch
    node: str
    admitted: PodRef | None = None
    denied: PodRef | None = None

    def start(self, number: int) -> Start:
        """Start a pod, and take it away again.

        It is probed until it is Ready and who is let in was answered, and a while longer.
        """
        ref, manifest = changes.late(number, self.node)
        asked = time.monotonic()
        self.cluster.apply([manifest])
        found = self.seen.wait_address(ref, _ADDRESS_SECONDS)
        if found is None:
            self.cluster.delete([manifest])
            return Start(asked, math.nan, (), ())
        address, addressed = found
        reached, passed = self._probe(ref, address, addressed)
        self.cluster.delete([manifest])
        return Start(asked, addressed, reached, passed)

    def _probe(
        self, ref: PodRef, address: str, addressed: float
    ) -> tuple[list[Answer], list[Answer]]:
        reached: list[Answer] = []
        passed: list[Answer] = []
        until = None
        while until is None or time.monotonic() < until:
            sent = time.monotonic()
            mine, theirs = self._burst(address)
            reached.append(Answer(sent, any(one.verdict is Verdict.OPEN for one in mine)))
            passed += [Answer(sent, one.verdict in _PASSED) for one in theirs]
            answered = self.admitted is None or any(one.open for one in reached)
            if until is None and self.seen.is_ready(ref) and answered:
                until = time.monotonic() + _AFTERWARDS
            elif until is None and sent - addressed > PATIENCE:
                break
        return reached, passed

    def _burst(self, address: str) -> tuple[list[Outcome], list[Outcome]]:
        clients = [client for client in (self.admitted, self.denied) if client is not None]
        probes = [Probe(client, address, changes.PORT) for client in clients for _ in range(_BURST)]
        outcomes = self.cluster.probe(probes, _BURST_SECONDS)
        mine = _BURST if self.admitted is not None else 0
        return outcomes[:mine], outcomes[mine:]
