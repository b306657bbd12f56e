"""explain, diff, status and cleanup beside a running enforcer, on a node of a cluster."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.clusters import make_embedded
from harness.clusters.base import Cluster, NodeRef
from harness.enforcers import make_enforcer
from harness.options import settings_from
from tests.cluster.enforcers.test_lifecycle import DENY, manifests

pytestmark = pytest.mark.cluster

ROOT = str(Path(__file__).parents[3])


class Node:
    """A node on which an enforcer runs."""

    def __init__(self, cluster: Cluster) -> None:
        self.name = cluster.nodes()[0].name
        self._cluster = cluster

    def enforcer(self, command: str, *argv: str) -> tuple[int, str, str]:
        """Run a command of the enforcer there; return exit code, output and errors."""
        live = ("--node-name", self.name, "--kubeconfig", str(self._cluster.node_kubeconfig))
        flags = live if command in ("explain", "diff", "run") else ()
        program = ("env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "enforcer", command)
        done = self._cluster.exec(NodeRef(self.name), [*program, *argv, *flags])
        return done.returncode, done.stdout, done.stderr

    def nft(self, *argv: str) -> str:
        """Run nft there."""
        return self._cluster.exec(NodeRef(self.name), ["nft", *argv]).stdout


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """Bring up a cluster with a client, a server that nobody may reach, and the enforcer."""
    with make_embedded(settings_from({"control_plane": "builtin"})) as cluster:
        cluster.apply(manifests(cluster.nodes()[0].name))
        cluster.wait_ready()
        cluster.apply([DENY])
        enforcer = make_enforcer("bundled")
        enforcer.install(cluster, tmp_path_factory.mktemp("logs"))
        enforcer.wait_ready(30)
        yield Node(cluster)
        enforcer.uninstall()


def test_explain_asks_the_live_cluster_and_the_kernel(node: Node) -> None:
    """The policy that isolates is named, and the kernel's dispatch map agrees."""
    code, text, _ = node.enforcer("explain", "open/client", "closed/server:80")

    assert code == 0
    assert text.startswith("DENIED: open/client")
    assert "isolated by closed/nobody: denied" in text
    assert "kernel  denied (in_d4 -> in4_" in text


def test_status_hears_the_daemon(node: Node) -> None:
    """Ready, with a table and a time."""
    code, text, _ = node.enforcer("status", "--output", "json")

    found: dict[str, Any] = json.loads(text)
    assert (code, found["daemon"], found["ready"]) == (0, True, True)
    assert found["tables"][0]["present"]
    assert found["lastSync"]


def test_diff_finds_nothing_in_a_node_in_sync(node: Node) -> None:
    """The daemon's flags are the defaults here, so the rules are."""
    code, text, _ = node.enforcer("diff")

    assert (code, text) == (0, "the kernel holds what the cluster means\n")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("explain", "open/nobody", "closed/server:80"), "there is no pod open/nobody"),
        (("explain", "open/client", "closed/server"), "names no port"),
        (("cleanup",), "another enforcer"),
        (("run",), "another enforcer"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(node: Node, argv: tuple[str, ...], said: str) -> None:
    """Exit code 2, no traceback, and the rules stay."""
    code, _, errors = node.enforcer(*argv)

    assert code == 2
    assert said in errors
    assert "Traceback" not in errors
    assert "npd" in node.nft("list", "tables")
