"""A run on somebody's cluster: what is left out, and said, and what its owner is told."""

from __future__ import annotations

import pytest

from harness.clusters.existing.guest import invitation, invited
from harness.enforcers import make_enforcer
from harness.errors import EnforcerFailed, UsageError
from harness.matrix.axes import State
from harness.matrix.guests import amounts
from harness.matrix.planning import Chosen, Wanted, plan_runs
from harness.options import settings_from


def planned(**wanted: object) -> Chosen:
    """Return what would run on a cluster that a kubeconfig leads to."""
    return plan_runs(settings_from({"cluster": "kubeconfig"}), Wanted(**wanted))  # type: ignore[arg-type]


def test_there_is_one_kind_of_cluster_and_nobody_outside() -> None:
    """Somebody's cluster is as it is: one environment, and what needs hosts outside is said."""
    chosen = planned(enforcer="present")
    (cases,) = chosen.choice.runs.values()

    assert "NP-STUDY-01" in cases
    assert "NP-STUDY-04" not in cases
    assert "reach outside hosts alone" in chosen.reasons["case", "NP-STUDY-04"]
    assert ("placement", "from_outside") in chosen.reasons
    assert not chosen.selection.takes("address", "node_port_elsewhere")
    assert chosen.selection.takes("address", "node_port")
    assert {one.name for group in chosen.groups for one in group.workload.outside} == set()


def test_what_is_present_is_never_restarted() -> None:
    """Cases that restart the enforcer run with ours, and not with somebody else's."""
    restarts = {
        case.id
        for group in planned().groups
        for case in group.cases
        if State.AFTER_RESTART in case.states()
    }

    def run(enforcer: str) -> set[str]:
        return {c for cases in planned(enforcer=enforcer).choice.runs.values() for c in cases}

    assert restarts
    assert restarts & run("present") == set()
    assert restarts <= run("bundled")
    for touch in ("disable", "hold", "restart"):
        with pytest.raises(EnforcerFailed, match="never touched"):
            getattr(make_enforcer("present"), touch)()


def test_a_run_says_which_namespaces_it_needs_and_what_it_installs() -> None:
    """By the names that they will have; `present` and `none` install nothing."""
    intent = invitation(planned(groups=("study",)).base).intent

    assert intent.namespaces == ("npd-default", "npd-nsa", "npd-nsb", "npd-nsc")
    assert intent.installs == "bundled"
    assert invitation(planned(enforcer="present").base).intent.installs == ""


def test_the_owner_is_told_how_much() -> None:
    """Pods, Services and policies, for each workload."""
    chosen = planned(groups=("study", "ports"), enforcer="present")
    study, ports, policies = amounts(chosen.groups, 7)

    assert study.startswith("9 pods and 9 Services, for ")
    assert ports.startswith("11 pods (2 of them on their node's network) and 9 Services with Node")
    assert policies.endswith("NetworkPolicies at a time, in 7 cases")


def test_nothing_begins_before_the_owner_agreed() -> None:
    """Also where no command stood in between: the cluster itself refuses."""
    with pytest.raises(UsageError, match="--yes"), invited(planned().base):
        pass


def test_a_context_without_kubeconfig_cluster_is_wrong_use() -> None:
    """Who names a context means a cluster of theirs, and not an embedded one."""
    with pytest.raises(UsageError, match="--context goes with --cluster kubeconfig"):
        settings_from({"context": "prod"})


def test_nothing_is_present_on_a_cluster_of_our_own() -> None:
    """On an embedded cluster there is nobody to be judged untouched."""
    with pytest.raises(UsageError, match="--enforcer present"):
        plan_runs(settings_from({}), Wanted(enforcer="present"))
