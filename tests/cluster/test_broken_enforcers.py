"""Enforcers that are broken on purpose, on real packets: the run has to catch each."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.clusters import make_embedded
from harness.clusters.base import Cluster, NodeRef
from harness.enforcers.base import State, Usage
from harness.matrix.axes import AddressKind, Placement
from harness.matrix.compare import Mark
from harness.matrix.engine import Wishes
from harness.matrix.profiles import load_profile
from harness.matrix.reading import read_cluster
from harness.matrix.run import judge
from harness.matrix.scenario import folder, load_scenario
from harness.matrix.steps import CaseRun
from harness.matrix.watching import Patience
from harness.options import settings_from
from tests.mutation.deployed import late
from tests.mutation.enforcer import LATE_SECONDS

pytestmark = pytest.mark.cluster


@dataclasses.dataclass
class Broken:
    """An enforcer whose rules are written down: ``rules`` for a node's own pods, by namespace."""

    rules: tuple[str, ...]
    name: str = "broken"

    def share_nodes(self, number: int) -> None:
        """Nobody asks for it here."""

    def install(self, cluster: Cluster, logs: Path, nodes: Sequence[str] = ()) -> None:
        """Load a table into each node."""
        del logs, nodes
        pods = [one for one in read_cluster(cluster.kubeconfig) if one["kind"] == "Pod"]
        for node in cluster.nodes():
            here = [pod for pod in pods if pod["spec"]["nodeName"] == node.name]
            done = cluster.exec(NodeRef(node.name), ["nft", self._table(here)])
            assert done.returncode == 0, done.stderr

    def _table(self, pods: Sequence[dict[str, Any]]) -> str:
        addresses = {
            namespace: ", ".join(
                pod["status"]["podIP"] for pod in pods if pod["metadata"]["namespace"] == namespace
            )
            for namespace in ("nsa", "nsb")
        }
        rules = "; ".join(rule.format_map(addresses) for rule in self.rules)
        hook = "type filter hook forward priority filter; policy accept"
        return f"table inet broken {{ chain forward {{ {hook}; {rules}; }}; }}"

    def wait_ready(self, timeout: float = 60.0) -> None:
        """Be ready at once."""

    def uninstall(self) -> None:
        """Leave the tables to the cluster's end."""

    def describe(self) -> Mapping[str, Any]:
        """Say which rules."""
        return {"rules": self.rules}

    def disable(self) -> None:
        """Nobody asks for it here."""

    enable = hold = restart = disable

    def state(self) -> State:
        """Say that it acts."""
        return State.ON

    def cpu_seconds(self) -> float:
        """Cost nothing."""
        return 0.0

    def usage(self) -> dict[str, Usage]:
        """Have no daemon."""
        return {}


def run(tmp_path: Path, cni: str, case: str, *rules: str) -> CaseRun:
    """Run one case with a broken enforcer."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    study = load_scenario(folder() / "study" / "cases.yaml")
    wishes = Wishes(cni, patience=Patience(stable=0.5))
    with make_embedded(settings_from({"cni": cni, "control_plane": "builtin"})) as cluster:
        asked = [study.case(case)]
        (done,) = judge(cluster, Broken(rules), study, wishes, logs=tmp_path, cases=asked)
        return done


def leaks(step: CaseRun) -> set[tuple[Placement, AddressKind]]:
    """Return where a step leaked."""
    leaked = (finding.cell for finding in step.findings if finding.mark is Mark.LEAKED)
    return {(cell.placement, cell.kind) for cell in leaked}


DENY_NSA = "ip daddr {{ {nsa} }} ct state new drop"
ADMIT_NSA = "ip saddr {{ {nsa} }} ip daddr 10.128.0.0/9 accept"
DENY_NSA_OUT = "ip saddr {{ {nsa} }} ct state new drop"
DENY_NSB = "ip daddr {{ {nsb} }} ct state new drop"


def test_the_same_rules_are_right_where_packets_meet_them(tmp_path: Path) -> None:
    """On routed pods these rules leak nothing: the control of the next test.

    They know no hairpin, and cut a pod off from itself: that is seen as well.
    """
    step = run(tmp_path, "routed", "NP-STUDY-02", DENY_NSA)
    blocked = (finding.cell for finding in step.findings if not finding.right)

    assert leaks(step) == set()
    assert {(cell.placement, cell.kind) for cell in blocked} == {
        (Placement.SELF, AddressKind.HAIRPIN)
    }


def test_bridged_frames_that_no_hook_sees(tmp_path: Path) -> None:
    """On a bridge with bridge-nf-call-iptables 0, frames between its ports meet no rule."""
    step = run(tmp_path, "bridged", "NP-STUDY-02", DENY_NSA)

    assert leaks(step) == {(Placement.SAME_NODE, AddressKind.POD_IP)}


def test_egress_accept_before_ingress_is_asked(tmp_path: Path) -> None:
    """An accept for the client's egress ends the way before the server's ingress is asked."""
    step = run(tmp_path, "routed", "NP-BOTH-01", ADMIT_NSA, DENY_NSA_OUT, DENY_NSB)

    assert leaks(step) == {
        (Placement.SAME_NODE, AddressKind.POD_IP),
        (Placement.SAME_NODE, AddressKind.CLUSTER_IP),
    }


def test_an_enforcer_that_is_right_but_slow_passes(tmp_path: Path) -> None:
    """Changes that come seconds late are waited for: no verdict is wrong, and the time is told."""
    group = load_scenario(folder() / "groups" / "changes.yaml")
    wishes = Wishes("routed", profile=load_profile("bundled"))
    with make_embedded(settings_from({"control_plane": "builtin"})) as cluster:
        asked = [group.case("NP-CHANGE-003")]
        (done,) = judge(cluster, late(), group, wishes, logs=tmp_path, cases=asked)

    assert done.right
    assert all((step.applied.seconds or 0.0) >= LATE_SECONDS / 2 for step in done.steps)
    late_ones = [finding for finding in done.findings if finding.story]
    assert late_ones
    assert all(when >= LATE_SECONDS / 2 for one in late_ones for when, _ in one.story)


def test_rules_that_stay_are_told(tmp_path: Path) -> None:
    """What does not open again after its policy was removed is a finding of its own."""
    step = run(tmp_path, "routed", "NP-STUDY-02", DENY_NSA)

    assert step.lingering
