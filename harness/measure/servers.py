"""CPU time of the measured path, process by process, where the machine's own clock is too coarse.

A request's packets are work of ab and of nginx: what a process sends goes its whole way to the
other's socket in its name, and the scheduler charges it by the nanosecond. What a CPU puts off is
done by ``ksoftirqd``. So the path is ab, the processes in the measured pods, and those threads;
whatever else runs on the machine is in none of them, and takes nothing away from them.

A kernel with ``CONFIG_IRQ_TIME_ACCOUNTING`` charges softirq work to no process: there the CPUs'
softirq clock is a part of the path. Sources:
https://docs.kernel.org/scheduler/sched-stats.html (``/proc/PID/schedstat``),
https://docs.kernel.org/filesystems/proc.html
"""

from __future__ import annotations

import gzip
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.clusters.base import Cluster, PodRef
from harness.errors import ClusterError
from harness.measure.environment import cpu_times

EMBEDDED = "embedded"
"""The kind of cluster whose pods are processes of this machine."""

_SOFTIRQ_THREAD = re.compile(r"ksoftirqd/\d+")
_APART = "CONFIG_IRQ_TIME_ACCOUNTING=y"
_NANO = 1e-9


@dataclass(frozen=True, slots=True)
class Servers:
    """The processes that serve the measured requests, and the kernel's own that help them."""

    pids: tuple[int, ...]
    softirq_apart: bool = False
    """Whether softirq work is on a clock of its own, and not the processes'."""

    def cpu_seconds(self) -> float:
        """Return their CPU time so far; ClusterError when one of them is gone."""
        apart = cpu_times().softirq if self.softirq_apart else 0.0
        return apart + _NANO * sum(map(_nanoseconds, self.pids))


def find(cluster: Cluster, pods: Sequence[PodRef]) -> Servers | None:
    """Return the servers in ``pods``; None where this machine cannot tell what they take."""
    if cluster.kind != EMBEDDED or not Path("/proc/self/schedstat").exists():
        return None
    threads, apart = tuple(_softirq_threads()), softirq_apart()
    if not threads or apart is None:
        return None  # in a container that does not see the kernel's threads, or an unknown kernel
    networks = {_network(cluster, pod) for pod in pods}
    return Servers((*_processes_in(networks), *threads), apart)


def softirq_apart(
    places: Sequence[Path] = (Path("/proc/config.gz"), Path(f"/boot/config-{os.uname().release}")),
) -> bool | None:
    """Return whether this kernel charges softirq work to no process; None: it does not say."""
    for path in places:
        if path.is_file():
            data = path.read_bytes()
            text = gzip.decompress(data) if path.suffix == ".gz" else data
            return _APART in text.decode().splitlines()
    return None


def _network(cluster: Cluster, pod: PodRef) -> str:
    done = cluster.exec(pod, ("readlink", "/proc/self/ns/net"))
    if done.returncode:
        message = f"{pod}: cannot tell its network namespace: {done.stderr.strip()}"
        raise ClusterError(message)
    return done.stdout.strip()


def _processes_in(networks: set[str]) -> Iterator[int]:
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if str((path / "ns/net").readlink()) in networks:
                yield int(path.name)
        except OSError:  # it has ended meanwhile
            continue


def _softirq_threads() -> Iterator[int]:
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if _SOFTIRQ_THREAD.fullmatch((path / "comm").read_text().strip()):
                yield int(path.name)
        except OSError:
            continue


def _nanoseconds(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])
    except (FileNotFoundError, ProcessLookupError) as error:
        message = f"process {pid}, which serves the measured requests, is gone"
        raise ClusterError(message) from error
