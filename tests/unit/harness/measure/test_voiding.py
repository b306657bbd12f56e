"""Blocks are void by rules that were declared, and by nothing else."""

from __future__ import annotations

from dataclasses import replace

from harness.load.limits import Conntrack
from harness.measure import voiding
from harness.measure.voiding import Observed

CALM = Observed(error="", stolen_seconds=0.0, capacity_seconds=2.0)


def test_a_leg_without_complaint_counts() -> None:
    """No failure, nothing stolen: no reason."""
    assert voiding.leg_reason(CALM) == ""


def test_a_failed_request_voids_its_leg() -> None:
    """Ab's complaint is the reason."""
    assert voiding.leg_reason(Observed("3 failed requests", 0.0, 2.0)) == "3 failed requests"


def test_stolen_cpu_voids_a_leg_above_a_tenth() -> None:
    """A tenth of the CPU time may be stolen; more is no measurement of ours."""
    assert voiding.leg_reason(Observed("", 0.2, 2.0)) == ""
    assert voiding.leg_reason(Observed("", 0.3, 2.0)) == "15% of the CPU time was stolen"


def test_load_of_others_voids_a_leg_above_a_quarter() -> None:
    """What others used just before is what they use now, as far as can be known."""
    assert voiding.leg_reason(Observed("", 0.0, 2.0, load=0.2)) == ""
    assert voiding.leg_reason(Observed("", 0.0, 2.0, load=0.5)) == "others used 50% of the CPUs"


def test_a_generator_at_its_limit_voids_a_leg() -> None:
    """Ab has one thread: where that is busy with itself, it is ab that was measured."""
    assert voiding.leg_reason(replace(CALM, generator=0.85)) == ""
    said = voiding.leg_reason(replace(CALM, generator=0.95))
    assert said == "ab spent 95% of its CPU in its own code"


def test_a_void_leg_voids_its_partner() -> None:
    """Half a pair is no pair; the partner says whose fault it was."""
    reasons = voiding.block_reasons(("", "3 failed requests"), ())

    assert reasons == ("the other leg: 3 failed requests", "3 failed requests")


def test_a_conntrack_table_that_is_nearly_full_voids_both() -> None:
    """Connections may have been refused: neither leg counts."""
    reasons = voiding.block_reasons(("", ""), (Conntrack("node-1", 95, 100),))

    assert reasons == ("node-1: conntrack holds 95 of 100 entries",) * 2


def test_a_calm_block_counts() -> None:
    """Two good legs and room in conntrack: both count."""
    assert voiding.block_reasons(("", ""), (Conntrack("node-1", 10, 100),)) == ("", "")
