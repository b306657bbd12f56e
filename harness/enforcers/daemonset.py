"""An enforcer that is one daemon a node and some rules in each node's kernel: the common part.

What differs between enforcers is how the daemon is run (:meth:`DaemonSet.command`), how it says
that it is in sync (:meth:`DaemonSet.readiness`), and what its rules are (:class:`Rules`).
"""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

from harness.clusters.base import Cluster
from harness.enforcers.base import State, Usage
from harness.enforcers.daemons import Command, Daemons, Fleet
from harness.enforcers.node import Node
from harness.errors import EnforcerFailed, UsageError
from harness.requirements import ADMIN_PATHS

HEALTH_PORT = 20244
"""Where kube-router, and so the bundled enforcer too, serves its health."""

POLL = 0.05
"""Seconds between two looks at a condition that is waited for."""

Readiness = Callable[[], str]
"""Returns nothing once a node's daemon is in sync, else why it is not yet."""


class Rules(Protocol):
    """What an enforcer keeps in the kernel of a node. Every method reads the kernel first."""

    def state(self, node: Node) -> State:
        """Read from the kernel whether the rules act."""

    def take_away(self, node: Node) -> None:
        """Put them out of every packet's way without losing any. Idempotent."""

    def put_back(self, node: Node) -> None:
        """Undo :meth:`take_away`. Idempotent."""

    def remove(self, node: Node) -> None:
        """Remove all of them for good. Idempotent."""


class DaemonSet(ABC):
    """Implements :class:`~harness.enforcers.base.Enforcer` on top of what a subclass says."""

    name: str
    rules: Rules
    quiet: ClassVar[frozenset[State]] = frozenset()
    """States of single nodes that say nothing about the whole: a node without isolated pods."""

    def __init__(self) -> None:
        """Prepare; nothing is started or touched."""
        self.health_port = HEALTH_PORT
        self._daemons: Fleet | None = None
        self._spent = 0.0

    def share_nodes(self, number: int) -> None:
        """Take a health port of its own beside other enforcers; the first, 0, keeps the usual."""
        self.health_port = HEALTH_PORT + number

    def port_flag(self) -> tuple[str, ...]:
        """Return the flag for a port that is not the usual one."""
        usual = self.health_port == HEALTH_PORT
        return () if usual else ("--health-port", str(self.health_port))

    @abstractmethod
    def describe(self) -> Mapping[str, Any]:
        """Return version, command line and settings (for ``run.json``)."""

    @abstractmethod
    def require(self) -> None:
        """Raise :class:`~harness.errors.MissingError` where the machine lacks a tool of it."""

    @abstractmethod
    def inspect(self, node: Node) -> None:
        """Learn, on a node, what :meth:`command` and :meth:`describe` have to know."""

    @abstractmethod
    def command(self, cluster: Cluster, node: str) -> Command:
        """Return what runs on a node."""

    @abstractmethod
    def readiness(self, node: Node, log: Path) -> Readiness:
        """Return the question whether a node's daemon is in sync with the cluster as of now."""

    def install(self, cluster: Cluster, logs: Path, nodes: Sequence[str] = ()) -> None:
        """Start a daemon on each of ``nodes``, on every node by default."""
        if self._daemons is not None:
            raise EnforcerFailed(f"{self.name} is installed already")
        chosen = chosen_nodes(cluster, nodes)
        self.require()
        logs = logs.absolute()
        logs.mkdir(parents=True, exist_ok=True)
        self.inspect(Node(cluster, chosen[0], logs))
        self._daemons = self.fleet(cluster, logs, chosen)
        self._daemons.start()

    def fleet(self, cluster: Cluster, logs: Path, nodes: tuple[str, ...]) -> Fleet:
        """Return the daemons, none of which is started yet: a process a node."""

        def command(node: str) -> Command:
            return self.command(cluster, node)

        return Daemons(self.name, cluster, logs, nodes, command)

    def wait_ready(self, timeout: float = 60.0) -> None:
        """Return when every daemon says that it is in sync.

        Raises :class:`~harness.errors.EnforcerFailed`, with the end of its log, for a daemon that
        ends, or is not ready after ``timeout`` seconds.
        """
        daemons = self._installed()
        deadline = time.monotonic() + timeout
        questions = {n.name: self.readiness(n, daemons.log(n.name)) for n in self._nodes()}
        for node, question in questions.items():
            _wait(daemons, node, question, deadline, timeout)

    def disable(self) -> None:
        """Stop the daemons in their tracks, take the rules away, and see that they are gone."""
        self._installed().pause()
        for node in self._nodes():
            self.rules.take_away(node)
        self._expect_not(State.ON, "disabled")

    def enable(self) -> None:
        """Put the rules back, see that they are there, and let the daemons go on."""
        daemons = self._installed()
        for node in self._nodes():
            self.rules.put_back(node)
        self._expect_not(State.OFF, "enabled")
        daemons.resume()

    def hold(self) -> None:
        """Stop the daemons in their tracks, and put the rules back where they were away."""
        self._installed().pause()
        for node in self._nodes():
            self.rules.put_back(node)
        self._expect_not(State.OFF, "held")

    def state(self) -> State:
        """Read from every node's kernel whether enforcement acts; the nodes have to agree.

        Raises :class:`~harness.errors.EnforcerFailed` where they do not.
        """
        states = {node.name: self.rules.state(node) for node in self._nodes()}
        telling = set(states.values()) - self.quiet
        if len(telling) > 1:
            seen = ", ".join(f"{node} {state.value}" for node, state in states.items())
            raise EnforcerFailed(f"{self.name} is not in one state on its nodes: {seen}")
        return telling.pop() if telling else State.ABSENT

    def restart(self) -> None:
        """Stop the daemons and start them again; rules stay, and disabled ones are enabled."""
        daemons = self._installed()
        self.enable()
        daemons.stop()
        daemons.start()

    def crash(self) -> None:
        """Kill the daemons and start them again, as after a crash; rules stay as they are."""
        daemons = self._installed()
        daemons.kill()
        daemons.start()

    def uninstall(self) -> None:
        """End the daemons and remove their rules from every node. Idempotent."""
        if self._daemons is None:
            return
        self._daemons.stop()
        for node in self._nodes():
            self.rules.remove(node)
        self._expect_not(State.ON, "removed")
        self._expect_not(State.OFF, "removed")
        self._spent += self._daemons.cpu_seconds()
        self._daemons = None

    def cpu_seconds(self) -> float:
        """Return the CPU time of its daemons so far, of all nodes and restarts together."""
        return self._spent + (self._daemons.cpu_seconds() if self._daemons else 0.0)

    def usage(self) -> Mapping[str, Usage]:
        """Return what the daemon of each node takes, since it was last started."""
        return self._daemons.usage() if self._daemons else {}

    def _installed(self) -> Fleet:
        if self._daemons is None:
            raise EnforcerFailed(f"{self.name} is not installed")
        return self._daemons

    def _nodes(self) -> tuple[Node, ...]:
        daemons = self._daemons
        if daemons is None:
            return ()
        return tuple(Node(daemons.cluster, name, daemons.logs) for name in daemons.nodes)

    def _expect_not(self, refused: State, done: str) -> None:
        wrong = [n.name for n in self._nodes() if self.rules.state(n) is refused]
        if wrong:
            nodes = ", ".join(wrong)
            raise EnforcerFailed(f"{self.name} was {done}, yet is {refused.value} on: {nodes}")


def _wait(daemons: Fleet, node: str, question: Readiness, deadline: float, timeout: float) -> None:
    while reason := question():
        daemons.require_running(node)
        if time.monotonic() > deadline:
            raise EnforcerFailed(
                daemons.complaint(node, f"is not ready after {timeout:g} s ({reason})")
            )
        time.sleep(POLL)


def chosen_nodes(cluster: Cluster, names: Sequence[str]) -> tuple[str, ...]:
    """Return ``names``, or those of all nodes; one that the cluster lacks is a UsageError."""
    known = tuple(node.name for node in cluster.nodes())
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise UsageError(f"no such node: {', '.join(unknown)}; there are: {', '.join(known)}")
    return tuple(names) or known


def environment(**extra: str) -> dict[str, str]:
    """Return our environment, with administrators' tools on ``PATH``, and what is added."""
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), *ADMIN_PATHS))
    return {**os.environ, "PATH": path, **extra}
