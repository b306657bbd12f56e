"""kube-router in firewall-only mode: any version's binary, run with the study's flags.

Two lines of versions are known. 0.x hooks a jump for each isolated pod into FORWARD and OUTPUT
and syncs with one fork a rule; 1.x and 2.x hook one jump into each of INPUT, FORWARD and OUTPUT
and restore the table as a whole. Both keep their rules in the iptables and ipset that are first
on ``PATH``, so which iptables is judged (nf_tables or legacy) is the machine's choice.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from harness.clusters.base import Cluster, Right
from harness.enforcers import iptables
from harness.enforcers.base import State
from harness.enforcers.daemons import Command
from harness.enforcers.daemonset import HEALTH_PORT, POLL, DaemonSet, Readiness, environment
from harness.enforcers.node import Node
from harness.errors import EnforcerFailed
from harness.requirements import require_tools

STUDY_FLAGS = {
    "run-router": "false",
    "run-firewall": "true",
    "run-service-proxy": "false",
    "iptables-sync-period": "1s",
    "cache-sync-timeout": "5m",
}
"""The study's flags, but for the kubeconfig's path."""

ACCOUNT = "kube-router"
_READ = ("get", "list", "watch")
RIGHTS = (
    Right(("namespaces", "pods", "services", "nodes", "endpoints"), _READ),
    Right(("networkpolicies",), _READ, "networking.k8s.io"),
    Right(("networkpolicies",), _READ, "extensions"),
    Right(("endpointslices",), _READ, "discovery.k8s.io"),
    Right(("leases",), ("get", "create", "update"), "coordination.k8s.io"),
    Right(("services/status",), ("update",)),
)
"""What the ServiceAccount of its own manifests may do.

https://github.com/cloudnativelabs/kube-router/blob/master/daemonset/generic-kuberouter.yaml
"""

VERBOSITY = {"v": "1"}
"""Ours: a line of log for each sync, by which we know that one is over."""

SYNCS = 2
"""Syncs to see the end of: the second one began after we started to look."""

SETTLE_SECONDS = 30.0
"""How long a paused daemon's last child may take: it waits for the lock of iptables at most."""

LOCK_SECONDS = 30
"""How long our own iptables waits for that lock."""

_FLAG = re.compile(r"--([a-z0-9][a-z0-9-]*)")
_SYNCED = re.compile(r"sync (?:ip|nf)tables took")
_FAILED = re.compile(r".*Aborting sync.*")


class KubeRouter(DaemonSet):
    """The kube-router binary at ``path``, as the study ran it."""

    name = "kube-router"
    quiet: ClassVar[frozenset[State]] = frozenset({State.ABSENT})

    def __init__(self, path: Path) -> None:
        """Take the binary; nothing is started yet."""
        super().__init__()
        self.path = path
        self.rules: IptablesRules = IptablesRules()
        self._flags: dict[str, str] = {}
        self._unknown: tuple[str, ...] = ()
        self._version = "unknown: not started yet"

    def describe(self) -> Mapping[str, Any]:
        """Return the binary, its checksum, what it says it is, and its flags.

        Version and flags are known from :meth:`install` on.
        """
        return {
            "name": self.name,
            "path": str(self.path),
            "sha256": hashlib.sha256(self.path.read_bytes()).hexdigest(),
            "version": self._version,
            "flags": {**self._flags, "kubeconfig": "F"},
            "flags_it_does_not_know": list(self._unknown),
        }

    def require(self) -> None:
        """Raise :class:`~harness.errors.MissingError` without iptables or ipset."""
        require_tools("iptables", "ipset")

    def inspect(self, node: Node) -> None:
        """Ask the binary, on a node and not in the host's namespace, for its version and flags."""
        usage = node.try_run(str(self.path), "--help")
        known = set(_FLAG.findall(usage.stdout + usage.stderr))
        if "run-firewall" not in known:
            said = (usage.stderr or usage.stdout).strip()[:300] or "nothing"
            raise EnforcerFailed(f"{self.path} --help names no --run-firewall, but says: {said}")
        wanted = STUDY_FLAGS | VERBOSITY
        if self.health_port != HEALTH_PORT:
            wanted |= {"health-port": str(self.health_port)}
        self._flags = {flag: value for flag, value in wanted.items() if flag in known}
        self._unknown = tuple(sorted(set(wanted) - known))
        told = node.try_run(str(self.path), "--version")
        self._version = (told.stdout + told.stderr).strip().partition("\n")[0] or "unknown"

    def command(self, cluster: Cluster, node: str) -> Command:
        """Return the study's command line; ``NODE_NAME`` says which node it is on."""
        flags = {**self._flags, "kubeconfig": str(cluster.kubeconfig_of(ACCOUNT, RIGHTS))}
        argv = (str(self.path), *(f"--{flag}={value}" for flag, value in flags.items()))
        return Command(argv, environment(NODE_NAME=node))

    def readiness(self, node: Node, log: Path) -> Readiness:
        """Ask ``/healthz``, and wait for the end of a sync that began after now.

        Health alone would not do: it is good from the first moment on, before the first list.
        """
        seen = unsynced_since(log)
        return lambda: seen() or node.why_unhealthy(self.health_port, "/healthz")


def unsynced_since(log: Path) -> Callable[[], str]:
    """Return the question whether a daemon's log tells of enough syncs from now on."""
    start = log.stat().st_size if log.exists() else 0
    return lambda: unsynced(_read(log, start))


def unsynced(log: str) -> str:
    """Return nothing where a log tells of enough syncs since the last failed one, else why not.

    0.x writes of the failure after the end of a sync, 2.x before it: so the first sync after a
    failure never counts alone.
    """
    failures = list(_FAILED.finditer(log))
    since = log[failures[-1].end() :] if failures else log
    synced = len(_SYNCED.findall(since))
    if synced >= SYNCS:
        return ""
    failed = f"; the last failure: {failures[-1].group().strip()}" if failures else ""
    return f"{synced} of {SYNCS} syncs seen{failed}"


def _read(log: Path, start: int) -> str:
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(start)
        return file.read().decode(errors="replace")


@dataclass(frozen=True, slots=True)
class _Taken:
    """What was taken away on a node: the table as it was, and ipsets as ``ipset save`` has them."""

    table: iptables.FilterTable
    sets: str = ""

    @property
    def jumps(self) -> tuple[iptables.Jump, ...]:
        return self.table.jumps()


@dataclass(slots=True)
class IptablesRules:
    """The rules of one kube-router on all its nodes, seen and changed by the command ``tool``.

    They are taken out of the way by deleting the jumps that lead to them, in one transaction;
    chains, ipsets and elements stay. The emptied built-in chains stay hooked, so that "off" still
    costs what an empty chain costs.

    Where another enforcer's daemon would take what stays for its own and tidy it up, they are
    taken away ``whole``: chains and ipsets are written down, removed, and made again.
    """

    tool: str = "iptables"
    whole: bool = False
    _taken: dict[str, _Taken] = field(default_factory=dict)

    def state(self, node: Node) -> State:
        """Read whether packets get to kube-router's chains; absent where it isolates no pod."""
        table = self._table(node)
        if table.jumps():
            return State.ON
        return State.OFF if table.has_entries() else State.ABSENT

    def take_away(self, node: Node) -> None:
        """Delete the jumps, once the last iptables that the paused daemon began has ended."""
        table = self._settled(node)
        jumps = table.jumps()
        if not (table.own_chains() if self.whole else jumps):
            return
        sets = iptables.own_set_lines(node.run("ipset", "save")) if self.whole else ""
        self._taken[node.name] = _Taken(table, sets)
        if self.whole:
            self._remove(node, table, "off")
        else:
            self._restore(node, "off", iptables.without(jumps))

    def put_back(self, node: Node) -> None:
        """Insert the jumps where they were, and what was taken away with them."""
        taken = self._taken.pop(node.name, None)
        if taken is None:
            return
        if taken.sets:
            file = node.files / f"kube-router-{node.name}-on.sets"
            file.write_text(taken.sets)
            node.run("ipset", "restore", "-exist", "-file", str(file))
        script = iptables.made_again(taken.table) if self.whole else iptables.again(taken.jumps)
        self._restore(node, "on", script)

    def remove(self, node: Node) -> None:
        """Remove its chains and ipsets by their names.

        Its own ``--cleanup-config`` is not used: it also clears IPVS and every ipset of the node.
        """
        self._taken.pop(node.name, None)
        self._remove(node, self._table(node), "removed")

    def _remove(self, node: Node, table: iptables.FilterTable, name: str) -> None:
        if table.own_chains():
            self._restore(node, name, iptables.removed(table))
        for each in iptables.own_sets(node.run("ipset", "list", "-n")):
            node.run("ipset", "destroy", each)

    def _table(self, node: Node) -> iptables.FilterTable:
        return iptables.parse(node.run(f"{self.tool}-save", "-t", "filter"))

    def _restore(self, node: Node, name: str, script: str) -> None:
        file = node.files / f"kube-router-{node.name}-{name}.rules"
        file.write_text(script)
        node.run(f"{self.tool}-restore", "--noflush", f"--wait={LOCK_SECONDS}", str(file))

    def _settled(self, node: Node) -> iptables.FilterTable:
        deadline = time.monotonic() + SETTLE_SECONDS
        seen, now = None, self._table(node)
        while seen != now:
            if time.monotonic() > deadline:
                raise EnforcerFailed(
                    f"on node {node.name} iptables still changes after {SETTLE_SECONDS:g} s, "
                    "though kube-router is stopped: does something else write to it?"
                )
            time.sleep(POLL)
            seen, now = now, self._table(node)
        return now
