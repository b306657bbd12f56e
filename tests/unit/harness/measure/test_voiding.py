"""Blocks are void by rules that were declared, and by nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.load.limits import Conntrack
from harness.measure import calm, voiding
from harness.measure.voiding import Observed, Rest

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


def test_what_the_machine_does_of_itself_voids_nothing() -> None:
    """Load that is there in every arm alike is allowed for; a quarter of the CPUs on top is not."""
    own = replace(CALM, of_itself=0.37)

    assert voiding.leg_reason(replace(own, load=0.6)) == ""
    said = voiding.leg_reason(replace(own, load=0.7))
    assert said == "others used 70% of the CPUs, of which 37% are the machine's own"


def test_load_that_comes_while_a_leg_runs_voids_it() -> None:
    """What begins after the look before the leg is seen in what nobody of ours has taken."""
    assert voiding.leg_reason(replace(CALM, during=0.2)) == ""
    assert voiding.leg_reason(replace(CALM, during=0.4)) == "others used 40% of the CPUs"


WATCHER = (0.5, 0.0, 0.5, 0.5, 0.0, 0.5, 0.0, 0.05, 0.5, 0.0)
"""Looks at two CPUs on which something of the host's works every now and then."""


def test_bursts_of_the_machine_are_its_own() -> None:
    """A block that meets one is as good as one that does not; both CPUs busy are no burst of it."""
    own = Rest(WATCHER, cpus=2)

    leg = replace(CALM, of_itself=own.of_itself)
    assert own.of_itself == pytest.approx(0.475)
    assert voiding.leg_reason(replace(leg, load=0.5)) == ""
    assert voiding.leg_reason(replace(leg, load=1.0)) != ""
    assert own.facts() == pytest.approx({"load": 0.255, "low": 0, "high": 0.5, "of_itself": 0.475})


def test_rare_work_is_not_taken_for_the_machines_own() -> None:
    """Once in ten looks is no property of the machine."""
    assert Rest((1.0, *[0.0] * 9), cpus=2).of_itself == 0.0


def test_a_program_that_never_rests_is_no_property_of_the_machine() -> None:
    """Burners that were there before us are not granted."""
    assert Rest((1.0, 1.0), cpus=2).of_itself == 0.0


def test_a_burner_takes_a_whole_cpu_however_many_there_are() -> None:
    """One of two CPUs, or one of sixty-four: what computes without end is somebody's work."""
    assert Rest((0.5, 0.5), cpus=2).of_itself == 0.0
    assert Rest((0.5, 0.5), cpus=1).of_itself == 0.5
    assert Rest((1 / 64,), cpus=64).of_itself == 0.0


def test_a_machine_is_watched_until_it_no_longer_falls(monkeypatch: pytest.MonkeyPatch) -> None:
    """What made the pods still works for a while: that is not what the blocks will meet."""
    falling = iter([0.9, 0.9, 0.6, 0.6, 0.4, 0.4, 0.39, 0.41])
    monkeypatch.setattr(calm, "load", lambda _seconds: next(falling))

    found = calm.rest(looks=2)

    assert found.looks == (0.4, 0.4, 0.39, 0.41)


def test_a_quiet_machine_is_watched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is nothing to wait for, nothing is waited for."""
    looks = iter([0.0, 0.1])
    monkeypatch.setattr(calm, "load", lambda _seconds: next(looks))

    assert calm.rest(looks=2).looks == (0.0, 0.1)
