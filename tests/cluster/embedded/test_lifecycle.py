"""Coming up, going down, dying: whatever happens, nothing is left."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.clusters.base import NodeRef, PodRef
from harness.clusters.embedded import state
from harness.clusters.embedded.cluster import EmbeddedCluster
from harness.clusters.embedded.ending import Tree
from harness.clusters.embedded.settings import Cni, Shape
from harness.errors import ClusterError

pytestmark = pytest.mark.cluster

SYSCTLS = (
    "net/ipv4/ip_forward",
    "net/ipv4/conf/all/rp_filter",
    "net/ipv4/conf/default/rp_filter",
    "net/ipv6/conf/all/disable_ipv6",
    "net/ipv4/neigh/default/gc_thresh3",
    "net/bridge/bridge-nf-call-iptables",
)


def host() -> dict[str, str]:
    """Return what of the host's own network a cluster might have changed."""
    commands = {
        "links": ("ip", "-o", "link"),
        "addresses": ("ip", "-o", "address"),
        "routes": ("ip", "route", "show", "table", "all"),
        "rules": ("ip", "rule"),
        "nftables": ("nft", "--stateless", "list", "ruleset"),
    }
    seen = {
        what: subprocess.run(argv, capture_output=True, text=True, check=True).stdout
        for what, argv in commands.items()
    }
    paths = [Path("/proc/sys") / sysctl for sysctl in SYSCTLS]
    return seen | {str(path): path.read_text() for path in paths if path.exists()}


def assert_nothing_left(kit: Any, name: str) -> None:
    """Fail unless processes, folder, mounts and namespaces of a cluster are gone."""
    kit.until(lambda: not kit.processes_of(name))
    kit.until(lambda: not (state.root() / name).exists())
    mounts = Path("/proc/self/mountinfo").read_text()
    assert name not in mounts
    named = {path.name for path in Path("/run/netns").iterdir()}
    assert not named & {"fabric", "outside", "node_node-1", "pod_default_web"}


@pytest.mark.parametrize("cni", list(Cni))
def test_up_and_down_leaves_the_host_as_it_was(kit: Any, name: str, cni: Cni) -> None:
    """While a cluster with pods is up, and after it, the host's network is the same as before."""
    before = host()

    with EmbeddedCluster(Shape(name, cni=cni)) as cluster:
        cluster.apply([kit.pod("web")])
        cluster.wait_ready(timeout=180)
        assert before == host()

    assert before == host()
    assert_nothing_left(kit, name)


def test_an_exception_takes_the_cluster_down(kit: Any, name: str) -> None:
    """An exception inside the ``with`` block passes on, and nothing is left."""
    with pytest.raises(ZeroDivisionError), EmbeddedCluster(Shape(name)):
        raise ZeroDivisionError

    assert_nothing_left(kit, name)


def test_a_cluster_that_cannot_come_up_leaves_nothing(
    kit: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a part of it fails to start, the error says which and why, and nothing is left."""
    broken = "import sys; sys.exit('broken on purpose')"
    folder = Path(os.environ.get("TMPDIR", "/tmp")) / name  # noqa: S108  # removed below
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        f"import sys\nif 'agent' in str(sys.orig_argv): {broken}\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(folder))
    try:
        with pytest.raises(ClusterError, match="broken on purpose"):
            EmbeddedCluster(Shape(name)).__enter__()
    finally:
        shutil.rmtree(folder)  # with what Python cached beside the file

    assert_nothing_left(kit, name)


def test_two_clusters_at_once(kit: Any, name: str) -> None:
    """Two clusters have the same addresses inside and know nothing of each other."""
    with EmbeddedCluster(Shape(f"{name}-a")) as one, EmbeddedCluster(Shape(f"{name}-b")) as two:
        one.apply([kit.pod("web", "node-1")])
        two.apply([kit.pod("other", "node-1")])
        one.wait_ready(timeout=180)
        two.wait_ready(timeout=180)

        assert kit.address(one, "web") == kit.address(two, "other")
        assert kit.fetch(one, NodeRef("node-2"), kit.address(one, "web")).startswith("web to")
        assert kit.fetch(two, NodeRef("node-2"), kit.address(two, "other")).startswith("other to")


def test_a_name_is_given_once(name: str) -> None:
    """A second cluster of the same name is refused, and the first is none the worse."""
    with EmbeddedCluster(Shape(name)) as first:
        with pytest.raises(ClusterError, match="is up already"):
            EmbeddedCluster(Shape(name)).__enter__()

        assert first.exec(NodeRef("node-1"), ("true",)).returncode == 0


def test_kill_9_takes_everything_along(kit: Any, name: str) -> None:
    """When the supervisor is killed the kernel ends all; the folder goes with the next look."""
    cluster = EmbeddedCluster(Shape(name))
    with cluster:
        cluster.apply([kit.pod("web")])
        cluster.wait_ready(timeout=180)
        os.kill(cluster.folder.facts()["pid"], signal.SIGKILL)

        kit.until(lambda: not kit.processes_of(name))
        with pytest.raises(ClusterError, match="gone"):
            cluster.exec(NodeRef("node-1"), ("true",))

    assert name not in [folder.name for folder in state.running()]
    assert_nothing_left(kit, name)


def test_only_our_own_leftovers_are_removed(name: str) -> None:
    """A folder of others beside the clusters' stays, a dead cluster's goes."""
    foreign, dead = state.root() / f"{name}-foreign", state.root() / f"{name}-dead"
    foreign.mkdir(parents=True)
    try:
        (foreign / "precious").touch()
        folder, lock = state.claim(dead.name)
        assert folder.alive()
        os.close(lock)

        assert dead.name not in [folder.name for folder in state.running()]
        assert not dead.exists()
        assert (foreign / "precious").exists()
    finally:
        (foreign / "precious").unlink()
        foreign.rmdir()


def up(name: str, *flags: str) -> subprocess.Popen[bytes]:
    """Start ``harness cluster up`` in a process group of its own."""
    argv = [sys.executable, "-m", "harness", "cluster", "up", "--name", name, *flags]
    return subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("moment", ["claimed", "control.sock", "prober.sock"])
def test_a_signal_during_up_leaves_nothing(
    kit: Any, name: str, number: signal.Signals, moment: str
) -> None:
    """Ctrl-C, SIGTERM and kill -9 of a cluster that is coming up leave nothing of it.

    After kill -9 in the moment before there is a supervisor, the next look removes the folder.
    """
    folder = state.root() / name
    process = up(name, "--nodes", "20", "--enforcer", "none")
    sign = folder if moment == "claimed" else folder / moment
    kit.until(sign.exists, 90)

    process.send_signal(number)

    assert process.wait(120) != 0
    if number is signal.SIGKILL:
        kit.until(lambda: name not in [folder.name for folder in state.running()])
    assert_nothing_left(kit, name)


def test_a_run_that_is_killed_takes_its_cluster_along(kit: Any, name: str) -> None:
    """A cluster used as a context manager ends with its process, even by kill -9."""
    program = (
        "import sys, time\n"
        "from harness.clusters.embedded.cluster import EmbeddedCluster\n"
        "from harness.clusters.embedded.settings import Shape\n"
        f"with EmbeddedCluster(Shape({name!r})): print('up', flush=True); time.sleep(600)\n"
    )
    process = subprocess.Popen((sys.executable, "-c", program), stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"

    process.kill()
    process.wait()

    process.stdout.close()
    assert_nothing_left(kit, name)


def test_a_cluster_that_stays(kit: Any, name: str) -> None:
    """After ``up`` has ended the cluster is there, until ``down``; enforcers live in it."""
    assert up(name, "--enforcer", "bundled").wait(60) == 0
    try:
        cluster = EmbeddedCluster.attach(name)
        cluster.apply([kit.pod("web")])
        cluster.wait_ready(timeout=180)
        rules = cluster.exec(NodeRef("node-1"), ("nft", "list", "tables")).stdout
        assert {"table ip npd", "table ip6 npd"} <= {*rules.splitlines()}
        assert cluster.exec(PodRef("default", "web"), ("true",)).returncode == 0
    finally:
        EmbeddedCluster.attach(name).down()

    assert_nothing_left(kit, name)


def test_down_returns_when_the_last_process_has_gone(kit: Any, name: str) -> None:
    """However many processes a cluster has, after ``down`` none is left, and it says how many."""
    assert up(name, "--enforcer", "none").wait(60) == 0
    facts = state.find(name).facts()
    said: list[tuple[int, int]] = []
    cluster = EmbeddedCluster.attach(name, lambda _, done, of: said.append((done, of)))
    with contextlib.closing(Tree(facts["pid"], facts["started"])) as tree:
        forks = "for i in $(seq 1000); do sleep 1000 & done; wait"
        cluster.spawn(NodeRef("node-1"), ("sh", "-c", forks), Path(os.devnull))
        kit.until(lambda: len(tree.members()) > 1000)

        cluster.down()

        # PID 1 may wait for its parent still, as a zombie; whatever else there was has gone.
        assert set(tree.members()) <= {facts["pid"]}
    assert said[-1][0] == said[-1][1] > 1000


def test_spawned_programs_end_with_the_cluster(name: str, tmp_path: Path) -> None:
    """A program on a node outlives the call that started it, and dies with the cluster."""
    with EmbeddedCluster(Shape(name)) as cluster:
        log = tmp_path / "log"
        process = cluster.spawn(NodeRef("node-1"), ("sh", "-c", "echo hello; sleep 1000"), log)
        other = cluster.spawn(NodeRef("node-1"), ("sleep", "1000"), log)

        assert process.running()
        assert process.rss_bytes() > 0
        other.stop()
        assert not other.running()

    assert not process.running()
    assert process.rss_bytes() == 0
    assert process.tail() == "hello"


def test_commands_keep_their_exit_code_and_output(name: str) -> None:
    """A command's output, errors and exit code come back; one that takes too long is an error."""
    with EmbeddedCluster(Shape(name, nodes=1)) as cluster:
        done = cluster.exec(NodeRef("node-1"), ("sh", "-c", "echo out; echo err >&2; exit 7"))
        assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")

        with pytest.raises(ClusterError, match="took longer"):
            cluster.exec(NodeRef("node-1"), ("sleep", "1000"), timeout=0.2)
        with pytest.raises(ClusterError, match="no-such-program"):
            cluster.exec(NodeRef("node-1"), ("no-such-program",))
        with pytest.raises(ClusterError, match="no network namespace"):
            cluster.exec(PodRef("default", "missing"), ("true",))
