"""Random clusters through random changes: after each step every packet does what the oracle says.

``nox -s fuzz -- --examples 10000 --seed 7`` tries many; a counterexample is made small and shown
as the manifests of each step.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, note, seed, settings
from hypothesis import strategies as st

from enforcer.ruleset.options import DenyAction, LowerOptions, UnknownPods
from tests.conftest import FUZZED
from tests.property.fleet.packets import Prober
from tests.property.fleet.states import History, histories
from tests.property.fleet.topology import Fleet
from tests.property.fleet.trial import Tally, Trial

pytestmark = pytest.mark.kernel

OPTIONS = st.builds(
    LowerOptions,
    deny_action=st.sampled_from((DenyAction.DROP, DenyAction.DROP, DenyAction.REJECT)),
    unknown_pods=st.sampled_from((UnknownPods.DENY, UnknownPods.DENY, UnknownPods.ALLOW)),
)


def test_every_packet_does_what_the_oracle_says(
    pinned: tuple[Fleet, Prober], pytestconfig: pytest.Config
) -> None:
    """Pairs, families, protocols, ports, Services, old flows: as the specification has it."""
    fleet, sockets = pinned
    tally = Tally()

    @seed(pytestconfig.getoption("seed"))
    @settings(
        max_examples=pytestconfig.getoption("examples"),
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(OPTIONS, histories)
    def agrees(options: LowerOptions, history: History) -> None:
        trial = Trial(fleet, sockets, options, note)
        try:
            trial.run(history, tally)
        finally:
            trial.end()

    try:
        agrees()
    finally:
        pytestconfig.stash[FUZZED].append(f"{tally}, seed {pytestconfig.getoption('seed')}")
