"""One example: two enforced nodes go from nothing through a history of states."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import yaml

from enforcer.ruleset.options import LowerOptions, UnknownPods
from harness.matrix.oracle import Oracle
from tests.property.fleet.packets import Probe, Prober, Seen
from tests.property.fleet.pipeline import Enforced, difference, told_anew
from tests.property.fleet.states import KIND_NAMES, History, Objects, State, walked
from tests.property.fleet.topology import NODES, Fleet

MOST_SHOWN = 20


@dataclass
class Tally:
    """How much was done."""

    examples: int = 0
    steps: int = 0
    probes: int = 0
    started: float = field(default_factory=time.monotonic)

    def __str__(self) -> str:
        """Return it as a line, with the rate."""
        minutes = (time.monotonic() - self.started) / 60
        return (
            f"{self.examples} examples ({self.examples / minutes:.0f} a minute), {self.steps} steps"
            f" ({self.steps / minutes:.0f} a minute), {self.probes} probes"
        )


class Trial:
    """Tells the nodes what changes, and compares every packet with the oracle after each step."""

    def __init__(
        self,
        fleet: Fleet,
        prober: Prober,
        options: LowerOptions,
        say: Callable[[str], None] = print,
    ) -> None:
        """Take a fleet on which nothing is enforced; ``say`` is told what happens."""
        self._say = say
        self._fleet = fleet
        self._prober = prober
        self._options = options
        self._nodes = self._enforcers()
        self._before: Objects = {}
        self._turn = 0
        prober.begin()

    def _enforcers(self) -> list[Enforced]:
        spaces = self._fleet.spaces
        return [Enforced(node.name, spaces[node.space], self._options) for node in NODES]

    def run(self, history: History, tally: Tally) -> None:
        """Go through the states; at the end, compare with a daemon that begins anew."""
        tally.examples += 1
        for state, anew in walked(history):
            self.go(state, anew=anew)
            tally.steps += 1
            tally.probes += len(self._prober.probes)
        self.compare_with_a_new_daemon()

    def go(self, state: State, *, anew: bool = False) -> Seen:
        """Tell the nodes what is different in a state; compare every packet with the oracle."""
        after = state.objects()
        self._say(told(self._turn, self._before, after))
        changes = told_anew(after) if anew else difference(self._before, after)
        self._before = after
        for node in self._nodes:
            node.tell(changes)
        seen = self._compare(state, after, self._turn)
        self._turn += 1
        return seen

    def compare_with_a_new_daemon(self) -> None:
        """Check that the kernel holds what a cluster compiled from nothing means."""
        for node in self._enforcers():
            synced = node.tell(told_anew(self._before))
            node.stop()
            assert synced.transactions == 0, "the kernel does not hold what a new daemon wants"

    def end(self) -> None:
        """Leave nothing to the next example."""
        self._prober.held.close()
        for node in self._nodes:
            node.end()
        self._fleet.forget_connections()

    def _compare(self, state: State, objects: Objects, turn: int) -> Seen:
        probes = self._prober.probes
        free = frozenset(index for index, one in enumerate(probes) if self._is_free(state, one))
        allowed = frozenset(self._allowed(state, objects)) - free
        self._prober.held.let_go(free)
        cut, alive = self._prober.held.check(allowed, turn)
        seen = self._prober.fire(allowed)
        wrong = [
            *(f"allowed, and cut: held {probes[index]}" for index in cut),
            *(f"denied, and still alive: held {probes[index]}" for index in alive),
            *self._wrong(allowed, free, seen),
        ]
        assert not wrong, "\n".join([f"step {turn}: {len(wrong)} wrong", *wrong[:MOST_SHOWN]])
        return seen

    def _wrong(self, allowed: frozenset[int], free: frozenset[int], seen: Seen) -> Iterator[str]:
        for index, probe in enumerate(self._prober.probes):
            if index in free:
                continue
            match index in allowed, index in seen.arrived, index in seen.answered:
                case (True, _, False):
                    yield f"allowed, and not answered: {probe}"
                case (False, _, True):
                    yield f"denied, and answered: {probe}"
                case (False, True, _):
                    yield f"denied, and arrived: {probe}"

    def _is_free(self, state: State, probe: Probe) -> bool:
        """Whether nothing is promised: an address that no pod has, and its own node.

        A pod that starts may reach its node. One that has started need not reach anybody from an
        address that it was not given: who is at a port of a bridge is known then.
        """
        ends = [place for place in (probe.source, probe.target) if place.is_slot]
        unknown = [place for place in ends if not state.owns(place, probe.version)]
        if len(ends) == 1 and probe.source.node == probe.target.node:
            return bool(unknown)
        opened = self._options.unknown_pods is UnknownPods.ALLOW
        return opened and any(map(state.is_lived_in, unknown))

    def _allowed(self, state: State, objects: Objects) -> Iterator[int]:
        oracle = Oracle({"kind": KIND_NAMES[kind], **item} for (kind, _), item in objects.items())
        known: dict[tuple[str, str, int, str], bool] = {}
        denies_unknown = self._options.unknown_pods is UnknownPods.DENY
        for index, probe in enumerate(self._prober.probes):
            if denies_unknown and is_unknown(state, probe):
                continue
            ends = [place.address(probe.version) for place in (probe.source, probe.target)]
            question = (ends[0], ends[1], probe.port, probe.way.protocol)
            if question not in known:
                known[question] = oracle.judge(*question).allowed
            if known[question]:
                yield index


def is_unknown(state: State, probe: Probe) -> bool:
    """Whether an end is an address of a pod range that no pod has."""
    ends = (place for place in (probe.source, probe.target) if place.is_slot)
    return not all(state.owns(place, probe.version) for place in ends)


def told(turn: int, before: Objects, after: Objects) -> str:
    """Return a step for a person: new and changed manifests as YAML, and what is gone."""
    new = [
        {"kind": KIND_NAMES[kind], **item}
        for (kind, key), item in after.items()
        if before.get((kind, key)) != item
    ]
    gone = [f"# gone: {KIND_NAMES[kind]} {key}" for kind, key in before if (kind, key) not in after]
    text = yaml.safe_dump_all(new, sort_keys=False) if new else ""
    return "\n".join([f"# step {turn}", *gone, text])
