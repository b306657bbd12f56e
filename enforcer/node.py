"""This node's kernel, kept as the compiled policy wants it. Synchronous; no Kubernetes."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from enforcer import conntrack
from enforcer.errors import KernelError, LostRaceError
from enforcer.model.net import IPAddress, IPNetwork
from enforcer.nft.kernel import Kernel
from enforcer.nft.netlink import is_mark_in_use
from enforcer.nft.objects import Ruleset, Table
from enforcer.nft.transaction import Transaction
from enforcer.policy.compiled import CompiledPolicy
from enforcer.ruleset.epoch import Epochs
from enforcer.ruleset.names import TABLES
from enforcer.ruleset.options import LowerOptions
from enforcer.ruleset.plan import MarkInUse, Plan, Planner
from enforcer.wiring import Step, Wiring, steps

logger = logging.getLogger(__name__)

_UNKNOWN: Final = 0
"""No kernel's generation: it begins at 1, and leaves 0 out when it wraps."""

MOST_RACES: Final = 10
"""Times that others may change nftables under our hands before the sync is put off."""

FIRST_PAUSE: Final = 1.0
"""Seconds until something that nobody tells of (what a bridge has learned, a flag or a module that
makes a proof succeed) is looked for again; twice as long after each look in vain."""

LONGEST_PAUSE: Final = 60.0

MOST_REFUSALS: Final = 2
"""Times in a row that the kernel may refuse to change our tables before they are made anew: they
may only look as if they could be changed (somebody has renamed a chain that rules still go to)."""

_Addresses = tuple[tuple[IPAddress, ...], ...]
_Asked = tuple[_Addresses, tuple[IPNetwork, ...]]
"""The local pods' addresses and the node's pod networks: what the wiring was read for."""


class Links(Protocol):
    """This node's links; :class:`enforcer.links.NodeLinks` are the real ones."""

    def connect(self, compiled: CompiledPolicy) -> Wiring:
        """Find out how the local pods are connected, and make their bridges show us packets."""

    def confirm(self) -> Mapping[str, str]:
        """Return by bridge why its packets may not meet our rules, now that these are in."""

    def changed(self) -> bool:
        """Whether links or routes have changed since the last :meth:`connect`."""


@dataclass(frozen=True, slots=True)
class Synced:
    """What a sync did, and why (``problems``) it may not hold for every packet.

    ``steps`` counts the interfaces that lead to pods, by how their packets meet our rules.
    """

    transactions: int
    epochs: Epochs
    repaired: bool
    problems: tuple[str, ...]
    steps: Mapping[Step, int] = field(default_factory=dict)


class NodeTables:
    """Our tables in this network namespace.

    What the kernel holds is read once and then remembered: a sync without a change sends nothing.
    It is read again when the kernel's generation number says that somebody changed a table, and
    after every refusal.
    """

    def __init__(
        self,
        kernel: Kernel,
        options: LowerOptions,
        links: Links,
        mark_in_use: MarkInUse = is_mark_in_use,
        forget: Callable[[Iterable[IPAddress]], None] = conntrack.forget,
    ) -> None:
        """Take the kernel to write to, and the questions that are asked besides."""
        self._kernel = kernel
        self._links = links
        self._forget = forget
        self._planner = Planner(options, mark_in_use)
        self._have: Ruleset | None = None
        self._generation = _UNKNOWN
        self._asked: _Asked | None = None
        self._wired: Wiring | None = None
        self._again = _Again()
        self._refusals = 0
        self._repairs = False

    def disturbed(self) -> bool:
        """Whether a table, link or route has changed since our last look. Cheap: two messages.

        While something is still to be found out of which nobody tells: or whether that is due.
        """
        return (
            self._links.changed()
            or self._kernel.generation() != self._generation
            or self._again.is_due()
        )

    def sync(self, compiled: CompiledPolicy) -> Synced:
        """Make the kernel hold ``compiled``.

        KernelError leaves the kernel at the last transaction that it accepted, each of which is
        safe by itself; the next sync reads the truth again.
        """
        wiring = self._wire(compiled)
        for _ in range(MOST_RACES):
            have = self._look()
            if self._refusals >= MOST_REFUSALS:
                have = _strange(have)
            planned = self._planner.plan(have, compiled, wiring)
            try:
                self._apply(planned)
            except LostRaceError as error:
                logger.debug("%s; looking again", error)
                continue
            except KernelError as error:
                if not wiring.fast:
                    self._refusals += 1
                    raise
                # Rules do not wait for a short cut: an interface that has just gone is enough.
                logger.warning("going without the fast path until the next sync: %s", error)
                wiring = replace(wiring, fast=frozenset())
                continue
            return self._synced(planned, wiring)
        raise KernelError(f"other programs changed nftables {MOST_RACES} times in a row meanwhile")

    def _synced(self, planned: Plan, wiring: Wiring) -> Synced:
        self._refusals, self._repairs, repaired = 0, False, self._repairs
        unproved = self._links.confirm()
        self._again.plan(settled=self._wired is not None and not unproved)
        count = len(planned.transactions) + len(planned.afterwards)
        problems = (*wiring.problems, *unproved.values())
        return Synced(count, planned.epochs, repaired, problems, steps(wiring, unproved))

    def distrust(self) -> None:
        """Read the kernel at the next sync, whatever its generation number says."""
        self._generation = _UNKNOWN
        self._wired = None

    def _wire(self, compiled: CompiledPolicy) -> Wiring:
        """Return how the local pods are connected; read again when anything may be otherwise."""
        asked = tuple(pod.addresses for pod in compiled.pods), compiled.pod_networks
        known = self._wired
        if self._asked != asked or self._links.changed():
            self._wired = known = None  # should the look fail, it is owed
            self._again.soon()
        if known is None:
            self._asked = asked
            known = self._links.connect(compiled)
        # Bridges learn who is behind a port, and nobody tells when: they are asked until it is all.
        self._wired = known if _is_settled(known, asked[0]) else None
        return known

    def elements(self) -> int:
        """Return how many set and map elements the kernel holds for us, as far as we know."""
        tables = self._have.tables.values() if self._have else ()
        return sum(
            sum(len(item.elements) for item in table.sets.values())
            + sum(len(item.targets) for item in table.maps.values())
            for table in tables
        )

    def _look(self) -> Ruleset:
        """Return what the kernel holds; note whether somebody else changed what is ours."""
        generation = self._kernel.generation()
        if self._have is not None and generation == self._generation:
            return self._have
        found = self._kernel.read(TABLES)
        if self._have is not None and found != self._have:
            self._repairs = True
            logger.warning("our tables were changed by another program; putting them right")
        self._have, self._generation = found, generation
        return found

    def _apply(self, planned: Plan) -> None:
        self._have, before = None, self._have
        self._run(planned.transactions)
        if planned.forget:
            self._forget(planned.forget)
        self._run(planned.afterwards)
        self._have = planned.want if planned.transactions or planned.afterwards else before
        # Not asked of the kernel: it would count in what others changed since our look.
        self._generation += len(planned.transactions) + len(planned.afterwards)

    def _run(self, transactions: Iterable[Transaction]) -> None:
        for transaction in transactions:
            self._kernel.apply(transaction)
            logger.debug("applied: %s", transaction.purpose)


@dataclass(slots=True)
class _Again:
    """When to look again for what nobody tells of."""

    _due: float = math.inf
    _pause: float = FIRST_PAUSE

    def is_due(self) -> bool:
        return time.monotonic() >= self._due

    def soon(self) -> None:
        """Look for it soon: it is new."""
        self._pause = FIRST_PAUSE

    def plan(self, *, settled: bool) -> None:
        """Plan the next look, later than the last one; none where there is nothing to find."""
        self._due = math.inf if settled else time.monotonic() + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE)


def _strange(have: Ruleset) -> Ruleset:
    """Return tables of which nothing is believed but that they are there."""
    return Ruleset({id_: Table(id_, foreign=True) for id_ in have.tables})


def _is_settled(wiring: Wiring, pods: _Addresses) -> bool:
    """Whether nothing more is to be found out as long as links, routes and pods stay."""
    if wiring.problems or not wiring.bridges:
        return not wiring.problems
    seen = {item for bridge in wiring.bridges for port in bridge.ports for item in port.addresses}
    return all(address in seen for addresses in pods for address in addresses)
