"""``enforcer status`` and ``enforcer diff``: what is there, and what a sync would change."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from enforcer import cli, status
from enforcer.compare import compare
from enforcer.errors import SettingsError
from enforcer.health import Answer, Health, ask, serve
from enforcer.kube.dump import load_dump
from enforcer.metrics import Metrics
from enforcer.model.net import Family
from enforcer.nft.objects import Ruleset
from enforcer.nft.transaction import DeleteElements
from enforcer.policy.cluster import Cluster
from enforcer.policy.compile import compile_node
from enforcer.ruleset.lower import NOTHING, lower
from enforcer.ruleset.names import IPV4
from enforcer.ruleset.options import LowerOptions
from enforcer.wiring import Wiring
from tests.unit.enforcer.inspection.worlds import write

EPOCHS = {Family.IPV4: 7, Family.IPV6: 3}
OPTIONS = LowerOptions()


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    """Return the small cluster."""
    return load_dump(write(tmp_path))


def kernel(cluster: Cluster) -> Ruleset:
    """Return what node n1 should hold, with an interface that leads to pods."""
    return lower(compile_node(cluster, "n1"), Wiring(frozenset({"veth1"})), EPOCHS, OPTIONS)


def test_nothing_to_change_is_no_transaction(cluster: Cluster) -> None:
    """The interfaces are the kernel's own, so they never differ."""
    assert compare(cluster, "n1", OPTIONS, kernel(cluster)) == ()


def test_what_a_sync_would_change_is_shown(cluster: Cluster) -> None:
    """An element too many is deleted, in the same words as the sync would use."""
    found = kernel(cluster)
    table = found.tables[IPV4]
    name = next(name for name in table.sets if "peerport4" in name)
    extra = table.sets[name].elements | {"10.1.0.9 . 6 . 80"}
    sets = {**table.sets, name: replace(table.sets[name], elements=extra)}

    changes = compare(cluster, "n1", OPTIONS, Ruleset({IPV4: replace(table, sets=sets)}))

    wanted = DeleteElements(IPV4, name, ("10.1.0.9 . 6 . 80",))
    assert wanted in [command for change in changes for command in change.commands]


def test_a_table_that_is_missing_is_made(cluster: Cluster) -> None:
    """From nothing it is one transaction, after that of its sets."""
    steps = compare(cluster, "n1", OPTIONS, NOTHING)

    assert [step.purpose for step in steps] == ["switch: sets", "switch"]


def test_status_counts_what_is_there(cluster: Cluster) -> None:
    """Tables, epoch, pods; and the daemon's own word with the time of its last sync."""
    daemon = Answer((), "enforcer_ready 1.0\nenforcer_last_sync_timestamp_seconds 1.7e+09\n")

    found = status.status_of(kernel(cluster), daemon)

    assert [item.present for item in found.tables] == [True, True, False]
    assert (found.epochs, found.pods, found.ready) == (EPOCHS, 2, True)
    text = "\n".join(status.lines(found))
    assert "table bridge npd: not there" in text
    assert "daemon: ready\n  last sync: 2023-11-14T22:13:20+00:00" in text


def test_status_without_a_daemon_or_a_table() -> None:
    """Absence is said, and what it means."""
    found = status.status_of(NOTHING, None)

    assert status.as_json(found)["ready"] is False
    assert "daemon: none answers" in "\n".join(status.lines(found))


def free_port() -> int:
    """Return a TCP port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_the_daemon_says_what_it_waits_for() -> None:
    """What /readyz answers arrives as it was meant."""
    port = free_port()
    async with serve(Health(waiting_for=["the list of pods"]), Metrics(), "127.0.0.1", port):
        answer = await ask("127.0.0.1", port)

    assert answer is not None
    assert answer.waiting_for == ("the list of pods",)


async def test_nobody_answers() -> None:
    """No daemon is no error."""
    assert await ask("127.0.0.1", free_port()) is None


@pytest.mark.parametrize("command", ["diff", "explain", "status"])
def test_a_wrong_flag_is_said(command: str) -> None:
    """The commands read flags as the daemon does, and refuse as it does."""
    argv = {
        "diff": ["diff", "--mark-mask=5", "--node-name=n1"],
        "explain": ["explain", "a/b", "c/d:80", "--kubeconfig=/nowhere"],
        "status": ["status", "--health-port=0"],
    }

    result = CliRunner(env={"NODE_NAME": "n1"}).invoke(cli.enforcer, argv[command])

    assert isinstance(result.exception, SettingsError)
    assert argv[command][-1 if command != "diff" else 1].partition("=")[0] in str(result.exception)


def test_what_is_no_name_of_an_interface_does_not_get_into_the_program(tmp_path: Path) -> None:
    """``render`` refuses it by name: nft would read on behind a quotation mark."""
    argv = [
        "render",
        "--node=n1",
        f"--file={write(tmp_path)}",
        '--pod-interface=a" }; flush ruleset',
    ]
    result = CliRunner().invoke(cli.enforcer, argv)

    assert result.exit_code == 2
    assert "flush ruleset" in result.output
    assert "add table" not in result.output


def test_an_unknown_output_is_refused() -> None:
    """The two forms are named."""
    result = CliRunner().invoke(cli.enforcer, ["status", "--output", "xml"])

    assert result.exit_code == 2
    assert "'text', 'json'" in result.output
