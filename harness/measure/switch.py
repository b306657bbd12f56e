"""Switching enforcement off and on without touching pods, and proving it by a probe each time.

A client that the policy denies is the witness: its connection must open while enforcement is
off and must not while it is on. A client that the policy allows is the control in the same
step: its connection must open always. An arm that cannot be proved ends the run.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.clusters.base import Cluster, Manifest, Outcome, Probe, Verdict
from harness.enforcers.base import Enforcer
from harness.errors import ClusterError, EnforcerFailed
from harness.measure import tracking
from harness.measure.clients import Clients
from harness.measure.plan import NOBODY, Arm

DENIALS = frozenset({Verdict.DROPPED, Verdict.REJECTED, Verdict.RESET, Verdict.UNREACHABLE})
"""How a denial may look. A reset is one, for the control proves that a server listens."""

SILENCE = 0.25
"""Seconds without an answer after which a probe counts as dropped."""

PATIENCE = 10.0
"""Seconds that a switch may take until probes prove it."""

SYNC_SECONDS = 180.0
"""How long an enforcer may take until it follows a change of policy or of pods."""

MOST_SAID = 4
"""Probes that a message about a failed switch names."""

_PAUSE = 0.05


@dataclass(frozen=True, slots=True)
class Witness:
    """Probes that show whether policy is enforced: one is let through always, one is denied."""

    controls: tuple[Probe, ...]
    """Of clients that the policy allows; the first one goes through a Service."""

    denied: tuple[Probe, ...]
    """Of clients that it denies; the first one goes through a Service."""

    nodes: tuple[str, ...] = ()
    """That the measured path crosses."""

    @classmethod
    def of(
        cls, clients: Clients, addresses: Sequence[str], port: int, nodes: tuple[str, ...] = ()
    ) -> Witness:
        """Return the witness of the allowed client and the denied one, address by address."""
        controls, denied = (
            tuple(Probe(client, address, port) for address in addresses)
            for client in (clients.allowed, clients.denied)
        )
        return cls(controls, denied, nodes)

    @property
    def probes(self) -> list[Probe]:
        """The controls, then the witnesses."""
        return [*self.controls, *self.denied]


@dataclass(slots=True)
class Switch:
    """Puts the arm that a leg needs in force; of several enforcers one acts at most."""

    cluster: Cluster
    enforcers: Mapping[str, Enforcer]
    """By the names that the run has for them."""

    witness: Witness
    policies: Sequence[Manifest]
    """What is away while the arm is ``idle``."""

    now: Arm | None = None
    """The arm in force; None: not known."""

    acting: str = NOBODY
    """Whose daemon runs or whose rules act."""

    def install(self, name: str, logs: Path, nodes: Sequence[str]) -> None:
        """Install an enforcer beside the others, prove that it enforces, and switch it off."""
        self.to(Arm.OFF)
        enforcer = self.enforcers[name]
        enforcer.install(self.cluster, logs, nodes)
        self.now, self.acting = None, name
        enforcer.wait_ready(SYNC_SECONDS)
        self.prove(Arm.ON, SYNC_SECONDS)
        self.to(Arm.OFF)

    def to(self, arm: Arm, name: str | None = None) -> None:
        """Switch to an arm of an enforcer, by default the run's first.

        Returns once probes prove it; raises EnforcerFailed if they do not.
        """
        wanted = next(iter(self.enforcers)) if name in {None, NOBODY} else str(name)
        if arm in {Arm.OFF, Arm.BARE}:
            wanted = NOBODY
        self._leave(arm, wanted)
        match arm:
            case Arm.ON:
                self.enforcers[wanted].enable()
            case Arm.OFF:
                pass
            case Arm.RULES:
                self.enforcers[wanted].hold()
            case Arm.BARE:
                tracking.stop(self.cluster, self.witness.nodes)
            case Arm.IDLE:
                self._idle(wanted)
        self.now, self.acting = arm, wanted
        self.prove(arm, PATIENCE)

    def add(self, policies: Sequence[Manifest]) -> None:
        """Apply policies beside those that are there; they are away while the arm is ``idle``."""
        if not policies:
            return
        self.cluster.apply(policies)
        new = {policy["metadata"]["name"] for policy in policies}
        known = (each for each in self.policies if each["metadata"]["name"] not in new)
        self.policies = (*known, *policies)

    def follow(self, name: str, changed: Witness) -> None:
        """Have an enforcer catch up with what came while it was off, and prove it there."""
        self._leave(Arm.ON, name)
        self.enforcers[name].enable()
        self.now, self.acting = Arm.ON, name
        self.prove(Arm.ON, SYNC_SECONDS, changed)

    def cpu_seconds(self) -> float:
        """Return the CPU time of all enforcers' daemons so far."""
        return sum(each.cpu_seconds() for each in self.enforcers.values())

    def dismiss(self) -> None:
        """Leave nothing of ours in a node's kernel, and uninstall every enforcer. Idempotent."""
        if self.now is Arm.BARE:
            tracking.go_on(self.cluster, self.witness.nodes)
        self.now = None
        for name in sorted(self.enforcers, key=lambda each: each != self.acting):
            self.enforcers[name].uninstall()

    def prove(self, arm: Arm, timeout: float, witness: Witness | None = None) -> None:
        """Probe until the arm shows, at most ``timeout`` seconds; by default to our witness."""
        deadline = time.monotonic() + timeout
        while True:
            complaints = self._complaints(arm, witness or self.witness)
            if not complaints:
                return
            if time.monotonic() >= deadline:
                said = "; ".join(complaints[:MOST_SAID])
                whose = ", ".join(self.enforcers) if self.acting == NOBODY else self.acting
                message = f"{whose}: switched {arm.value}, but after {timeout:.0f} s {said}"
                raise EnforcerFailed(message)
            time.sleep(_PAUSE)

    def guard(self) -> None:
        """Prove that nothing enforces before our enforcer is there; raise ClusterError if so."""
        complaints = self._complaints(Arm.OFF, self.witness)
        if complaints:
            message = (
                f"with no enforcer of ours, {'; '.join(complaints)}: "
                "another enforcer is active on this cluster, or its pods are not reachable"
            )
            raise ClusterError(message)

    def _leave(self, arm: Arm, wanted: str) -> None:
        """Undo what only the arm in force has: rules are switched with the policy in place."""
        if self.now is Arm.BARE and arm is not Arm.BARE:
            tracking.go_on(self.cluster, self.witness.nodes)
        if self.now is Arm.IDLE and (arm, wanted) != (Arm.IDLE, self.acting):
            self.cluster.apply(self.policies)
            self.prove(Arm.ON, SYNC_SECONDS)
            self.now = Arm.ON
        if self.acting not in {NOBODY, wanted}:
            self.enforcers[self.acting].disable()
            self.acting = NOBODY
            if wanted != NOBODY:
                # what denies after this is the next one's doing
                self.prove(Arm.OFF, PATIENCE)

    def _idle(self, name: str) -> None:
        if self.now is Arm.IDLE:
            return
        self.enforcers[name].enable()
        self.now, self.acting = Arm.ON, name
        self.prove(Arm.ON, SYNC_SECONDS)
        self.cluster.delete(self.policies)
        self.prove(Arm.IDLE, SYNC_SECONDS)

    def _complaints(self, arm: Arm, witness: Witness) -> list[str]:
        open_, shut = frozenset({Verdict.OPEN}), frozenset(Verdict) - {Verdict.OPEN}
        controls = [open_ for _ in witness.controls]
        denied = [open_ for _ in witness.denied]
        match arm:
            case Arm.ON | Arm.RULES:
                denied = [DENIALS for _ in witness.denied]
            case Arm.BARE:
                controls[0] = denied[0] = shut
            case Arm.OFF | Arm.IDLE:
                pass
        probes = witness.probes
        outcomes = self.cluster.probe(probes, timeout=SILENCE)
        return _not_in([*controls, *denied], probes, outcomes)


def _not_in(
    expected: Sequence[frozenset[Verdict]], probes: Sequence[Probe], outcomes: Sequence[Outcome]
) -> list[str]:
    return [
        f"{probe.source} -> {probe.address}:{probe.port} is {outcome.verdict.value}, "
        f"not {_words(wanted)}"
        for wanted, probe, outcome in zip(expected, probes, outcomes, strict=True)
        if outcome.verdict not in wanted
    ]


def _words(wanted: frozenset[Verdict]) -> str:
    return " or ".join(sorted(verdict.value for verdict in wanted))
