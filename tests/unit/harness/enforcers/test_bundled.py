from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import pytest

from harness.clusters.base import Cluster
from harness.enforcers.base import Enforcer, State
from harness.enforcers.bundled import Bundled
from harness.errors import EnforcerFailed, MissingError, UsageError

INET, BRIDGE, FOREIGN = ("inet", "npd"), ("bridge", "npd"), ("ip", "nat")


class Node(Protocol):
    """The part of the fake node that these tests look at."""

    tables: dict[tuple[str, str], bool]
    journal: list[str]
    unhealthy: str


class Fake(Cluster, Protocol):
    """The fake cluster of conftest.py."""

    kernel: dict[str, Node]
    processes: list[Any]


@pytest.fixture
def installed(cluster: Fake, tmp_path: Path) -> Bundled:
    """Return a bundled enforcer whose tables both nodes hold, beside a foreign one."""
    enforcer = Bundled()
    enforcer.install(cluster, tmp_path / "logs")
    for node in cluster.kernel.values():
        node.tables.update({INET: False, BRIDGE: False, FOREIGN: False})
        node.journal.clear()
    return enforcer


def test_every_node_runs_the_program_with_its_own_name(cluster: Fake, tmp_path: Path) -> None:
    """Each daemon knows its node from the flag and from NODE_NAME, and its API server."""
    Bundled(("--deny-action=reject",)).install(cluster, tmp_path)

    n1, n2 = cluster.processes
    assert n1.argv[1:6] == ("-m", "enforcer", "run", "--node-name", "n1")
    assert n1.argv[6:] == ("--kubeconfig", str(cluster.node_kubeconfig), "--deny-action=reject")
    assert (n1.env["NODE_NAME"], n2.env["NODE_NAME"]) == ("n1", "n2")


def test_it_can_run_on_some_nodes_only(cluster: Fake, tmp_path: Path) -> None:
    """Nodes that were not named get no daemon."""
    Bundled().install(cluster, tmp_path, nodes=["n2"])

    assert [p.node for p in cluster.processes] == [cluster.kernel["n2"]]


def test_an_unknown_node_is_wrong_use(cluster: Fake, tmp_path: Path) -> None:
    """A node that the cluster lacks is named, beside those that it has."""
    with pytest.raises(UsageError, match=r"no such node: n9; there are: n1, n2"):
        Bundled().install(cluster, tmp_path, nodes=["n1", "n9"])


def test_without_nft_it_says_what_to_install(
    cluster: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing tool is one sentence with the command that helps, before anything starts."""
    monkeypatch.setattr("harness.requirements.find_tool", lambda _: None)

    with pytest.raises(MissingError, match=r"not found: nft; run: .*nftables"):
        Bundled().install(cluster, tmp_path)

    assert cluster.processes == []


def test_before_its_first_table_it_is_absent(cluster: Fake, tmp_path: Path) -> None:
    """The state is what the kernel holds, not what was started."""
    enforcer = Bundled()
    enforcer.install(cluster, tmp_path)

    assert enforcer.state() is State.ABSENT


def test_disabling_stops_the_daemon_before_its_tables_sleep(
    installed: Bundled, cluster: Fake
) -> None:
    """A running daemon could wake its table up again; all tables change in one transaction."""
    installed.disable()

    for node in cluster.kernel.values():
        assert node.journal == [
            "SIGSTOP",
            "nft add table inet npd { flags dormant; }; add table bridge npd { flags dormant; }",
        ]
        assert node.tables == {INET: True, BRIDGE: True, FOREIGN: False}
    assert installed.state() is State.OFF


def test_enabling_wakes_the_tables_before_the_daemon(installed: Bundled, cluster: Fake) -> None:
    """The daemon never looks at a table that sleeps."""
    installed.disable()
    for node in cluster.kernel.values():
        node.journal.clear()

    installed.enable()

    for node in cluster.kernel.values():
        assert node.journal == ["nft add table inet npd; add table bridge npd", "SIGCONT"]
    assert installed.state() is State.ON


def test_a_table_that_is_not_there_is_not_made(installed: Bundled, cluster: Fake) -> None:
    """A routed node has no bridge table, and switching gives it none."""
    for node in cluster.kernel.values():
        del node.tables[BRIDGE]

    installed.disable()
    installed.enable()

    assert all(BRIDGE not in node.tables for node in cluster.kernel.values())


def test_nodes_in_unlike_states_are_a_failure(installed: Bundled, cluster: Fake) -> None:
    """Half an enforcer is neither on nor off, so no measurement may go on."""
    cluster.kernel["n2"].tables[INET] = cluster.kernel["n2"].tables[BRIDGE] = True

    with pytest.raises(EnforcerFailed, match="n1 on, n2 off"):
        installed.state()


def test_a_node_without_tables_is_no_better_than_a_broken_one(
    installed: Bundled, cluster: Fake
) -> None:
    """Where one node lost its tables, the enforcer is not on."""
    cluster.kernel["n2"].tables.clear()

    with pytest.raises(EnforcerFailed, match="n1 on, n2 absent"):
        installed.state()


def test_tables_of_one_node_in_unlike_states_are_a_failure(
    installed: Bundled, cluster: Fake
) -> None:
    """The bridge's table and the other have to sleep together."""
    cluster.kernel["n1"].tables[BRIDGE] = True

    with pytest.raises(EnforcerFailed, match="only bridge is dormant"):
        installed.state()


def test_ready_means_that_every_node_says_so(installed: Bundled) -> None:
    """It returns as soon as all answer 200."""
    installed.wait_ready(timeout=0)


def test_an_unready_daemon_is_shown_with_its_reason_and_its_log(
    installed: Bundled, cluster: Fake, tmp_path: Path
) -> None:
    """A timeout names the node, what /readyz said, and the end of the log."""
    cluster.kernel["n2"].unhealthy = "/readyz on port 20244 says 503 pods not listed"
    (tmp_path / "logs" / "bundled-n2.log").write_text("listing pods\nconnection refused\n")

    with pytest.raises(EnforcerFailed) as caught:
        installed.wait_ready(timeout=0)

    message = str(caught.value)
    assert "bundled on node n2 is not ready after 0 s" in message
    assert "says 503 pods not listed" in message
    assert message.endswith("connection refused")


def test_a_daemon_that_ended_is_not_waited_for(installed: Bundled, cluster: Fake) -> None:
    """An early end is told at once, however long the timeout."""
    cluster.kernel["n1"].unhealthy = "connection refused"
    cluster.processes[0].alive = False

    with pytest.raises(EnforcerFailed, match="bundled on node n1 ended by itself"):
        installed.wait_ready(timeout=1000)


def test_a_restart_leaves_the_tables_alone(installed: Bundled, cluster: Fake) -> None:
    """An upgrade changes the process and nothing in the kernel."""
    installed.restart()

    for node in cluster.kernel.values():
        assert node.tables == {INET: False, BRIDGE: False, FOREIGN: False}
        assert [step for step in node.journal if step in {"stop", "start"}] == ["stop", "start"]


def test_cpu_time_of_ended_daemons_stays_counted(installed: Bundled) -> None:
    """The cost of a run includes daemons that a restart or the end replaced."""
    installed.restart()
    installed.uninstall()

    assert installed.cpu_seconds() == 4 * 0.5


def test_uninstalling_a_disabled_enforcer_ends_it_and_removes_its_tables(
    installed: Bundled, cluster: Fake
) -> None:
    """A paused daemon is woken so that it can end; foreign rules are its cleanup's business."""
    installed.disable()

    installed.uninstall()
    installed.uninstall()

    assert not any(p.running() for p in cluster.processes)
    assert installed.state() is State.ABSENT


def test_what_is_not_installed_cannot_be_switched() -> None:
    """Using it too early is told in a sentence."""
    enforcer: Enforcer = Bundled()

    with pytest.raises(EnforcerFailed, match="bundled is not installed"):
        enforcer.disable()
