"""The whole run against clusters in memory: the right enforcer passes, broken ones are caught."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from harness.clusters.base import OutsideRef, PodRef, Verdict
from harness.errors import ClusterError
from harness.matrix.axes import AddressKind, Placement
from harness.matrix.compare import Mark
from harness.matrix.engine import Lab
from harness.matrix.scenario import Scenario
from harness.matrix.steps import CaseRun

Make = Callable[[Any], Lab]


def marks(step: CaseRun) -> set[Mark]:
    """Return how the cells of a step ended."""
    return {finding.mark for finding in step.findings}


def leaks(step: CaseRun) -> Counter[tuple[Placement, AddressKind]]:
    """Count the leaked cells of a step by placement and address."""
    return Counter(
        (finding.cell.placement, finding.cell.kind)
        for finding in step.findings
        if finding.mark is Mark.LEAKED
    )


def run(lab: Lab, study: Scenario) -> dict[str, CaseRun]:
    """Run every case."""
    return {case.id: lab.run(case) for case in study.cases}


@pytest.mark.parametrize("denial", [Verdict.DROPPED, Verdict.REJECTED, Verdict.RESET])
def test_right_enforcer(
    make_lab: Make, fake_cluster: Any, study: Scenario, denial: Verdict
) -> None:
    """An enforcer that does what policies say passes, in whichever way it denies."""
    cluster = fake_cluster()
    cluster.denial = denial
    steps = run(make_lab(cluster), study)

    assert {Mark.RIGHT} == set().union(*(marks(step) for step in steps.values()))


def test_oracle_agrees_with_the_hand_written_expectations(
    make_lab: Make, fake_cluster: Any, study: Scenario
) -> None:
    """For every cell of the documented cases, person and oracle say the same."""
    steps = run(make_lab(fake_cluster()), study)

    assert [str(one) for step in steps.values() for one in step.disagreements] == []


def test_every_cell_is_written_down(make_lab: Make, fake_cluster: Any, study: Scenario) -> None:
    """No cell of the documented cases is left to the oracle alone."""
    steps = run(make_lab(fake_cluster()), study)
    sentences = {
        one.because for case in study.cases for one in (*study.workload.always, *case.expect)
    }

    assert sentences >= {f.wanted.because for step in steps.values() for f in step.findings}


def test_bridged_frames_that_no_hook_sees(
    make_lab: Make, fake_cluster: Any, study: Scenario
) -> None:
    """The study's first cause: frames between two ports of one bridge meet no rule."""
    cluster = fake_cluster(lambda p: p.allowed or (p.near and not p.service))
    steps = run(make_lab(cluster), study)

    leaky = {(Placement.SAME_NODE, AddressKind.POD_IP)}
    for row in ("NP-STUDY-01", "NP-STUDY-02", "NP-STUDY-03", "NP-STUDY-04", "NP-STUDY-05"):
        assert leaky == set(leaks(steps[row]))


def test_egress_accept_before_ingress_is_asked(
    make_lab: Make, fake_cluster: Any, study: Scenario
) -> None:
    """The study's second cause: an egress that admits ends the way, the ingress is not asked."""

    def defect(packet: Any) -> bool:
        leaves_nsa = isinstance(packet.source, PodRef) and packet.source.namespace == "nsa"
        outside = packet.probe.address.startswith("14.")
        return packet.allowed or (packet.near and leaves_nsa and not outside)

    step = make_lab(fake_cluster(defect)).run(study.case("NP-BOTH-01"))

    assert {Placement.SAME_NODE} == {placement for placement, _ in leaks(step)}


def test_service_traffic_that_no_rule_watches(
    make_lab: Make, fake_cluster: Any, study: Scenario
) -> None:
    """The study's third cause: what goes to a Service leaves by a hook without rules."""
    cluster = fake_cluster(lambda p: p.allowed or p.service)
    steps = run(make_lab(cluster), study)

    assert {AddressKind.CLUSTER_IP} == {kind for _, kind in leaks(steps["NP-STUDY-02"])}


def test_enforcer_that_cuts_too_much(make_lab: Make, fake_cluster: Any, study: Scenario) -> None:
    """What a policy allows has to be open: a lost address inside the block is a finding."""

    def defect(packet: Any) -> bool:
        cut = isinstance(packet.source, OutsideRef) and packet.source.address == "14.215.0.10"
        return packet.allowed and not cut

    lab = make_lab(fake_cluster(defect))
    step = lab.run(study.case("NP-DOC-05"))

    assert Mark.BLOCKED in marks(step)


def test_no_enforcer(make_lab: Make, fake_cluster: Any, study: Scenario) -> None:
    """Without enforcement each expected deny is a leak, and nothing crashes."""
    steps = run(make_lab(fake_cluster(lambda _: True)), study)

    assert {Mark.RIGHT} == marks(steps["NP-BASE-01"])
    assert all(Mark.LEAKED in marks(steps[f"NP-STUDY-0{row}"]) for row in range(1, 6))


def test_deny_all_that_proves_nothing(make_lab: Make, fake_cluster: Any, study: Scenario) -> None:
    """Who lets nothing through at all is not right where a deny was expected, but unproved."""
    lab = make_lab(fake_cluster(lambda _: False))
    step = lab.run(study.case("NP-STUDY-02"))

    assert {Mark.UNPROVED, Mark.BLOCKED} == marks(step)


def test_another_enforcer_is_active(make_lab: Make, fake_cluster: Any) -> None:
    """Where a deny-all acts before anything was installed, the run stops and says why."""
    cluster = fake_cluster()
    cluster.enforcing = True
    with pytest.raises(ClusterError, match="another enforcer is active"):
        make_lab(cluster)


def test_broken_cluster(make_lab: Make, fake_cluster: Any) -> None:
    """A cluster where not everybody reaches everybody is no place for a matrix."""
    cluster = fake_cluster()
    cluster.deaf = {"14.216.0.10"}
    with pytest.raises(ClusterError, match="not open although"):
        make_lab(cluster)


def test_policy_that_lingers(make_lab: Make, fake_cluster: Any, study: Scenario) -> None:
    """What stays closed after its policy was removed is told."""
    closed: list[bool] = []

    def defect(packet: Any) -> bool:
        if not packet.allowed:
            closed.append(True)
        return packet.allowed and not closed

    step = make_lab(fake_cluster(defect)).run(study.case("NP-STUDY-02"))

    assert step.lingering


def test_server_that_is_gone(make_lab: Make, fake_cluster: Any, study: Scenario) -> None:
    """A reset where this step saw no listener is *refused*: neither open nor denied."""
    cluster = fake_cluster()
    lab = make_lab(cluster)
    cluster.deaf = {"14.216.0.10"}
    step = lab.run(study.case("NP-STUDY-04"))

    gone = [f for f in step.findings if f.cell.probe.address in cluster.deaf]
    assert {Verdict.REFUSED} == {finding.outcome.verdict for finding in gone}
    assert {Mark.UNCLEAR} == {finding.mark for finding in gone}
