"""``harness cluster``: what a person types, what is said, and the exit codes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner, Result

from harness.cli import main
from harness.clusters.embedded import requirements, state
from harness.clusters.embedded.cluster import EmbeddedCluster
from harness.clusters.embedded.settings import Cni, Shape

pytestmark = pytest.mark.cluster

NAME = f"t{os.getpid()}-command"


def harness(*argv: str) -> Result:
    """Run ``harness cluster`` with arguments."""
    return CliRunner().invoke(main, ["cluster", *argv])


@pytest.fixture(scope="module")
def cluster(kit: Any) -> Iterator[EmbeddedCluster]:
    """Yield a cluster with two pods and a Service."""
    with EmbeddedCluster(Shape(NAME)) as made:
        made.apply([kit.pod("web", "node-1"), kit.pod("cli", "node-2")])
        made.apply([kit.service("web", {"app": "web"})])
        made.wait_ready(timeout=180)
        yield made


@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        ("default/cli", "default/web:80", "open: "),
        ("cli", "web:80", "open: "),
        ("node/node-2", "svc/default/web:80", "open: "),
        ("outside/14.215.0.10", "default/web:80", "open: "),
        ("14.216.0.10", "web:80", "open: "),
        ("web", "outside/14.215.0.10:5978", "open: "),
        ("web", "14.215.0.10:5978", "open: "),
        ("web", "web:80", "open: "),
        ("cli", "web:81", "refused: "),
        ("cli", "1.1.1.1:80", "rejected: "),
    ],
)
def test_probe_says_how_a_connection_ended(
    cluster: EmbeddedCluster, source: str, target: str, said: str
) -> None:
    """A probe between places of every form ends with its verdict, and with 0 only if open."""
    result = harness("probe", "--name", cluster.name, source, target)

    assert result.output.startswith(said)
    assert result.exit_code == (0 if said == "open: " else 1)


def test_probe_knows_udp(cluster: EmbeddedCluster) -> None:
    """A UDP probe is answered where an echo server is asked for, and refused elsewhere."""
    asked = ("probe", "--name", cluster.name, "--protocol", "udp")

    assert harness(*asked, "--serve", "cli", "web:53").exit_code == 0
    assert harness(*asked, "web", "14.215.0.10:53").exit_code == 0
    assert harness(*asked, "cli", "web:53").exit_code == 1


@pytest.mark.parametrize(
    ("protocol", "target", "said"),
    [
        ("icmp", "web:1", "open: "),
        ("udp-one-way", "web:53", "open: "),
        ("sctp", "web:80", "the kernel ("),
    ],
)
def test_probe_knows_every_protocol(
    cluster: EmbeddedCluster, protocol: str, target: str, said: str
) -> None:
    """ICMP, datagrams without a reply, and SCTP or the reason why it is not run."""
    serve = () if protocol == "icmp" else ("--serve",)
    asked = ("probe", "--name", cluster.name, "--protocol", protocol, *serve)

    result = harness(*asked, "cli", target)

    if protocol == "sctp" and not cluster.unsupported():
        said = "open: "
    assert said in str(result.exception) + result.output


def test_probe_chooses_the_family(cluster: EmbeddedCluster) -> None:
    """A family that the target has is taken; one that it has not is said."""
    asked = ("probe", "--name", cluster.name)

    assert harness(*asked, "--family", "ipv4", "cli", "web:80").exit_code == 0
    said = harness(*asked, "--family", "ipv6", "cli", "web:80")
    assert "web has no IPv6 address; it has 10.128.1.2" in str(said.exception) + said.output


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("nobody", "web:80"), "cannot find default/nobody"),
        (("node/node-9", "web:80"), "there are: node-1, node-2"),
        (("outside/9.9.9.9", "web:80"), "the outside host owns 14.215.0.0/16"),
        (("cli", "web"), "write TO:PORT"),
        (("cli", "web:99999"), "write TO:PORT"),
        (("a/b/c/d", "web:80"), "names no place"),
    ],
)
def test_places_that_are_not_there(
    cluster: EmbeddedCluster, argv: tuple[str, str], said: str
) -> None:
    """A place that does not exist is a mistake, exit code 2, with what there is."""
    result = harness("probe", "--name", cluster.name, *argv)

    assert said in result.output
    assert result.exit_code == 2


def test_status_and_list(cluster: EmbeddedCluster) -> None:
    """``status`` counts pods and names the kubeconfig, ``list`` names the clusters."""
    status = harness("status", "--name", cluster.name).output

    assert "2 of 2 ready" in status
    assert str(cluster.kubeconfig) in status
    assert f"{cluster.name}\t{cluster.kubeconfig}\n" in harness("list").output


def test_exec_ends_with_the_command_s_code(
    cluster: EmbeddedCluster, capfd: pytest.CaptureFixture[str]
) -> None:
    """``exec`` runs in the pod's network, on this terminal, and hands the exit code on."""
    argv = ("sh", "-c", "hostname; ip -4 -o address show eth0; exit 7")

    result = harness("exec", "--name", cluster.name, "default/web", "--", *argv)

    assert result.exit_code == 7
    assert " 10.128.1.2/32 " in capfd.readouterr().out


def test_exec_of_a_command_that_is_not_there(cluster: EmbeddedCluster) -> None:
    """A command that the machine does not have is said so, and ends with 127 as in a shell."""
    result = harness("exec", "--name", cluster.name, "default/web", "--", "no-such-command")

    assert result.output == "harness: no-such-command: no such command on this machine\n"
    assert result.exit_code == 127


def test_a_pod_without_a_network(cluster: EmbeddedCluster, kit: Any) -> None:
    """A probe from a pod that waits for a node says that it has no address yet."""
    waiting = kit.pod("waiting", nodeSelector={"no": "such"})
    cluster.apply([waiting])

    result = harness("probe", "--name", cluster.name, "waiting", "web:80")
    cluster.delete([waiting])

    assert "pod default/waiting has no address yet (phase Pending)" in result.output
    assert result.exit_code == 2


def test_status_shows_no_empty_settings(cluster: EmbeddedCluster) -> None:
    """A setting without a value is not printed."""
    output = harness("status", "--name", cluster.name).output

    assert "=," not in output


def test_ctrl_c_ends_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupt is told as a shell expects it."""

    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(state, "running", interrupted)

    result = harness("list")

    assert result.exit_code == 130
    assert result.output.endswith("harness: interrupted\n")


def test_a_cluster_that_is_not_there() -> None:
    """Asking for an unknown cluster names those that are up, and ends with 1."""
    result = harness("status", "--name", "no-such-cluster")

    assert "no cluster named 'no-such-cluster' is up" in result.output
    assert result.exit_code == 1


def test_all_wrong_options_at_once() -> None:
    """Wrong and unbuilt values are refused by name, all of them, before anything is made."""
    result = harness(
        *("up", "--name", "never", "--nodes", "0", "--cni", "overlay", "--proxy", "magic"),
        *("--cluster", "cloud", "--control-plane", "none", "--bridge-netfilter", "maybe"),
    )

    assert result.exit_code == 2
    assert len(result.output.splitlines()) == 6
    assert "--cluster 'cloud' is not known; there is: embedded" in result.output
    assert not (state.root() / "never").exists()


def test_more_pods_than_a_bridge_holds() -> None:
    """A bridged node of more than 1,023 pods is refused, saying why."""
    result = harness("up", "--name", "never", "--cni", "bridged", "--pods-per-node", "1024")

    assert "a Linux bridge holds 1023 ports" in result.output
    assert result.exit_code == 2


@pytest.mark.parametrize(
    ("lack", "said"),
    [
        ("missing_tools", "nft not found; run: apt-get install -y nftables"),
        ("missing_privileges", "needs root; run: sudo /usr/bin/harness cluster up"),
        ("missing_kernel", "it needs a kernel with CONFIG_NF_TABLES"),
        ("missing_bridge_netfilter", "run: modprobe br_netfilter"),
    ],
)
def test_what_the_machine_lacks(monkeypatch: pytest.MonkeyPatch, lack: str, said: str) -> None:
    """A missing tool, privilege or kernel feature is one sentence, exit code 2, nothing built."""
    monkeypatch.setattr(requirements, lack, lambda: (said,))

    flags = ("--cni", Cni.BRIDGED.value, "--bridge-netfilter", "on")
    result = harness("up", "--name", "never", "--enforcer", "none", *flags)

    assert said in result.output
    assert result.exit_code == 2
    assert not (state.root() / "never").exists()


def test_a_kernel_without_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    """A family that the kernel has not is one sentence, exit code 2, nothing built."""
    monkeypatch.setattr(requirements, "has_ipv6", lambda: False)

    result = harness("up", "--name", "never", "--enforcer", "none", "--ip-family", "dual")

    assert "--ip-family dual needs IPv6" in result.output
    assert result.exit_code == 2
    assert not (state.root() / "never").exists()


def test_down_of_one_or_of_all() -> None:
    """``down`` refuses ``--name`` beside ``--all``."""
    result = harness("down", "--all", "--name", "x")

    assert result.exit_code == 2
    assert "either --name or --all" in result.output


def test_down_of_a_cluster_that_was_killed() -> None:
    """``down`` after kill -9 says what it removed, and that is a success; then nothing is up."""
    name = f"{NAME}-killed"
    folder, lock = state.claim(name)
    os.close(lock)

    removed = harness("down", "--name", name)
    again = harness("down", "--name", name)

    assert removed.exit_code == 0
    assert removed.stdout == f"cluster {name} was killed; what it left is removed\n"
    assert not folder.path.exists()
    assert again.exit_code == 1
    assert f"no cluster named {name!r} is up" in again.output


@pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")
def test_down_takes_a_cluster_that_another_version_brought_up(kit: Any) -> None:
    """A cluster whose description has other fields gets one sentence, and ``down`` ends it."""
    del kit
    name = f"{NAME}-old"
    with EmbeddedCluster(Shape(name, nodes=1)) as made:
        made.stay()
        described = json.loads(made.folder.facts()["shape"])
        del described["ip_family"]
        made.note(shape=json.dumps(described))

    refused = harness("status", "--name", name)
    ended = harness("down", "--name", name)

    assert refused.exit_code == 1
    assert refused.output.startswith(f"harness: cluster {name}: another version")
    assert ended.stdout == f"cluster {name} is down\n"
    assert name not in [folder.name for folder in state.running()]
