"""kill -9 of the daemon, whenever it may come: the rules stay, and the next one puts all right."""

from __future__ import annotations

import random
import shlex
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from enforcer.nft.netlink import ruleset_generation
from tests.kernel.api.node import ROOT, Node
from tests.kernel.netlab import wait_until

pytestmark = pytest.mark.kernel

GUARDED = "10.1.0.5"
KILLS = 6


@contextmanager
def restless(node: Node) -> Iterator[None]:
    """Change policies all the time."""
    ended = threading.Event()

    def change() -> None:
        while not ended.is_set():
            node.policy("restless", {"app": "probe"})
            node.drop_policy("restless")

    thread = threading.Thread(target=change)
    thread.start()
    yield
    ended.set()
    thread.join()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """Return a node in sync, with a pod that is isolated all the time."""
    with Node(tmp_path) as built:
        built.pod("guarded", GUARDED, {"app": "guarded"})
        built.pod("probe", "10.1.0.9", {"app": "probe"})
        built.policy("always", {"app": "guarded"})
        built.start_daemon()
        wait_until(lambda: built.status("/readyz") == "200", 60)
        yield built


def test_killed_at_random_while_everything_changes(node: Node) -> None:
    """At no moment is the guarded pod open; at the end the kernel holds what the cluster means."""
    draw = random.Random(7)
    with restless(node):
        for _ in range(KILLS):
            time.sleep(draw.uniform(0.0, 1.5))  # a moment that nobody chose
            node.kill_daemon()
            assert node.is_isolated(GUARDED)
            node.start_daemon()
            assert node.is_isolated(GUARDED)
        wait_until(lambda: node.status("/readyz") == "200", 60)

    node.follows()
    assert node.is_isolated(GUARDED)
    flags = ["--node-name=n1", f"--kubeconfig={node.token_file.parent / 'kubeconfig'}"]
    command = shlex.join([sys.executable, "-m", "enforcer", "diff", *flags])
    node.run("sh", "-c", f"cd {shlex.quote(str(ROOT))} && {command}")  # nothing to change


def test_a_restart_into_an_unchanged_cluster_sends_nothing(node: Node) -> None:
    """Killed and started again: not one transaction, so no connection can notice."""
    before = node.call(ruleset_generation)
    node.kill_daemon()
    node.start_daemon()
    wait_until(lambda: node.status("/readyz") == "200", 60)

    assert node.call(ruleset_generation) == before
