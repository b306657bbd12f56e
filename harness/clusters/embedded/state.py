"""What a running embedded cluster leaves on the host: one folder below ``/run/npd``.

The supervisor holds a lock on ``lock`` in its folder for as long as it lives; the kernel lets go
of it however the supervisor ends. So a folder whose lock can be taken is stale, and ours to
remove; nothing else is ever removed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import names
from harness.errors import ClusterError, UsageError

_MARKER = "npd-cluster"


@dataclass(frozen=True, slots=True)
class Folder:
    """The folder of one cluster."""

    path: Path

    @property
    def name(self) -> str:
        """The cluster's name."""
        return self.path.name

    @property
    def control(self) -> Path:
        """The supervisor's socket."""
        return self.path / "control.sock"

    @property
    def agent(self) -> Path:
        """The node agent's socket."""
        return self.path / "agent.sock"

    @property
    def prober(self) -> Path:
        """The prober's socket."""
        return self.path / "prober.sock"

    @property
    def kubeconfig(self) -> Path:
        """For kubectl, and for the harness where nobody is told from another."""
        return self.path / "kubeconfig"

    @property
    def harness_kubeconfig(self) -> Path:
        """The harness's own, where the control plane knows identities."""
        return self.path / "harness-kubeconfig"

    def node_kubeconfig_of(self, account: str) -> Path:
        """For programs on nodes that run as this ServiceAccount."""
        return self.path / f"node-kubeconfig-{account}"

    @property
    def node_kubeconfig(self) -> Path:
        """For programs on nodes."""
        return self.path / "node-kubeconfig"

    @property
    def pki(self) -> Path:
        """Keys and certificates of a real control plane."""
        return self.path / "pki"

    @property
    def logs(self) -> Path:
        """Logs of the supervisor and its children."""
        return self.path / "logs"

    @property
    def scratch(self) -> Path:
        """A tmpfs of the supervisor's own: nginx configuration and the like."""
        return self.path / "scratch"

    def facts(self) -> dict[str, Any]:
        """Return what the supervisor wrote about itself; empty while it has not."""
        with contextlib.suppress(FileNotFoundError):
            facts: dict[str, Any] = json.loads((self.path / "state.json").read_text())
            return facts
        return {}

    @property
    def died(self) -> str:
        """Why the cluster ended by itself; empty for one that did not."""
        return str(self.facts().get("died", ""))

    def note(self, **facts: Any) -> None:
        """Add facts, whole or not at all."""
        part = self.path / "state.json.part"
        part.write_text(json.dumps(self.facts() | facts, indent=2) + "\n")
        part.replace(self.path / "state.json")

    def alive(self) -> bool:
        """Whether a supervisor (or an ``up`` under way) holds the folder's lock."""
        try:
            descriptor = os.open(self.path / "lock", os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def remove(self) -> None:
        """Remove the folder; it has to carry our marker."""
        if (self.path / _MARKER).exists():
            shutil.rmtree(self.path, ignore_errors=True)


def root() -> Path:
    """Return where clusters of this user are recorded."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return Path("/run/npd") if os.geteuid() == 0 or not runtime else Path(runtime) / "npd"


def check_name(name: str) -> None:
    """Refuse a name that cannot be a folder or part of a socket's path."""
    if (message := names.complaint(name)) is not None:
        raise UsageError(message)


def claim(name: str) -> tuple[Folder, int]:
    """Make the folder of a new cluster; return it with the descriptor that holds its lock."""
    check_name(name)
    with _exclusive():
        _sweep()
        folder = Folder(root() / name)
        if folder.path.exists() and not folder.alive():
            folder.remove()
        if folder.path.exists():
            message = (
                f"a cluster named {name!r} is up already; take it down with "
                f"'harness cluster down --name {name}', or choose another --name"
            )
            raise ClusterError(message)
        folder.path.mkdir()
        (folder.path / _MARKER).touch()
        folder.logs.mkdir()
        folder.scratch.mkdir()
        descriptor = os.open(folder.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return folder, descriptor


def running() -> tuple[Folder, ...]:
    """Return the clusters that are up, sorted by name, after removing what dead ones left.

    One that ended by itself keeps its folder, with its logs, until its name is used again or
    :func:`forget_dead`.
    """
    with _exclusive():
        _sweep()
        return tuple(folder for folder in _folders() if folder.alive())


def sweep() -> tuple[str, ...]:
    """Remove what clusters left that were killed; return their names."""
    with _exclusive():
        return _sweep()


def forget_dead() -> None:
    """Remove the folders of clusters that ended by themselves."""
    with _exclusive():
        for folder in _folders():
            if not folder.alive():
                folder.remove()


def find(name: str) -> Folder:
    """Return the folder of a running cluster, or say which ones there are."""
    check_name(name)
    folders = running()
    for folder in folders:
        if folder.name == name:
            return folder
    if reason := Folder(root() / name).died:
        raise ClusterError(f"cluster {name} ended by itself: {reason}")
    others = ", ".join(folder.name for folder in folders) or "none"
    message = f"no cluster named {name!r} is up (up: {others}); start it with 'harness cluster up'"
    raise ClusterError(message)


def drop(folder: Folder) -> None:
    """Remove the folder of a cluster that is about to end: the supervisor's last act."""
    with _exclusive():
        folder.remove()


def release(folder: Folder) -> None:
    """Remove a folder whose supervisor is gone."""
    with _exclusive():
        if not folder.alive():
            folder.remove()


def _folders() -> list[Folder]:
    if not root().exists():
        return []
    return [Folder(path) for path in sorted(root().iterdir()) if (path / _MARKER).exists()]


def _sweep() -> tuple[str, ...]:
    killed = [one for one in _folders() if not one.alive() and not one.died]
    for folder in killed:
        folder.remove()
    return tuple(folder.name for folder in killed)


@contextlib.contextmanager
def _exclusive() -> Iterator[None]:
    """Hold the lock of all clusters' folders; ``/run/npd`` itself goes when it is empty."""
    path = root()
    descriptor = _locked(path)
    try:
        yield
        with contextlib.suppress(OSError):
            path.rmdir()
    finally:
        os.close(descriptor)


def _locked(path: Path) -> int:
    while True:
        path.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        # Whoever held the lock before may have removed the folder: then this lock guards nothing.
        if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
            return descriptor
        os.close(descriptor)
