"""Programs in places, from the client's side: run one and wait, or start one that goes on."""

from __future__ import annotations

import os
import select
import signal
import socket
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from harness.clusters.base import Completed
from harness.clusters.embedded import wire
from harness.errors import ClusterError

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_KILLED = 5.0
"""Seconds that the kernel gets to end a killed process."""


class RemoteProcess:
    """A program that the supervisor started; implements ``harness.clusters.base.Process``."""

    def __init__(self, control: Path, run: wire.Run) -> None:
        """Start it."""
        with wire.connect(control) as link:
            wire.send(link, {"do": "run", "run": asdict(run)})
            (self._pidfd,) = _expect_start(link)
        self.pid = _host_pid(self._pidfd)
        self._log = Path(run.log)
        self._cpu_seconds = 0.0

    def __del__(self) -> None:
        """Let go of the process; it goes on."""
        descriptor, self._pidfd = getattr(self, "_pidfd", -1), -1
        if descriptor >= 0:
            os.close(descriptor)

    def running(self) -> bool:
        """Whether it still runs."""
        return not self._wait(0.0)

    def signal(self, number: int) -> None:
        """Send a signal; ProcessLookupError when it is gone."""
        signal.pidfd_send_signal(self._pidfd, number)

    def stop(self, timeout: float = 10.0) -> None:
        """Send SIGTERM, wait, then SIGKILL; returns when it is gone. Idempotent."""
        for number, patience in ((signal.SIGTERM, timeout), (signal.SIGKILL, _KILLED)):
            if self.running():
                self.cpu_seconds()
                self.signal(number)
                self._wait(patience)
        if self.running():
            message = f"process {self.pid} does not end, not even by SIGKILL"
            raise ClusterError(message)

    def cpu_seconds(self) -> float:
        """User and system time so far, waited-for children included; kept when it is gone."""
        try:
            text = Path(f"/proc/{self.pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return self._cpu_seconds
        if self.running():
            spent = text.rpartition(")")[2].split()[11:15]
            self._cpu_seconds = sum(map(int, spent)) / _TICKS
        return self._cpu_seconds

    def rss_bytes(self) -> int:
        """Resident set size now; 0 when it is gone."""
        try:
            pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        except (FileNotFoundError, ProcessLookupError):
            return 0
        return pages * _PAGE if self.running() else 0

    def tail(self, lines: int = 20) -> str:
        """Return the last lines of its log."""
        if not self._log.is_file():
            return ""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:])

    def _wait(self, seconds: float) -> bool:
        poller = select.poll()
        poller.register(self._pidfd, select.POLLIN)
        return bool(poller.poll(seconds * 1000))


def attached(control: Path, run: wire.Run, streams: Sequence[int], timeout: float | None) -> int:
    """Run a program on these three descriptors, wait for it, and return its exit code.

    Raises TimeoutError after ``timeout`` seconds; the program is killed then.
    """
    with wire.connect(control) as link:
        wire.send(link, {"do": "run", "run": asdict(run)}, streams)
        for descriptor in _expect_start(link):
            os.close(descriptor)
        link.settimeout(timeout)
        packet, _ = wire.receive(link)
    if "exited" not in packet:
        message = packet.get("error") or "the cluster ended while the command ran"
        raise ClusterError(message)
    return int(packet["exited"])


def captured(control: Path, run: wire.Run, timeout: float) -> Completed:
    """Run a program and return what it printed."""
    with (
        Path(os.devnull).open("rb") as nothing,
        tempfile.TemporaryFile() as output,
        tempfile.TemporaryFile() as errors,
    ):
        streams = (nothing.fileno(), output.fileno(), errors.fileno())
        try:
            code = attached(control, run, streams, timeout)
        except TimeoutError:
            message = f"{' '.join(run.argv)} (in {run.netns}) took longer than {timeout:g} s"
            raise ClusterError(message) from None
        output.seek(0)
        errors.seek(0)
        said = (output.read().decode(errors="replace"), errors.read().decode(errors="replace"))
    return Completed(run.argv, code, *said)


def environment(own: Mapping[str, str] | None) -> dict[str, str]:
    """Return a program's environment: the given one, else ours."""
    return dict(os.environ if own is None else own)


def _expect_start(link: socket.socket) -> list[int]:
    packet, descriptors = wire.receive(link)
    if "started" not in packet:
        message = packet.get("error") or "the cluster is gone"
        raise ClusterError(message)
    return descriptors


def _host_pid(pidfd: int) -> int:
    for line in Path(f"/proc/self/fdinfo/{pidfd}").read_text().splitlines():
        if line.startswith("Pid:"):
            return int(line.split()[1])
    return -1
