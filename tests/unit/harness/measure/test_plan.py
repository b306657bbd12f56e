"""The plan is drawn by a seeded coin: it repeats, it is balanced, and it fits its budget."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from harness.measure import pace
from harness.measure.pace import Extent, Pace
from harness.measure.plan import ELSEWHERE, Arm, Comparison, Design, Role, Trial, make_plan


def test_the_same_seed_gives_the_same_plan() -> None:
    """A plan can be drawn again from its seed."""
    assert make_plan(Design(), 1) == make_plan(Design(), 1)
    assert make_plan(Design(), 1) != make_plan(Design(), 2)


def test_every_cell_has_as_many_blocks_of_each_comparison_as_rounds() -> None:
    """Nothing is measured more often than anything else, the A/A control included."""
    design = Design(rounds=4)

    counted = Counter((block.cell, block.comparison) for block in make_plan(design, 1).blocks)

    assert set(counted.values()) == {4}
    assert len(counted) == 3 * 2 * 5 * 2


def test_the_coin_puts_each_arm_first_about_half_of_the_time() -> None:
    """Neither arm is always the first of its block."""
    blocks = make_plan(Design(rounds=20), 1).blocks
    effects = [block for block in blocks if block.comparison is Comparison.EFFECT]

    on_first = sum(block.legs[0].arm is Arm.ON for block in effects)

    assert 0.4 < on_first / len(effects) < 0.6


def test_a_control_is_off_against_off() -> None:
    """The A/A control never has enforcement on, and still has a test and a reference leg."""
    blocks = make_plan(Design(), 1).blocks

    controls = [block.legs for block in blocks if block.comparison is Comparison.CONTROL]

    assert {leg.arm for legs in controls for leg in legs} == {Arm.OFF}
    assert all({leg.role for leg in legs} == set(Role) for legs in controls)


def test_sizes_are_measured_one_after_the_other() -> None:
    """Pods are only ever added: a larger size comes after every block of a smaller one."""
    sizes = [block.cell.size for block in make_plan(Design(rounds=2), 1).blocks]

    assert sizes == sorted(sizes)


def test_the_rounds_fit_the_time() -> None:
    """As many rounds as fit, and one more would not."""
    fitted = pace.fit(Pace(), Design(), 500.0)

    assert pace.blocks_seconds(Pace(), fitted) <= 500.0
    assert pace.blocks_seconds(Pace(), replace(fitted, rounds=fitted.rounds + 1)) > 500.0


def test_a_short_budget_still_gives_two_rounds() -> None:
    """A run has a plan even where its budget is too short for one."""
    assert pace.fit(Pace(), Design(), -10.0).rounds == pace.FEWEST_ROUNDS


def test_building_counts_in_the_estimate() -> None:
    """More nodes and pods take longer, before any block."""
    small, large = (
        pace.fixed_seconds(Pace(), Design(), Extent(nodes, pods, visits=2, visit_seconds=10))
        for nodes, pods in ((2, 162), (100, 8002))
    )

    assert large > small + 300


def test_every_enforcer_is_tried_as_often_as_the_control() -> None:
    """Two enforcers double the blocks of an effect; the control is one for both."""
    design = Design(rounds=4, enforcers=("one", "two"))

    counted = Counter(block.trial for block in make_plan(design, 1).blocks)

    assert set(counted) == {Trial(Comparison.EFFECT, name) for name in ("one", "two")} | {
        Trial(Comparison.CONTROL)
    }
    assert len(set(counted.values())) == 1


def test_placements_beside_the_sweep_are_in_the_plan_of_the_largest_size() -> None:
    """At one concurrency, twice a round, with a control of their own."""
    design = Design(rounds=3, elsewhere=ELSEWHERE)

    beside = [b for b in make_plan(design, 1).blocks if b.cell.placement in ELSEWHERE]

    counted = Counter((block.cell, block.trial) for block in beside)
    assert {(cell.size, cell.concurrency) for cell, _ in counted} == {(8, 64)}
    assert set(counted.values()) == {6}
    assert len(counted) == 3 * 2 * 2
    assert len(make_plan(design, 1).blocks) == design.blocks_in_all
