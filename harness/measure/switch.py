"""Switching enforcement off and on without touching pods, and proving it by a probe each time.

A client that the policy denies is the witness: its connection must open while enforcement is
off and must not while it is on. A client that the policy allows is the control in the same
step: its connection must open always. An arm that cannot be proved ends the run.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from harness.clusters.base import Cluster, Manifest, Outcome, Place, Probe, Verdict
from harness.enforcers.base import Enforcer
from harness.errors import ClusterError, EnforcerFailed
from harness.measure import tracking
from harness.measure.plan import Arm

DENIALS = frozenset({Verdict.DROPPED, Verdict.REJECTED, Verdict.RESET, Verdict.UNREACHABLE})
"""How a denial may look. A reset is one, for the control proves that a server listens."""

SILENCE = 0.25
"""Seconds without an answer after which a probe counts as dropped."""

PATIENCE = 10.0
"""Seconds that a switch may take until probes prove it."""

SYNC_SECONDS = 180.0
"""How long an enforcer may take until it follows a change of policy or of pods."""

_PAUSE = 0.05


@dataclass(frozen=True, slots=True)
class Witness:
    """Whom the policy allows and denies, and the addresses at which that shows."""

    allowed: Place
    denied: Place
    addresses: tuple[str, ...]
    """The Service's first, then its pods'."""

    port: int
    nodes: tuple[str, ...]
    """That the measured path crosses."""

    def probes(self) -> list[Probe]:
        """Return the controls, then the witnesses, address by address."""
        return [
            Probe(client, address, self.port)
            for client in (self.allowed, self.denied)
            for address in self.addresses
        ]


@dataclass(slots=True)
class Switch:
    """Puts the arm that a leg needs in force."""

    cluster: Cluster
    enforcer: Enforcer
    witness: Witness
    policy: Manifest
    """What is away while the arm is ``idle``."""

    now: Arm | None = None
    """The arm in force; None: not known."""

    def to(self, arm: Arm) -> None:
        """Switch to ``arm`` and return once probes prove it; raise EnforcerFailed if not."""
        self._leave(arm)
        match arm:
            case Arm.ON:
                self.enforcer.enable()
            case Arm.OFF:
                self.enforcer.disable()
            case Arm.RULES:
                self.enforcer.hold()
            case Arm.BARE:
                self.enforcer.disable()
                tracking.stop(self.cluster, self.witness.nodes)
            case Arm.IDLE:
                self._idle()
        self.now = arm
        self.prove(arm, PATIENCE)

    def prove(self, arm: Arm, timeout: float) -> None:
        """Probe until the arm shows, at most ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        while True:
            complaints = self._complaints(arm)
            if not complaints:
                return
            if time.monotonic() >= deadline:
                message = (
                    f"{self.enforcer.name}: switched {arm.value}, but after {timeout:.0f} s "
                    f"{'; '.join(complaints)}"
                )
                raise EnforcerFailed(message)
            time.sleep(_PAUSE)

    def guard(self) -> None:
        """Prove that nothing enforces before our enforcer is there; raise ClusterError if so."""
        complaints = self._complaints(Arm.OFF)
        if complaints:
            message = (
                f"with no enforcer of ours, {'; '.join(complaints)}: "
                "another enforcer is active on this cluster, or its pods are not reachable"
            )
            raise ClusterError(message)

    def rest(self) -> None:
        """Leave nothing of ours in a node's kernel but the enforcer; idempotent."""
        if self.now is Arm.BARE:
            tracking.go_on(self.cluster, self.witness.nodes)
        self.now = None

    def _leave(self, arm: Arm) -> None:
        """Undo what only the arm in force has: rules are switched with the policy in place."""
        if self.now is arm:
            return
        if self.now is Arm.BARE:
            tracking.go_on(self.cluster, self.witness.nodes)
        if self.now is Arm.IDLE:
            self.cluster.apply([self.policy])
            self.prove(Arm.ON, SYNC_SECONDS)

    def _idle(self) -> None:
        if self.now is Arm.IDLE:
            return
        self.enforcer.enable()
        self.prove(Arm.ON, SYNC_SECONDS)
        self.cluster.delete([self.policy])
        self.prove(Arm.IDLE, SYNC_SECONDS)

    def _complaints(self, arm: Arm) -> list[str]:
        open_, shut = frozenset({Verdict.OPEN}), frozenset(Verdict) - {Verdict.OPEN}
        controls = [open_ for _ in self.witness.addresses]
        witnesses = list(controls)
        match arm:
            case Arm.ON | Arm.RULES:
                witnesses = [DENIALS for _ in self.witness.addresses]
            case Arm.BARE:
                controls[0] = witnesses[0] = shut
            case Arm.OFF | Arm.IDLE:
                pass
        probes = self.witness.probes()
        outcomes = self.cluster.probe(probes, timeout=SILENCE)
        return _not_in([*controls, *witnesses], probes, outcomes)


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
