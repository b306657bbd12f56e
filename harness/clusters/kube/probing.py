"""Probes by many probers: each place has one that can enter it, and all of them work at once.

Datagrams are answered by programs: echo servers of other probers than the one that asks. On a
machine that others use such a program may not run for longer than any silence that was waited for,
while TCP's handshakes, which kernels do, are as fast as ever. So those probers are asked all the
while how long they take to answer at all, and silence counts only where it lasted well longer.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from harness.clusters.base import Held, Outcome, Place, Probe, Transport, Verdict
from harness.prober.client import ProberClient
from harness.prober.protocol import Attempt

T = TypeVar("T")

Ask = Callable[[Sequence[int], float], list[Outcome]]
"""Asks those of these numbers, with so many seconds of silence; outcomes in the same order."""

_BY_PROGRAMS = frozenset({Transport.UDP})
"""What no kernel answers."""
_TIMES = 3
"""How many times a prober's slowest answer silence has to last."""
_MOST = 10
"""How many times the silence that was asked for, at most: a glance stays a glance."""
_LONGEST = 10.0
"""Seconds; more is not waited for, however late probers are."""
_PAUSE = 0.1


@dataclass(frozen=True, slots=True)
class Door:
    """The way into a place: its prober, what that calls its network, an address to send from."""

    prober: ProberClient
    netns: str
    source: str | None = None

    def attempt(self, probe: Probe) -> Attempt:
        """Return a probe as the prober takes it."""
        return Attempt(self.netns, self.source, probe.address, probe.port, probe.protocol)


class Probing:
    """What :class:`~harness.clusters.base.Cluster` asks of probers, over all of them."""

    def __init__(
        self,
        door: Callable[[Place], Door],
        answering: Callable[[], Sequence[ProberClient]] = tuple,
    ) -> None:
        """Take what finds the way into a place, and who has the echo servers."""
        self._door = door
        self._answering = answering
        self._numbers = itertools.count(1)
        self._held: dict[int, tuple[ProberClient, int]] = {}

    def probe(self, probes: Sequence[Probe], timeout: float) -> list[Outcome]:
        """Run all probes at once; outcome ``i`` belongs to probe ``i``."""
        doors = [self._door(probe.source) for probe in probes]

        def ask(numbers: Sequence[int], wait: float) -> list[Outcome]:
            def share(prober: ProberClient, at: Sequence[int]) -> list[Outcome]:
                wanted = (numbers[one] for one in at)
                return prober.probe([doors[one].attempt(probes[one]) for one in wanted], wait)

            return _each(_by_prober(doors[one].prober for one in numbers), share)

        return self._patiently([one.protocol for one in probes], timeout, ask)

    def hold(self, probes: Sequence[Probe], timeout: float) -> list[Held]:
        """Open connections that stay; connection ``i`` belongs to probe ``i``."""
        doors = [self._door(probe.source) for probe in probes]

        def ask(prober: ProberClient, at: Sequence[int]) -> list[Held]:
            seen = prober.hold([doors[one].attempt(probes[one]) for one in at], timeout)
            return [
                Held(probes[one], outcome, self._keep(prober, key))
                for one, (outcome, key) in zip(at, seen, strict=True)
            ]

        return _each(_by_prober(door.prober for door in doors), ask)

    def ask(self, held: Sequence[Held], timeout: float) -> list[Outcome]:
        """Ask held connections whether they still carry bytes."""
        ways = [self._held.get(one.key) for one in held]
        known = [at for at, way in enumerate(ways) if way is not None]
        found = [way for way in ways if way is not None]

        def ask(numbers: Sequence[int], wait: float) -> list[Outcome]:
            def share(prober: ProberClient, at: Sequence[int]) -> list[Outcome]:
                return prober.ask([found[numbers[one]][1] for one in at], wait)

            return _each(_by_prober(found[one][0] for one in numbers), share)

        answers = self._patiently([held[at].probe.protocol for at in known], timeout, ask)
        outcomes = [Outcome(Verdict.ERROR, 0.0, "not held") for _ in held]
        for at, outcome in zip(known, answers, strict=True):
            outcomes[at] = outcome
        return outcomes

    def release(self, held: Sequence[Held]) -> None:
        """Close held connections. Idempotent."""
        by_prober: defaultdict[ProberClient, list[int]] = defaultdict(list)
        for one in held:
            prober, key = self._held.pop(one.key, (None, 0))
            if prober is not None:
                by_prober[prober].append(key)
        for prober, keys in by_prober.items():
            prober.release(keys)

    def _patiently(self, protocols: Sequence[str], timeout: float, ask: Ask) -> list[Outcome]:
        """Ask all; then those again whose server may have had no time to answer."""
        by_programs = [at for at, one in enumerate(protocols) if one in _BY_PROGRAMS]
        if not by_programs:
            return ask(range(len(protocols)), timeout)
        longest = min(_MOST * timeout, _LONGEST)
        outcomes, late = self._timed(range(len(protocols)), timeout, ask)
        while (needed := min(_TIMES * late, longest)) > timeout:
            silent = [at for at in by_programs if outcomes[at].verdict is Verdict.DROPPED]
            if not silent:
                break
            timeout = needed
            again, late = self._timed(silent, timeout, ask)
            for at, outcome in zip(silent, again, strict=True):
                outcomes[at] = outcome
        return outcomes

    def _timed(
        self, numbers: Sequence[int], timeout: float, ask: Ask
    ) -> tuple[list[Outcome], float]:
        """Ask, and return how long (seconds) the slowest answer of any server's prober took."""
        done = threading.Event()
        probers = self._answering()
        with ThreadPoolExecutor(max(1, len(probers))) as threads:
            late = [threads.submit(_slowest, prober, done) for prober in probers]
            try:
                outcomes = ask(numbers, timeout)
            finally:
                done.set()
        return outcomes, max((one.result() for one in late), default=0.0)

    def _keep(self, prober: ProberClient, key: int) -> int:
        if not key:
            return 0
        number = next(self._numbers)
        self._held[number] = prober, key
        return number


def _slowest(prober: ProberClient, done: threading.Event) -> float:
    """Ask a prober to do nothing, again and again until ``done``; return its slowest answer."""
    slowest = 0.0
    while True:
        started = time.perf_counter()
        prober.release(())
        slowest = max(slowest, time.perf_counter() - started)
        if done.wait(_PAUSE):
            return slowest


def _by_prober(probers: Iterable[ProberClient]) -> Mapping[ProberClient, list[int]]:
    found: defaultdict[ProberClient, list[int]] = defaultdict(list)
    for at, prober in enumerate(probers):
        found[prober].append(at)
    return found


def _each(
    work: Mapping[ProberClient, list[int]], ask: Callable[[ProberClient, Sequence[int]], list[T]]
) -> list[T]:
    """Ask every prober for its share, all at once; the answers come back in the first order."""
    if not work:
        return []
    with ThreadPoolExecutor(len(work)) as threads:
        answers = threads.map(ask, work.keys(), work.values())
        placed = {
            at: one
            for places, share in zip(work.values(), answers, strict=True)
            for at, one in zip(places, share, strict=True)
        }
    return [placed[at] for at in range(len(placed))]
