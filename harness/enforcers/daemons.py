"""The daemons of an enforcer, one process a node: start, stop, pause, and what they consumed."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from harness.clusters.base import Cluster, NodeRef, Process
from harness.enforcers.base import Usage
from harness.errors import EnforcerFailed

LOG_LINES = 20
"""How much of a daemon's log a message about its failure carries."""


@dataclass(frozen=True, slots=True)
class Command:
    """What runs on one node: its argument vector and its whole environment."""

    argv: Sequence[str]
    env: Mapping[str, str]


class Fleet(Protocol):
    """The daemons of an enforcer on the nodes of a cluster, whether processes of ours or pods."""

    cluster: Cluster
    logs: Path
    """A folder for what they say."""
    nodes: tuple[str, ...]

    def log(self, node: str) -> Path:
        """Return the file that a node's daemon writes to."""

    def start(self) -> None:
        """Start every daemon that does not run."""

    def stop(self) -> None:
        """End every daemon, paused ones too; what they consumed stays counted. Idempotent."""

    def kill(self) -> None:
        """End every daemon at once, without a moment to tidy up."""

    def pause(self) -> None:
        """Stop them in their tracks: they keep what they hold, and do nothing."""

    def resume(self) -> None:
        """Let paused daemons go on."""

    def cpu_seconds(self) -> float:
        """Return the CPU time of all daemons so far, ended ones included."""

    def usage(self) -> Mapping[str, Usage]:
        """Return what each node's daemon takes, since it was last started."""

    def require_running(self, node: str) -> None:
        """Raise :class:`~harness.errors.EnforcerFailed` where a node's daemon has ended."""

    def complaint(self, node: str, what: str) -> str:
        """Say what is wrong with a node's daemon, with the last lines of its log."""


@dataclass(slots=True)
class Daemons:
    """One process for each node of ``nodes``; each writes (appends) to a log file of its own."""

    name: str
    cluster: Cluster
    logs: Path
    nodes: tuple[str, ...]
    command: Callable[[str], Command]
    _processes: dict[str, Process] = field(default_factory=dict)
    _spent: float = 0.0

    def log(self, node: str) -> Path:
        """Return the file that a node's daemon writes to."""
        return self.logs / f"{self.name}-{node}.log"

    def start(self) -> None:
        """Start every daemon that does not run."""
        for node in self.nodes:
            if node not in self._processes:
                command = self.command(node)
                self._processes[node] = self.cluster.spawn(
                    NodeRef(node), command.argv, self.log(node), command.env
                )

    def stop(self) -> None:
        """End every daemon, paused ones too; what they consumed stays counted. Idempotent."""
        while self._processes:
            _, process = self._processes.popitem()
            self._spent += process.cpu_seconds()
            _signal(process, signal.SIGCONT)  # a stopped process would not see SIGTERM
            process.stop()

    def kill(self) -> None:
        """End every daemon at once, without a moment to tidy up."""
        for process in self._processes.values():
            _signal(process, signal.SIGKILL)
        self.stop()

    def pause(self) -> None:
        """Stop them in their tracks: they keep what they hold, and do nothing."""
        for process in self._processes.values():
            _signal(process, signal.SIGSTOP)

    def resume(self) -> None:
        """Let paused daemons go on."""
        for process in self._processes.values():
            _signal(process, signal.SIGCONT)

    def cpu_seconds(self) -> float:
        """Return the CPU time of all daemons so far, ended ones included."""
        return self._spent + sum(p.cpu_seconds() for p in self._processes.values())

    def usage(self) -> dict[str, Usage]:
        """Return what each node's daemon takes, since it was last started."""
        return {
            node: Usage(process.cpu_seconds(), process.rss_bytes())
            for node, process in self._processes.items()
        }

    def require_running(self, node: str) -> None:
        """Raise :class:`~harness.errors.EnforcerFailed` where a node's daemon has ended."""
        if not self._processes[node].running():
            raise EnforcerFailed(self.complaint(node, "ended by itself"))

    def complaint(self, node: str, what: str) -> str:
        """Say what is wrong with a node's daemon, with the last lines of its log."""
        process = self._processes.get(node)
        tail = process.tail(LOG_LINES).rstrip() if process else ""
        log = self.log(node)
        return f"{self.name} on node {node} {what}; the end of {log}:\n{tail or '(it is empty)'}"


def _signal(process: Process, number: signal.Signals) -> None:
    if process.running():
        process.signal(number)
