"""A whole study on a fake cluster: what is stored, in which order, however it ends."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from harness.clusters.base import PodRef
from harness.enforcers.base import State
from harness.errors import ClusterError, EnforcerFailed, UsageError
from harness.load import limits
from harness.load.locust import Steps
from harness.measure import (
    bench,
    blocks,
    calm,
    notes,
    pace,
    resume,
    rounds,
    servers,
    study,
    switch,
    voiding,
)
from harness.measure.plan import ELSEWHERE, Arm, Comparison, Placement, Role, make_plan
from harness.measure.servers import Servers
from harness.report import analysis
from harness.stats import Word
from harness.workload import sweep
from harness.workload.sweep import Quantity

LEGS_OF_PILOT = 4 + 2 * 4 * 2 * 2  # a taste of each cell; rounds, cells, comparisons, legs


def rows_of(bed: Any) -> list[blocks.Row]:
    """Return what a run has stored."""
    return blocks.read(bed.folder.path / blocks.FILE)


def test_every_planned_leg_is_stored_in_the_order_of_the_plan(bed: Any) -> None:
    """blocks.csv is the plan, carried out."""
    study.run(bed.study, bed.lab)

    plan = make_plan(bed.study.design, bed.study.seed)
    planned = [
        (block.number, str(block.cell), leg.arm, leg.role)
        for block in plan.blocks
        for leg in block.legs
    ]
    assert [(row.block, row.cell, row.arm, row.role) for row in rows_of(bed)] == planned


def test_locust_visits_the_workloads_services_alone(bed: Any) -> None:
    """``kubernetes``, which a real control plane has in the same namespace, serves no page."""
    study.run(replace(bed.study, visit=Steps((20, 40), 1.0)), bed.lab)

    ours = {name: address for name, address in bed.cluster.services.items() if name != "kubernetes"}
    assert len(ours) == bed.study.services + 1
    assert bed.cluster.visited == {f"http://{address}:80/" for address in ours.values()}


def test_each_row_names_the_raw_output_that_it_was_read_from(bed: Any) -> None:
    """A number leads to its evidence."""
    study.run(bed.study, bed.lab)

    for row in rows_of(bed):
        raw = (bed.folder.path / row.raw).read_text()
        assert f"Requests per second:    {row.rps:.2f} " in raw


def test_growing_adds_pods_and_probes_a_sample_of_the_services(bed: Any) -> None:
    """The second size has more pods; that their Services answer was tried and counted."""
    study.run(bed.study, bed.lab)

    sizes = bed.folder.read_json(notes.FILE)["sizes"]
    assert (sizes["2"]["pods"], sizes["6"]["pods"]) == (8, 24)
    assert sizes["6"]["reached"] == {"answered": 4, "sampled": 4}


def test_a_failed_request_voids_its_block_and_stays_in_the_file(bed: Any) -> None:
    """Both legs of the block are marked, with the reason; nothing is left out."""
    bed.cluster.fails_at = frozenset({LEGS_OF_PILOT + 3})

    study.run(bed.study, bed.lab)

    void = [row for row in rows_of(bed) if row.void]
    assert [row.block for row in void] == [2, 2]
    assert {row.reason for row in void} == {
        "3 failed requests ()",
        "the other leg: 3 failed requests ()",
    }


def test_an_enforcer_that_does_not_switch_ends_the_run(
    bed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No arm is measured that was not proved; the cluster is taken down."""
    monkeypatch.setattr(switch, "PATIENCE", 0.1)
    bed.enforcer.stuck = True

    with pytest.raises(EnforcerFailed):
        study.run(bed.study, bed.lab)

    assert rows_of(bed) == []
    assert not bed.cluster.up
    assert bed.enforcer.now is State.ABSENT


def test_another_enforcer_stops_the_run_before_ours_is_installed(bed: Any) -> None:
    """What is measured must be ours alone."""
    bed.cluster.foreign_denials = True

    with pytest.raises(ClusterError, match="another enforcer"):
        study.run(bed.study, bed.lab)

    assert "install" not in bed.enforcer.calls


def test_an_interrupted_run_keeps_its_whole_blocks(bed: Any) -> None:
    """Ctrl-C loses the block under way and nothing else; everything is taken down."""
    bed.cluster.interrupted_at = LEGS_OF_PILOT + 6

    with pytest.raises(KeyboardInterrupt):
        study.run(bed.study, bed.lab)

    assert {row.block for row in rows_of(bed)} == {1, 2}
    assert not bed.cluster.up
    assert bed.enforcer.now is State.ABSENT


def test_a_run_that_was_cut_off_goes_on_where_it_was(bed: Any) -> None:
    """The same plan is carried out to its end; what was stored stays, what was torn is redone."""
    bed.cluster.interrupted_at = LEGS_OF_PILOT + 2 * 26 + 2
    with pytest.raises(KeyboardInterrupt):
        study.run(bed.study, bed.lab)
    before = rows_of(bed)
    path = bed.folder.path / blocks.FILE
    path.write_text(path.read_text() + "27,s6-outside-service-n")
    bed.folder.finish("partial")
    again = type(bed.cluster)(type(bed.enforcer)())
    known = type(bed.lab.addresses(again))(again)
    lab = replace(
        bed.lab, cluster=again, enforcers={"fake": again.enforcer}, addresses=lambda _: known
    )

    study.run(replace(bed.study, earlier=resume.earlier(bed.folder)), lab)

    plan = make_plan(bed.study.design, bed.study.seed)
    found = rows_of(bed)
    assert [row.block for row in found[::2]] == [block.number for block in plan.blocks]
    assert found[: len(before)] == before
    assert len(before) == 2 * 26
    assert again.runs == len(found) - len(before)
    assert found[-1].at > before[-1].at
    assert bed.folder.read_json(notes.FILE)["sizes"]["2"]["rounds"] == 3


def test_a_complete_run_is_not_taken_up(bed: Any) -> None:
    """There is nothing to go on with."""
    study.run(bed.study, bed.lab)
    bed.folder.finish("passed")

    with pytest.raises(UsageError, match="complete"):
        resume.earlier(bed.folder)


def test_a_run_without_its_pilot_is_not_taken_up(bed: Any) -> None:
    """Without the work of a leg, later legs would not equal earlier ones."""
    bed.cluster.interrupted_at = 2
    with pytest.raises(KeyboardInterrupt):
        study.run(bed.study, bed.lab)

    with pytest.raises(UsageError, match="before its pilot ended"):
        resume.earlier(bed.folder)


def test_without_an_enforcer_only_the_control_is_measured(bed: Any) -> None:
    """``--enforcer none`` compares off with off, and installs nothing."""
    design = replace(bed.study.design, comparisons=(Comparison.CONTROL,))

    study.run(replace(bed.study, design=design), bed.lab)

    assert {row.arm for row in rows_of(bed)} == {Arm.OFF}
    assert "install" not in bed.enforcer.calls


def test_each_arm_is_measured_beside_off(bed: Any) -> None:
    """Every arm has as many blocks as the control; bare goes straight to the pod."""
    comparisons = tuple(Comparison)
    design = replace(bed.study.design, comparisons=comparisons)

    study.run(replace(bed.study, design=design), bed.lab)

    tests = [row for row in rows_of(bed) if row.role is Role.TEST]
    counted = Counter(row.comparison for row in tests)
    assert set(counted) == set(comparisons)
    assert len(set(counted.values())) == 1
    assert all(row.arm is row.comparison.test_arm for row in tests)
    straight = {row.comparison for row in rows_of(bed) if row.placement is Placement.POD}
    assert straight == {Comparison.BARE}


def test_the_load_of_others_voids_every_block(bed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With burners beside it nothing counts, and every row says why."""
    monkeypatch.setattr(bench, "load", lambda _seconds: 1.0)

    study.run(bed.study, bed.lab)

    assert all(row.void for row in rows_of(bed))
    assert any(row.reason == "others used 100% of the CPUs" for row in rows_of(bed))
    found = analysis.analyse(rows_of(bed), seed=1)
    assert {each.verdict.word for each in found.headlines if each.verdict} == {Word.INVALID}
    assert {each.verdict.word for each in found.costs} == {Word.INVALID}


def test_a_steady_load_of_the_machine_is_declared_and_voids_nothing(
    bed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A watcher that uses 40 % in every arm is seen before the blocks, and said with its spread."""
    monkeypatch.setattr(bench, "load", lambda _seconds: 0.4)
    monkeypatch.setattr(calm, "load", lambda _seconds: 0.4)
    monkeypatch.setattr(calm, "cpus", lambda: 2)

    study.run(bed.study, bed.lab)

    assert not any(row.void for row in rows_of(bed))
    sizes = bed.folder.read_json(notes.FILE)["sizes"]
    assert sizes["6"]["machine_at_rest"] == pytest.approx(
        {"load": 0.4, "low": 0.4, "high": 0.4, "of_itself": 0.4}
    )


def test_burners_that_were_there_before_the_run_void_every_block(
    bed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What never rests is not granted, however steady it is: no verdict is slower or faster."""
    bed.cluster.cost = 0.3
    monkeypatch.setattr(bench, "load", lambda _seconds: 1.0)
    monkeypatch.setattr(calm, "load", lambda _seconds: 1.0)

    study.run(bed.study, bed.lab)

    found = analysis.analyse(rows_of(bed), seed=1)
    assert {each.verdict.word for each in found.headlines if each.verdict} == {Word.INVALID}


def test_a_pilot_that_met_another_process_is_asked_again(
    bed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its void blocks are run once more when the machine is calm, and the promise is of those."""
    loads = itertools.chain([0.9] * 5, itertools.repeat(0.0))
    monkeypatch.setattr(bench, "load", lambda _seconds: next(loads))

    study.run(bed.study, bed.lab)

    pilot = blocks.read(bed.folder.path / "pilot.csv")
    assert len({row.block for row in pilot if row.void}) == 5
    known = bed.folder.read_json(notes.FILE)["pilot"]
    assert known["asked_again"] == 5
    planned = bed.study.pilot_rounds * bed.study.design.blocks_in_round(2)
    assert sum(each["pairs"] for each in known["spreads"].values()) == planned


def test_the_path_has_a_clock_of_its_own(bed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the servers took is stored beside the machine's time, and a request's cost is of it."""
    clock = itertools.count(1.0, 0.5)
    known = Servers(())
    monkeypatch.setattr(Servers, "cpu_seconds", lambda _: next(clock))
    monkeypatch.setattr(servers, "find", lambda *_: known)

    study.run(bed.study, bed.lab)

    rows = rows_of(bed)
    assert {row.path_cpu_seconds for row in rows} == {0.5}
    assert all(analysis.cpu_per_request(row) == pytest.approx(0.5 / row.requests) for row in rows)


@pytest.mark.parametrize("quantity", [each for each in Quantity if each is not Quantity.PODS])
def test_a_sweep_of_policies_is_proved_at_each_amount(bed: Any, quantity: Quantity) -> None:
    """The pods stay as they are; the last host of each amount is let in, and the next is not."""
    design = replace(bed.study.design, sizes=(1, 3), quantity=quantity)

    study.run(replace(bed.study, design=design), bed.lab)

    assert bed.cluster.admitted == {sweep.host(number) for number in (1, 2, 3)}
    facts = bed.folder.read_json(notes.FILE)
    assert facts["design"]["quantity"] == quantity.value
    assert {size: known["pods"] for size, known in facts["sizes"].items()} == {"1": 8, "3": 8}
    assert {row.size for row in rows_of(bed)} == {1, 3}


def test_an_enforcer_that_does_not_follow_a_sweep_ends_the_run(
    bed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is measured at an amount enforces that amount."""
    monkeypatch.setattr(switch, "SYNC_SECONDS", 0.1)
    monkeypatch.setattr(sweep, "policies", lambda *_: iter(()))
    design = replace(bed.study.design, quantity=Quantity.PEERS)

    with pytest.raises(EnforcerFailed):
        study.run(replace(bed.study, design=design), bed.lab)


def test_limits_are_the_same_on_every_node_and_said(bed: Any) -> None:
    """Conntrack's and the client's limits are set once, before any arm, and stored."""
    study.run(bed.study, bed.lab)

    said = bed.folder.read_json(notes.FILE)["sysctls"]
    assert said["node/node-1"] == said["node/node-2"] == dict(limits.NODE_SYSCTLS)
    assert said["outside/14.215.0.10"] == dict(limits.CLIENT_SYSCTLS)


def test_the_rules_are_declared_before_the_first_block(bed: Any) -> None:
    """A run that is cut off at once has still said what it would void, and its seed."""
    bed.cluster.interrupted_at = 1

    with pytest.raises(KeyboardInterrupt):
        study.run(bed.study, bed.lab)

    design = bed.folder.read_json(notes.FILE)["design"]
    assert design["seed"] == 1
    assert design["voiding_rules"] == list(voiding.RULES)


def test_a_row_survives_the_file(bed: Any) -> None:
    """What is read is what was written."""
    study.run(bed.study, bed.lab)
    before = rows_of(bed)

    copy = bed.folder.path / "copy.csv"
    blocks.begin(copy)
    blocks.append(copy, before)

    assert blocks.read(copy) == before


def test_a_size_whose_time_is_over_ends_after_whole_rounds(
    bed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow machine costs rounds, not the budget; every cell is still measured as often."""
    monkeypatch.setattr(rounds, "SLACK", 0.0)

    study.run(replace(bed.study, budget=600.0), bed.lab)

    counted = Counter((row.cell, row.comparison) for row in rows_of(bed))
    assert set(counted.values()) == {2 * pace.FEWEST_ROUNDS}
    assert bed.folder.read_json(notes.FILE)["sizes"]["6"]["rounds"] == pace.FEWEST_ROUNDS


def test_several_enforcers_are_interleaved_and_never_act_together(pair: Any) -> None:
    """Each has as many blocks as the control, among each other; the fakes refuse two at once."""
    study.run(pair.study, pair.lab)

    tests = [row for row in rows_of(pair) if row.role is Role.TEST]
    whose = [row.enforcer for row in tests if row.size == 2]
    assert Counter(whose) == {"fake": 12, "other": 12, "none": 12}
    assert {"fake", "other", "none"} == set(whose[:4])
    assert {each.now for each in pair.lab.enforcers.values()} == {State.ABSENT}
    daemons = pair.folder.read_json(notes.FILE)["sizes"]["6"]["daemon"]
    assert {name: len(windows) for name, windows in daemons.items()} == {
        "fake": pace.REST_WINDOWS,
        "other": pace.REST_WINDOWS,
    }


def test_placements_are_measured_in_the_largest_size_at_one_concurrency(pair: Any) -> None:
    """From a pod on another node, on the same node, and straight to the pod: each enforcer."""
    design = replace(pair.study.design, elsewhere=ELSEWHERE)

    study.run(replace(pair.study, design=design), pair.lab)

    beside = [row for row in rows_of(pair) if row.placement is not Placement.SERVICE]
    assert {row.placement for row in beside} == set(ELSEWHERE)
    assert {(row.size, row.concurrency) for row in beside} == {(6, 8)}
    assert {row.enforcer for row in beside} == {"fake", "other", "none"}
    asked = {place for place, argv in pair.cluster.commands if argv[0] == "sh"}
    assert {PodRef("clients", "on-node-1"), PodRef("clients", "on-node-2")} <= asked


def test_a_client_without_ports_voids_the_block(bed: Any) -> None:
    """Connections that wait for a port measure the client."""
    bed.cluster.time_wait = 64_000

    study.run(bed.study, bed.lab)

    assert {row.reason for row in rows_of(bed)} == {
        "outside/14.215.0.10: 64003 of 64512 ports are taken"
    }
