"""The network namespaces of a node's pods: ``python -m harness.clusters.kube.sandboxes FOLDER``.

Runs in an agent that sees all processes of its node. A pod's processes are known by its UID, which
is in the name of their cgroup, whatever the runtime and the driver: with dashes, or with
underscores where systemd names it. Each namespace gets a link ``FOLDER/UID`` to where it can be
entered, and the node's own is ``FOLDER/node``: what the prober expects of ``ip netns``.
https://kubernetes.io/docs/setup/production-environment/container-runtimes/#cgroup-drivers
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

NODE = "node"
"""The name of the node's own network namespace."""

_UID = re.compile(r"pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12})")
"""As the API server makes them."""

_STATIC = re.compile(r"pod([0-9a-f]{32})")
"""As the kubelet makes those of static pods: a digest of their manifest."""


def pod_of(cgroups: str) -> str:
    """Return the UID of the pod that a process with these ``/proc/PID/cgroup`` lines belongs to.

    Empty where it belongs to none.
    """
    found = _UID.search(cgroups) or _STATIC.search(cgroups)
    return found[1].replace("_", "-") if found else ""


def link_all(folder: Path, proc: Path = Path("/proc")) -> None:
    """Make ``folder`` say what is there now; links of pods that are gone are taken away."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {NODE: proc / "1" / "ns" / "net", **dict(_sandboxes(proc))}
    for stale in {path.name for path in folder.iterdir()} - found.keys():
        (folder / stale).unlink()
    for name, target in found.items():
        fresh = folder / f".{name}"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(target)
        fresh.rename(folder / name)


def _sandboxes(proc: Path) -> Iterator[tuple[str, Path]]:
    """Yield each pod's UID with a namespace of a process of it; of hostNetwork pods none.

    The oldest process comes last and so wins: that is the sandbox's own, which lives as long as it.
    """
    node = _namespace(proc / "1")
    for process in sorted((p for p in proc.iterdir() if p.name.isdecimal()), key=_age):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            uid = pod_of((process / "cgroup").read_text())
            if uid and _namespace(process) != node:
                yield uid, process / "ns" / "net"


def _age(process: Path) -> int:
    return -int(process.name)


def _namespace(process: Path) -> int:
    return (process / "ns" / "net").stat().st_ino


if __name__ == "__main__":
    link_all(Path(sys.argv[1]))
