"""Commands of ours in a node's network namespace, and what their failure looks like."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.clusters.base import Cluster, Completed, NodeRef
from harness.enforcers import health
from harness.errors import EnforcerFailed


@dataclass(frozen=True, slots=True)
class Node:
    """One node that an enforcer runs on."""

    cluster: Cluster
    name: str
    files: Path
    """A folder that we and the node both see: logs, and the scripts that we ran there."""

    def try_run(self, *argv: str) -> Completed:
        """Run a command on the node, whatever its exit code will be."""
        return self.cluster.exec(NodeRef(self.name), argv)

    def run(self, *argv: str) -> str:
        """Run a command on the node and return what it printed.

        Raises :class:`~harness.errors.EnforcerFailed`, with the command ready to paste, where it
        fails.
        """
        done = self.try_run(*argv)
        if done.returncode != 0:
            raise EnforcerFailed(failure(self.name, argv, done))
        return done.stdout

    def why_unhealthy(self, port: int, path: str, patience: float = 0.5) -> str:
        """Return nothing once a daemon of this node answers 200 within ``patience`` seconds."""
        script = (sys.executable, "-I", "-S", str(health.__file__))
        done = self.try_run(*script, str(port), path, str(patience))
        return "" if done.returncode == 0 else done.stdout + done.stderr


def failure(node: str, argv: Sequence[str], done: Completed) -> str:
    """Say which command failed where, and what it printed."""
    said = (done.stderr or done.stdout).strip() or "it printed nothing"
    return f"on node {node}: {shlex.join(argv)}: exit code {done.returncode}: {said}"
