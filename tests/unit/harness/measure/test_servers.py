"""The measured path's CPU time: by the scheduler's own account, and nobody else's."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.errors import ClusterError
from harness.measure.servers import Servers, softirq_apart

BURN = "import sys\nfor line in sys.stdin:\n sum(range(int(line))); print('done', flush=True)"


def test_only_the_named_processes_are_counted() -> None:
    """Work of the process counts; work of ours beside it does not."""
    with subprocess.Popen(
        (sys.executable, "-c", BURN), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        servers = Servers((server.pid,))
        begun, own = servers.cpu_seconds(), time.process_time()
        sum(range(10**6))
        idle, beside = servers.cpu_seconds() - begun, time.process_time() - own
        server.stdin.write("1000000\n")
        server.stdin.flush()
        server.stdout.readline()
        worked = servers.cpu_seconds() - begun - idle
        server.stdin.close()

    assert idle < beside
    assert worked > idle


def test_a_server_that_is_gone_ends_the_run() -> None:
    """Without it a request would seem to cost less."""
    ended = subprocess.Popen(("true",))
    ended.wait()

    with pytest.raises(ClusterError, match="gone"):
        Servers((ended.pid,)).cpu_seconds()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("CONFIG_IRQ_TIME_ACCOUNTING=y", True),
        ("# CONFIG_IRQ_TIME_ACCOUNTING is not set", False),
    ],
)
def test_the_kernel_says_whose_softirq_work_is(tmp_path: Path, line: str, expected: bool) -> None:
    """Packed as /proc has it, or plain as distributions lay it under /boot."""
    packed, plain = tmp_path / "config.gz", tmp_path / "config-6.1"
    packed.write_bytes(gzip.compress(f"CONFIG_NET=y\n{line}\n".encode()))
    plain.write_text(f"CONFIG_NET=y\n{line}\n")

    assert softirq_apart((packed,)) is expected
    assert softirq_apart((tmp_path / "absent.gz", plain)) is expected


def test_a_kernel_that_does_not_say_is_not_guessed_at(tmp_path: Path) -> None:
    """Without its configuration the machine's own clock is used instead."""
    assert softirq_apart((tmp_path / f"config-{os.getpid()}",)) is None
