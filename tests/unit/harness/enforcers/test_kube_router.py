from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import pytest

from harness.clusters.base import Cluster
from harness.enforcers.base import State
from harness.enforcers.kube_router import KubeRouter, unsynced
from harness.errors import EnforcerFailed, MissingError

POD = '-d 10.2.0.5/32 -m comment --comment "pod a1" -j KUBE-POD-FW-ABC'
FOREIGN = "-s 192.0.2.7/32 -j ACCEPT"
SYNCED = "I0729 network_policy_controller.go:188] sync iptables took 3.8s\n"
ABORTED = "E0729 Error during periodic sync. Error: Aborting sync. Failed to run iptables\n"


class Fake(Cluster, Protocol):
    """The fake cluster of conftest.py."""

    kernel: dict[str, Any]
    processes: list[Any]


@pytest.fixture(autouse=True)
def _tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.requirements.find_tool", lambda name: f"/usr/sbin/{name}")


@pytest.fixture
def installed(cluster: Fake, binary: Path, tmp_path: Path) -> KubeRouter:
    """Return kube-router with one isolated pod on n1 and none on n2."""
    enforcer = KubeRouter(binary)
    enforcer.install(cluster, tmp_path / "logs")
    node = cluster.kernel["n1"]
    node.chains |= {
        "KUBE-NWPLCY-XYZ": [],
        "KUBE-POD-FW-ABC": ["-j KUBE-NWPLCY-XYZ", "-j REJECT"],
        "FORWARD": [f"-m physdev --physdev-is-bridged {POD}", FOREIGN, POD],
        "OUTPUT": [POD],
    }
    node.sets += ["KUBE-DST-A", "foreign", "KUBE-SRC-B"]
    for each in cluster.kernel.values():
        each.journal.clear()
    return enforcer


def test_it_runs_with_the_flags_of_the_study(cluster: Fake, installed: KubeRouter) -> None:
    """The study's argument vector, its NODE_NAME, and a line of log for each sync."""
    daemon = cluster.processes[0]

    assert daemon.argv == (
        str(installed.path),
        "--run-router=false",
        "--run-firewall=true",
        "--run-service-proxy=false",
        "--iptables-sync-period=1s",
        "--cache-sync-timeout=5m",
        "--v=1",
        f"--kubeconfig={cluster.node_kubeconfig}",
    )
    assert daemon.env["NODE_NAME"] == "n1"
    assert "/usr/sbin" in daemon.env["PATH"].split(":")


def test_a_flag_that_the_binary_lacks_is_left_out_and_told(
    cluster: Fake, binary: Path, tmp_path: Path
) -> None:
    """A later version may have dropped a flag; the results say which."""
    node = cluster.kernel["n1"]
    node.usage = node.usage.replace("--cache-sync-timeout", "--cache-timeout")
    enforcer = KubeRouter(binary)

    enforcer.install(cluster, tmp_path)

    assert enforcer.describe()["flags_it_does_not_know"] == ["cache-sync-timeout"]
    assert not any("cache-sync-timeout" in word for word in cluster.processes[0].argv)


def test_results_name_the_very_binary(installed: KubeRouter) -> None:
    """Version as it says it, and a checksum, since versions lie."""
    facts = installed.describe()

    assert facts["version"] == "kube-router version v0.0.0-fake"
    assert len(facts["sha256"]) == 64


def test_another_program_is_not_taken_for_kube_router(
    cluster: Fake, binary: Path, tmp_path: Path
) -> None:
    """A binary that does not know --run-firewall is refused, with what it said instead."""
    cluster.kernel["n1"].usage = "usage: ls [OPTION]"

    with pytest.raises(EnforcerFailed, match=r"names no --run-firewall, but says: usage: ls"):
        KubeRouter(binary).install(cluster, tmp_path)

    assert cluster.processes == []


def test_without_iptables_or_ipset_it_says_what_to_install(
    cluster: Fake, binary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kube-router is nothing without them; one sentence and the command that helps."""
    monkeypatch.setattr("harness.requirements.find_tool", lambda _: None)

    with pytest.raises(MissingError, match=r"not found: iptables, ipset; run: .*ipset iptables"):
        KubeRouter(binary).install(cluster, tmp_path)


def test_a_node_without_isolated_pods_does_not_count_in_the_state(
    installed: KubeRouter, cluster: Fake
) -> None:
    """0.x leads no packet anywhere on a node whose pods no policy selects."""
    cluster.kernel["n2"].chains["KUBE-NWPLCY-XYZ"] = []

    assert installed.state() is State.ON


def test_disabling_takes_the_jumps_away_and_nothing_else(
    installed: KubeRouter, cluster: Fake
) -> None:
    """Foreign rules, chains and sets stay as they were; the daemon is stopped before."""
    before = dict(cluster.kernel["n1"].chains)

    installed.disable()

    node = cluster.kernel["n1"]
    assert node.journal == ["SIGSTOP", "iptables-restore"]
    assert node.chains == before | {"FORWARD": [FOREIGN], "OUTPUT": []}
    assert installed.state() is State.OFF


def test_enabling_puts_every_jump_back_into_its_place(installed: KubeRouter, cluster: Fake) -> None:
    """The table is the same as before, rule by rule, when the daemon goes on."""
    before = {chain: list(rules) for chain, rules in cluster.kernel["n1"].chains.items()}
    installed.disable()
    installed.disable()

    installed.enable()
    installed.enable()

    node = cluster.kernel["n1"]
    assert node.chains == before
    assert node.journal[-1] == "SIGCONT"
    assert installed.state() is State.ON


def test_beside_others_everything_is_taken_away_and_made_again(
    cluster: Fake, installed: KubeRouter
) -> None:
    """Another kube-router would take chains and sets that stay for its own, and tidy them up."""
    installed.rules.whole = True
    node = cluster.kernel["n1"]
    chains, sets = {name: list(rules) for name, rules in node.chains.items()}, sorted(node.sets)

    installed.disable()

    assert node.chains == {"INPUT": [], "FORWARD": [FOREIGN], "OUTPUT": []}
    assert node.sets == ["foreign"]
    installed.enable()
    assert node.chains == chains
    assert sorted(node.sets) == sets


def test_uninstalling_removes_its_chains_and_sets_and_no_others(
    installed: KubeRouter, cluster: Fake
) -> None:
    """What others put into iptables and ipset is theirs."""
    installed.disable()

    installed.uninstall()

    node = cluster.kernel["n1"]
    assert node.chains == {"INPUT": [], "FORWARD": [FOREIGN], "OUTPUT": []}
    assert node.sets == ["foreign"]
    assert not any(process.running() for process in cluster.processes)


def test_ready_is_two_whole_syncs_after_the_question(
    installed: KubeRouter, cluster: Fake, tmp_path: Path
) -> None:
    """What was logged before counts for nothing: the cluster may have changed since."""
    del cluster
    log = tmp_path / "logs" / "kube-router-n1.log"
    log.write_text(SYNCED * 5)

    with pytest.raises(EnforcerFailed, match="0 of 2 syncs seen"):
        installed.wait_ready(timeout=0)


@pytest.mark.parametrize(
    ("log", "ready"),
    [
        ("", False),
        (SYNCED, False),
        (SYNCED * 2, True),
        (SYNCED + "noise\n" + SYNCED.replace("iptables", "nftables"), True),
        (SYNCED * 2 + ABORTED, False),
        (SYNCED * 2 + ABORTED + SYNCED, False),
        (ABORTED + SYNCED * 2, True),
    ],
)
def test_a_failed_sync_is_no_sync(log: str, *, ready: bool) -> None:
    """An aborted sync ends with the same line as a good one, and must not count."""
    assert (unsynced(log) == "") is ready


def test_the_reason_for_a_failed_sync_is_kept() -> None:
    """Who waits in vain is told why."""
    assert "Failed to run iptables" in unsynced(SYNCED + ABORTED)
