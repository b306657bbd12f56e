"""Guests on a cluster: which nodes they use, whom they find there, and what their names become."""

from __future__ import annotations

from typing import Any

import pytest

from harness.clusters.existing.border import Border
from harness.clusters.existing.machines import architectures_of, choose
from harness.clusters.existing.others import candidates, foreign
from harness.clusters.kube import owned
from harness.matrix import manifests
from harness.matrix.oracle import Oracle
from harness.matrix.scenario import group_files, load_scenario

AMD64 = frozenset({"amd64"})


def node(name: str, **spec: Any) -> dict[str, Any]:
    """Return a node that is ready; ``os``, ``arch`` and ``ready`` are not of its spec."""
    system, machine = spec.pop("os", "linux"), spec.pop("arch", "amd64")
    ready = {"type": "Ready", "status": spec.pop("ready", "True")}
    labels = {"kubernetes.io/os": system, "kubernetes.io/arch": machine}
    address = {"type": "InternalIP", "address": "192.0.2.1"}
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": spec,
        "status": {"conditions": [ready], "addresses": [address]},
    }


TAINT = {"key": "dedicated", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    ("odd", "words"),
    [
        (node("odd", os="windows"), "it runs Windows"),
        (node("odd", arch="arm64"), "it is arm64, and our image is for amd64"),
        (node("odd", ready="Unknown"), "it is not ready"),
        (node("odd", unschedulable=True), "it is cordoned"),
        (node("odd", taints=[TAINT]), "it has the taint dedicated:NoSchedule"),
    ],
)
def test_a_node_that_is_not_for_us_is_left_out_and_said(odd: dict[str, Any], words: str) -> None:
    """Windows, another architecture, not ready, cordoned, tainted: each with its reason."""
    found = choose([node("b"), odd, node("a")], AMD64)

    assert [one.name for one in found.used] == ["a", "b"]
    (note,) = found.notes
    assert note.startswith("node odd is left out: ")
    assert words in note


def test_a_tainted_node_is_used_where_there_are_not_two_others() -> None:
    """Kind's control plane is the second node of two; who evicts pods is never used."""
    key = "node-role.kubernetes.io/control-plane"
    control = {"key": key, "effect": "NoSchedule"}
    evicts = {"key": "broken", "effect": "NoExecute"}
    nodes = [node("worker"), node("control", taints=[control]), node("bad", taints=[evicts])]

    found = choose(nodes, AMD64)

    assert [one.name for one in found.used] == ["control", "worker"]
    assert found.notes == (
        "node bad is left out: it has the taint broken:NoExecute",
        f"node control is used despite its taint {key}:NoSchedule: there are not 2 others",
    )


def test_an_image_without_an_architecture_in_its_tag_is_for_all() -> None:
    """A tag of ours says what it is for; a registry's index does not, and serves every node."""
    assert architectures_of("npd-workload:0.1.0-arm64") == {"arm64"}
    assert architectures_of("registry.example:5000/npd-workload:0.1.0") == frozenset()
    assert len(choose([node("a"), node("b", arch="arm64")], frozenset()).used) == 2


def test_enforcers_are_known_by_their_daemon_sets() -> None:
    """Calico and kindnet are named; flannel enforces nothing, and ours is no stranger."""
    sets: list[dict[str, Any]] = [
        {"metadata": {"name": name, "namespace": "kube-system"}}
        for name in ("kube-flannel-ds", "kindnet", "calico-node")
    ]
    ours = owned.labelled([{"metadata": {"name": "npd-enforcer", "namespace": "kube-system"}}])

    assert list(map(str, candidates([*sets, *ours]))) == [
        "Calico (DaemonSet kube-system/calico-node)",
        "kindnet (DaemonSet kube-system/kindnet)",
    ]


def test_policies_are_foreign_unless_labelled() -> None:
    """Only what bears our label is ours, whatever it is called."""
    theirs = {"metadata": {"name": "npd", "namespace": "npd-x"}}

    assert foreign([theirs, *owned.labelled([theirs])]) == ("npd-x/npd",)


@pytest.mark.parametrize("group", group_files(), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_oracle_says_the_same_on_both_sides_of_the_border(group: Any) -> None:
    """Policies renamed on their way in mean on the cluster what they mean in the scenario."""
    scenario = load_scenario(group)
    border = Border(frozenset(one.name for one in scenario.workload.namespaces))
    objects = manifests.of(scenario.workload, ["one", "two"])
    addresses = {f"10.0.0.{at}": one for at, one in enumerate(_pods(objects), 1)}
    for address, pod in addresses.items():
        pod["status"] = {"podIP": address}
    for case in scenario.cases:
        policies = scenario.policies_of(case)
        inside, outside = (
            Oracle([*world, *rules])
            for world, rules in (
                (objects, policies),
                (border.to_cluster(objects), border.to_cluster(policies)),
            )
        )
        for client in addresses:
            for server in addresses:
                asked = (client, (server, 80, "TCP"))
                assert inside.judge(client, *asked[1]).allowed is (
                    outside.judge(client, *asked[1]).allowed
                )


def _pods(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in objects if one["kind"] == "Pod" and not one["spec"].get("hostNetwork")]


def test_what_comes_back_is_ours_with_the_scenarios_names() -> None:
    """Out of the cluster come nodes and what is in our namespaces; all else stays behind."""
    home = {"kind": "Namespace", "metadata": {"name": "x", "labels": {"ns": "x"}}}
    pod = {"kind": "Pod", "metadata": {"name": "a", "namespace": "x"}, "spec": {}}
    default = {"kind": "Service", "metadata": {"name": "s"}, "spec": {}}
    border = Border(frozenset({"x", "default"}))
    inside = border.to_cluster(
        [home, pod, {"kind": "Namespace", "metadata": {"name": "default"}}, default]
    )
    others = [
        {"kind": "Namespace", "metadata": {"name": "npd-y"}},
        {"kind": "Pod", "metadata": {"name": "a", "namespace": "npd-y"}},
        {"kind": "Pod", "metadata": {"name": "dns", "namespace": "kube-system"}},
    ]
    worker = {"kind": "Node", "metadata": {"name": "worker"}}

    back = list(border.from_cluster([*others, worker, *inside]))

    seen = [
        (one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]) for one in back
    ]
    assert seen == [
        ("Node", None, "worker"),
        ("Namespace", None, "x"),
        ("Pod", "x", "a"),
        ("Namespace", None, "default"),
        ("Service", "default", "s"),
    ]
    assert back[1]["metadata"]["labels"]["ns"] == "x"
    assert border.homes() == ("npd-default", "npd-x")


def test_an_enforcers_own_manifests_go_by_their_own_names() -> None:
    """What is in none of the scenario's namespaces is labelled, and not moved."""
    account = {"kind": "ServiceAccount", "metadata": {"name": "e", "namespace": "kube-system"}}
    role = {"kind": "ClusterRole", "metadata": {"name": "e"}}

    assert Border(frozenset({"x"})).to_cluster([account, role]) == owned.labelled([account, role])
