"""Guests on somebody's cluster, with rights that the API server gave them: a real one decides."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.clusters.base import Right
from harness.clusters.embedded.cluster import EmbeddedCluster
from harness.clusters.existing.access import Way, find_access
from harness.clusters.existing.cleanup import find, remove
from harness.clusters.existing.rights import FOR_A_RUN, Action, actions, missing
from harness.clusters.existing.survey import Intent, survey
from harness.clusters.kube.kubectl import Kubectl
from harness.clusters.kube.owned import labelled
from harness.errors import UsageError

pytestmark = [pytest.mark.cluster, pytest.mark.optional("@control-plane", "kubectl")]

WRITES = ("create", "update", "patch", "delete")
IMAGE = "npd-workload:0.1.0-amd64"


def guest(cluster: EmbeddedCluster, name: str, rights: Sequence[Right], folder: Path) -> Kubectl:
    """Return kubectl as an account that has these rights and no others."""
    token = json.loads(cluster.kubeconfig_of(name, rights).read_text())["users"][0]["user"]
    config = json.loads(cluster.kubeconfig.read_text())
    config["users"][0]["user"] = token
    path = folder / f"{name}.kubeconfig"
    path.write_text(json.dumps(config))
    return find_access(Way(str(path)), folder).kubectl


@pytest.fixture
def owner(cluster: EmbeddedCluster, tmp_path: Path) -> Kubectl:
    """Return kubectl as whoever the cluster belongs to."""
    return find_access(Way(str(cluster.kubeconfig)), tmp_path).kubectl


def namespace(name: str) -> dict[str, Any]:
    """Return a namespace."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def policy(home: str, name: str) -> dict[str, Any]:
    """Return a policy that isolates a namespace."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"namespace": home, "name": name},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress"]},
    }


def test_every_missing_right_is_named_at_once(cluster: EmbeddedCluster, tmp_path: Path) -> None:
    """Who may look and no more is told of all that is missing, in one sentence."""
    looks = tuple(
        Right(one.resources, tuple(set(one.verbs) - set(WRITES)), one.group) for one in FOR_A_RUN
    )
    kubectl = guest(cluster, "looker", looks, tmp_path)
    writes = [one for one in actions(FOR_A_RUN) if one.verb in set(WRITES)]

    assert list(missing(kubectl, FOR_A_RUN)) == writes
    with pytest.raises(UsageError) as refused:
        survey(kubectl, Intent(("npd-x",), IMAGE))
    assert [str(one) for one in writes if str(one) not in str(refused.value)] == []
    assert "create pods/exec" in str(refused.value)
    assert "delete networkpolicies.networking.k8s.io" in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    "taken", [Action("create", "pods/exec"), Action("list", "networkpolicies", "networking.k8s.io")]
)
def test_one_right_less_is_noticed(cluster: EmbeddedCluster, tmp_path: Path, taken: Action) -> None:
    """What is named is what was taken away, and nothing else."""
    rest = [one for one in actions(FOR_A_RUN) if one != taken]
    rights = tuple(Right((one.resource,), (one.verb,), one.group) for one in rest)
    name = f"without-{taken.verb}"

    assert missing(guest(cluster, name, rights, tmp_path), FOR_A_RUN) == (taken,)


def test_with_its_rights_a_guest_may_begin(cluster: EmbeddedCluster, tmp_path: Path) -> None:
    """The rights that are asked for are all that the look needs; it finds both nodes."""
    found = survey(guest(cluster, "runner", FOR_A_RUN, tmp_path), Intent(("npd-x",), IMAGE))

    assert [one.name for one in found.machines.used] == [one.name for one in cluster.nodes()]
    assert found.notes == ()


def test_all_that_stands_in_the_way_is_told_together(owner: Kubectl) -> None:
    """A namespace of others, policies that would begin to act; `present` may go on."""
    theirs = [namespace("npd-taken"), namespace("shop"), policy("shop", "web")]
    owner.apply(theirs)
    try:
        with pytest.raises(UsageError) as refused:
            survey(owner, Intent(("npd-taken",), IMAGE, "bundled"))
        assert survey(owner, Intent(("npd-z",), IMAGE)).notes == ()
    finally:
        owner.run("delete", "networkpolicy", "-n", "shop", "web")

    taken, act = str(refused.value).splitlines()
    assert taken == "namespace npd-taken is there, and is not ours: nothing is done in it"
    assert act.startswith("--enforcer bundled would make 1 policy act that is not ours: shop/web")


def test_who_may_enforce_is_named(owner: Kubectl) -> None:
    """A DaemonSet that is known to enforce is told before anything is created."""
    labels = {"app": "calico-node"}
    calico = {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "calico-node", "namespace": "kube-system"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "c", "image": "nginx"}], "nodeSelector": labels},
            },
        },
    }
    owner.apply([calico])
    try:
        (note,) = survey(owner, Intent(("npd-x",), IMAGE)).notes
    finally:
        owner.delete([calico])

    assert note.startswith("Calico (DaemonSet kube-system/calico-node) may enforce here")


def test_cleanup_removes_what_is_ours_and_only_that(owner: Kubectl) -> None:
    """By the label, whatever the names are: a namespace goes with what is in it."""
    ours = labelled([namespace("npd-x"), policy("npd-x", "deny"), namespace("another-name")])
    theirs = [namespace("npd-y"), policy("npd-y", "deny")]
    owner.apply([*ours, *theirs])

    found = find(owner)
    assert list(map(str, found)) == ["namespace another-name", "namespace npd-x"]
    remove(owner, found)

    assert find(owner) == ()
    there = {one["metadata"]["name"] for one in owner.get("namespaces")["items"]}
    assert there & {"npd-x", "npd-y", "another-name"} == {"npd-y"}
    assert owner.get("networkpolicies", "-n", "npd-y")["items"]


def test_nobody_to_ask_is_no_yes(cluster: EmbeddedCluster, owner: Kubectl) -> None:
    """`harness cleanup` without a terminal and without --yes removes nothing, and ends with 2."""
    owner.apply(labelled([namespace("npd-left")]))
    words = (sys.executable, "-m", "harness", "cleanup", f"--kubeconfig={cluster.kubeconfig}")

    def cleanup(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            (*words, *more),
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            env=dict(os.environ),
        )

    unasked, done = cleanup(), cleanup("--yes")

    assert unasked.returncode == 2
    assert unasked.stderr.splitlines()[-1] == (
        "harness: nobody can be asked, as this is no terminal; say --yes to go on"
    )
    assert "namespace npd-left" in unasked.stderr
    assert (done.returncode, done.stdout) == (0, "removed namespace npd-left\n")
    assert cleanup().stdout.endswith("nothing of ours is there\n")
