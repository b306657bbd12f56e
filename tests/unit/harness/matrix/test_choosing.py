"""What runs where: selections, pairs, groups, generated cases."""

from __future__ import annotations

import dataclasses
import fnmatch
import re
from itertools import combinations
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.matrix.axes import (
    AXES,
    Family,
    Isolation,
    Placement,
    Proxy,
    State,
    Wiring,
    parse_selection,
)
from harness.matrix.covering import Candidate, choose, choose_environments, outer_pairs, values_of
from harness.matrix.environments import Environment, every, first
from harness.matrix.explaining import explain
from harness.matrix.features import generated
from harness.matrix.listing import lines_of
from harness.matrix.pairs import all_pairs, why_impossible
from harness.matrix.planning import Wanted, load_groups, plan_runs
from harness.options import settings_from

BOTH = frozenset({Family.IPV4, Family.IPV6})
EVERYWHERE = tuple(every(parse_selection("")))


def test_words_of_a_selection_are_as_people_write_them() -> None:
    """ClusterIP, cluster-ip and cluster_ip are one value; several values are apart by commas."""
    selection = parse_selection("placement=same-node,Other_Node address=ClusterIP")

    assert selection.takes("placement", Placement.SAME_NODE)
    assert not selection.takes("placement", Placement.SELF)
    assert selection.takes("address", "cluster_ip")
    assert selection.takes("protocol", "TCP")


def test_every_mistake_of_a_selection_is_told() -> None:
    """An axis or a value that does not exist is wrong use, all of them at once."""
    with pytest.raises(UsageError) as caught:
        parse_selection("place=self address=Everything family")

    assert len(str(caught.value).splitlines()) == 3


def test_environments_meet_every_pair_of_theirs() -> None:
    """Of 48 kinds of cluster a third has every pair of wiring, proxy and family."""
    chosen = choose_environments(EVERYWHERE)
    met = {frozenset(pair) for one in chosen for pair in combinations(values_of(one), 2)}
    wanted = {frozenset(pair) for one in EVERYWHERE for pair in combinations(values_of(one), 2)}

    assert met == wanted
    assert len(chosen) <= len(EVERYWHERE) // 2


def test_environments_that_are_wanted_anyhow_count() -> None:
    """With the study's two clusters as a start, no more are chosen than pairs demand.

    Four wirings and three proxies have twelve pairs, and a cluster has one of them.
    """
    without_ipvs = [one for one in EVERYWHERE if one.proxy is not Proxy.KUBE_PROXY_IPVS]
    study = first(settings_from({"control_plane": "builtin"}))
    chosen = choose_environments(without_ipvs, study)

    assert chosen[: len(study)] == study
    assert len(chosen) == 12


def test_cases_meet_every_environment_value_in_pairs() -> None:
    """Each direction and state runs on each wiring, proxy and family; each case runs somewhere."""
    cases = [
        Candidate("in", Isolation.INGRESS, frozenset({State.NEW})),
        Candidate("out", Isolation.EGRESS, frozenset({State.NEW, State.ESTABLISHED}), 3),
        Candidate("out-too", Isolation.EGRESS, frozenset({State.NEW})),
    ]
    choice = choose(EVERYWHERE, cases)
    by_id = {case.id: case for case in cases}
    met = {
        pair
        for place, names in choice.runs.items()
        for name in names
        for pair in outer_pairs(place, by_id[name])
    }
    wanted = {pair for place in EVERYWHERE for case in cases for pair in outer_pairs(place, case)}

    assert met == wanted
    assert {name for names in choice.runs.values() for name in names} == set(by_id)
    assert len(choice) < len(choice.runs) * len(cases)


def test_what_cannot_be_is_no_gap() -> None:
    """A ClusterIP from outside, or a named ICMP port, counts as impossible and not as missed."""
    impossible = {pair for pair in all_pairs() if why_impossible(pair)}

    assert frozenset((("placement", "from_outside"), ("address", "cluster_ip"))) in impossible
    assert frozenset((("placement", "same_node"), ("address", "cluster_ip"))) not in impossible
    assert frozenset((("placement", "self"), ("state", "established"))) not in impossible
    assert frozenset((("protocol", "UDP"), ("state", "established"))) not in impossible
    axes = {axis for pair in impossible for axis, _ in pair}
    assert axes <= AXES.keys() - {"wiring", "proxy", "family"}


def test_blocks_are_asked_where_somebody_can_lie_in_them() -> None:
    """A case about IPv6 blocks runs where there is IPv6, if there is any such cluster."""
    six = Candidate("six", Isolation.EGRESS, frozenset({State.NEW}), families=BOTH)
    four = dataclasses.replace(six, id="four", families=frozenset({Family.IPV4}))
    choice = choose(EVERYWHERE, [six, four])
    alone = choose([Environment(Wiring.ROUTED)], [six])

    where = {name: [e.families for e, ids in choice.runs.items() if name in ids]
             for name in ("six", "four")}  # fmt: skip
    assert set(where["six"]) == {BOTH}
    assert all(Family.IPV4 in families for families in where["four"])
    assert list(alone.runs.values()) == [("six",)]


def test_a_named_cluster_is_the_only_one() -> None:
    """With --cni and its like there is nothing left to choose."""
    settings = settings_from({"cni": "bridged", "control_plane": "builtin"})
    chosen = plan_runs(settings, Wanted(fixed=True))

    assert list(chosen.choice.runs) == [Environment(Wiring.BRIDGED)]


def test_a_selection_of_a_wiring_leaves_it_alone() -> None:
    """--select limits kinds of cluster as it limits cells."""
    settings = settings_from({"control_plane": "builtin"})
    chosen = plan_runs(settings, Wanted(select="wiring=routed family=ipv4"))

    assert list(chosen.choice.runs) == [Environment(Wiring.ROUTED)]
    assert ("proxy", "kube_proxy_ipvs") in chosen.reasons


@pytest.mark.parametrize(
    ("cluster", "told"), [("embedded", set()), ("kind", {"NP-DEFECT-007", "NP-DEFECT-013"})]
)
def test_what_only_our_own_kubelets_do_is_not_run_elsewhere(cluster: str, told: set[str]) -> None:
    """A case about a finished pod is "not run" on a real cluster, with the reason, not left out."""
    settings = dataclasses.replace(settings_from({"control_plane": "builtin"}), cluster=cluster)
    chosen = plan_runs(settings, Wanted(groups=("defects",)))
    run = {case for cases in chosen.choice.runs.values() for case in cases}

    assert told == {name for (axis, name) in chosen.reasons if axis == "case"}
    assert run.isdisjoint(told)
    assert run | told == {case.id for group in chosen.groups for case in group.cases}
    assert all(
        f"not run: case={name}: pods that end" in "\n".join(lines_of(chosen)) for name in told
    )


def test_unknown_groups_are_wrong_use() -> None:
    """A group that does not exist is told with those that do."""
    with pytest.raises(UsageError, match="nothing: unknown; there are study"):
        load_groups(Wanted(groups=("nothing",)))


def test_every_case_has_an_id_of_its_own() -> None:
    """Ids are stable names over all groups, the generated one included."""
    groups = load_groups(Wanted(all_cases=True))
    names = [case.id for group in groups for case in group.cases]

    assert len(names) == len(set(names))
    assert len(generated().cases) >= 230


def test_the_cases_that_the_documentation_names_are_there() -> None:
    """Each idea of others leads to a case: docs/judge.md names ids, `*` for a part of several."""
    groups = load_groups(Wanted(all_cases=True))
    ids = [case.id for group in groups for case in group.cases]
    text = (Path(__file__).parents[4] / "docs" / "judge.md").read_text()
    named = re.findall(r"NP-[A-Z]+(?:-[A-Z0-9_*]+)+", text)

    assert len(named) > 50
    assert not [name for name in named if not fnmatch.filter(ids, name)]


@pytest.mark.parametrize("word", ["TARGET", "RULES", "PEER", "BLOCK", "PORTS", "CONFLICT"])
def test_generated_cases_have_every_kind_of_feature(word: str) -> None:
    """The table's rows become cases, each with a sentence of its own."""
    found = [case for case in generated().cases if case.id.startswith(f"NP-GEN-{word}-")]

    assert len(found) >= 20
    assert len({case.rule for case in found}) == len(found)


def test_a_case_is_explained_without_a_cluster() -> None:
    """The rule, each step with its policies, who may reach whom, and why not."""
    text = "\n".join(explain("np-change-003"))

    for part in ("Step 2: label pod y/a role=front", "podSelector", "x/a", "isolated for ingress"):
        assert part in text


def test_a_case_that_is_not_there() -> None:
    """An unknown id is wrong use, with ids that are near."""
    with pytest.raises(UsageError, match="NP-CHANGE-001"):
        list(explain("NP-CHANGE"))


def test_on_kind_only_what_it_has_is_run() -> None:
    """The study is asked with kube-proxy, routed and bridged; what kind lacks is said, and why."""
    chosen = plan_runs(settings_from({"cluster": "kind"}), Wanted(groups=("study",)))

    assert tuple(chosen.choice.runs) == first(settings_from({"cluster": "kind"}))
    assert {one.proxy for one in chosen.choice.runs} == {Proxy.KUBE_PROXY_IPTABLES}
    lacking = {("proxy", "nftables"), ("wiring", "bridges"), ("family", "ipv6")}
    assert lacking <= chosen.reasons.keys()


def test_a_named_wiring_of_kind_is_the_only_one() -> None:
    """With a wiring given there is one cluster, with the proxy that kind has by default."""
    settings = settings_from({"cluster": "kind", "cni": "bridged", "bridge_netfilter": "on"})

    chosen = plan_runs(settings, Wanted(groups=("isolation",), fixed=True))

    assert list(chosen.choice.runs) == [Environment(Wiring.BRIDGED_NF, Proxy.KUBE_PROXY_IPTABLES)]
