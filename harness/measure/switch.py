"""Switching enforcement off and on without touching pods, and proving it by a probe each time.

A client that the policy denies is the witness: its connection must open while enforcement is
off and must not while it is on. A client that the policy allows is the control in the same
step: its connection must open always. An arm that cannot be proved ends the run.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from harness.clusters.base import Cluster, Outcome, OutsideRef, Probe, Verdict
from harness.enforcers.base import Enforcer
from harness.errors import ClusterError, EnforcerFailed
from harness.measure.plan import Arm

DENIALS = frozenset({Verdict.DROPPED, Verdict.REJECTED, Verdict.RESET, Verdict.UNREACHABLE})
"""How a denial may look. A reset is one, for the control proves that a server listens."""

SILENCE = 0.25
"""Seconds without an answer after which a probe counts as dropped."""

PATIENCE = 10.0
"""Seconds that a switch may take until probes prove it."""

_PAUSE = 0.05


@dataclass(frozen=True, slots=True)
class Witness:
    """Whom the policy allows and denies, and the addresses at which that shows."""

    allowed: str
    denied: str
    addresses: tuple[str, ...]
    port: int

    def probes(self) -> list[Probe]:
        """Return the controls, then the witnesses, address by address."""
        return [
            Probe(OutsideRef(client), address, self.port)
            for client in (self.allowed, self.denied)
            for address in self.addresses
        ]


@dataclass(frozen=True, slots=True)
class Switch:
    """Puts the arm that a leg needs in force."""

    cluster: Cluster
    enforcer: Enforcer
    witness: Witness

    def to(self, arm: Arm) -> None:
        """Switch to ``arm`` and return once probes prove it; raise EnforcerFailed if not."""
        match arm:
            case Arm.ON:
                self.enforcer.enable()
            case Arm.OFF:
                self.enforcer.disable()
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

    def _complaints(self, arm: Arm) -> list[str]:
        probes = self.witness.probes()
        outcomes = self.cluster.probe(probes, timeout=SILENCE)
        half = len(self.witness.addresses)
        wrong = _not_in(frozenset({Verdict.OPEN}), probes[:half], outcomes[:half])
        expected = DENIALS if arm is Arm.ON else frozenset({Verdict.OPEN})
        return wrong + _not_in(expected, probes[half:], outcomes[half:])


def _not_in(
    expected: frozenset[Verdict], probes: Sequence[Probe], outcomes: Sequence[Outcome]
) -> list[str]:
    words = " or ".join(sorted(verdict.value for verdict in expected))
    return [
        f"{probe.source} -> {probe.address}:{probe.port} is {outcome.verdict.value}, not {words}"
        for probe, outcome in zip(probes, outcomes, strict=True)
        if outcome.verdict not in expected
    ]
