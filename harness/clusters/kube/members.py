"""The processes of a pod: ``python -m harness.clusters.kube.members UID``, in a node's agent.

Prints the numbers of those that its containers run, in the agent's own process namespace, which is
the node's. The sandbox's own process, which holds the pod's namespaces, is not among them.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from harness.clusters.kube.sandboxes import pod_of

MODULE = "harness.clusters.kube.members"
_SANDBOX = "pause"


def members(uid: str, proc: Path = Path("/proc")) -> Iterator[int]:
    """Yield the numbers of a pod's processes."""
    for process in proc.iterdir():
        if process.name.isdecimal():
            with contextlib.suppress(OSError):  # it has ended meanwhile
                name = (process / "comm").read_text().strip()
                if name != _SANDBOX and pod_of((process / "cgroup").read_text()) == uid:
                    yield int(process.name)


if __name__ == "__main__":
    sys.stdout.write(" ".join(str(one) for one in sorted(members(sys.argv[1]))))
