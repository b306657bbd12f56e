"""Probes by many probers: each place has one that can enter it, and all of them work at once."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from harness.clusters.base import Held, Outcome, Place, Probe, Verdict
from harness.prober.client import ProberClient
from harness.prober.protocol import Attempt

T = TypeVar("T")


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

    def __init__(self, door: Callable[[Place], Door]) -> None:
        """Take what finds the way into a place."""
        self._door = door
        self._numbers = itertools.count(1)
        self._held: dict[int, tuple[ProberClient, int]] = {}

    def probe(self, probes: Sequence[Probe], timeout: float) -> list[Outcome]:
        """Run all probes at once; outcome ``i`` belongs to probe ``i``."""
        doors = [self._door(probe.source) for probe in probes]

        def ask(prober: ProberClient, at: Sequence[int]) -> list[Outcome]:
            return prober.probe([doors[one].attempt(probes[one]) for one in at], timeout)

        return _each(_by_prober(door.prober for door in doors), ask)

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

        def ask(prober: ProberClient, at: Sequence[int]) -> list[Outcome]:
            return prober.ask([found[one][1] for one in at], timeout)

        answers = _each(_by_prober(prober for prober, _ in found), ask)
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

    def _keep(self, prober: ProberClient, key: int) -> int:
        if not key:
            return 0
        number = next(self._numbers)
        self._held[number] = prober, key
        return number


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
