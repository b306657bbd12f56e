"""Links that never change, for tests of what happens to the tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from enforcer.policy.compiled import CompiledPolicy
from enforcer.wiring import NO_WIRING, Wiring


@dataclass(frozen=True)
class StillLinks:
    """A node that is wired like this, whatever its pods are."""

    wiring: Wiring = NO_WIRING
    unproved: Mapping[str, str] = field(default_factory=dict)

    def connect(self, _compiled: CompiledPolicy) -> Wiring:
        """Return the wiring."""
        return self.wiring

    def confirm(self) -> Mapping[str, str]:
        """Return what is said not to be proved."""
        return self.unproved

    def changed(self) -> bool:
        """Return that nothing has changed."""
        return False
