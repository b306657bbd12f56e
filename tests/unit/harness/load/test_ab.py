"""What ab printed becomes a rate, or a reason why there is none. The recordings are real runs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.clusters.base import Completed, OutsideRef, Place
from harness.load import ab

RECORDED = Path(__file__).parent / "recorded"
WORK = ab.Work(url="http://10.96.0.1:80/", source="14.215.0.10", requests=2000, concurrency=16)


def recorded(name: str, code: int = 0) -> Completed:
    """Return a finished ab whose output was recorded."""
    errors = RECORDED / f"{name}.err"
    return Completed(
        argv=("ab",),
        returncode=code,
        stdout=(RECORDED / f"{name}.txt").read_text(),
        stderr=errors.read_text() if errors.exists() else "",
    )


def test_a_run_without_failures_is_a_rate() -> None:
    """A run in which every request succeeded gives requests, seconds and rate, and no error."""
    run = ab.judge(WORK, recorded("ab-plain"))

    assert run.error == ""
    assert run.report is not None
    assert run.report.requests == 2000
    assert run.report.rps == pytest.approx(35618.24)
    assert run.report.seconds == pytest.approx(2000 / 35618.24)
    assert run.report.percentiles_ms[99] == 1.0


def test_kept_connections_are_counted() -> None:
    """With keep-alive, ab says how many requests shared a connection."""
    run = ab.judge(WORK, recorded("ab-keepalive"))

    assert run.error == ""
    assert run.report is not None
    assert run.report.kept == 5000


@pytest.mark.parametrize(
    ("name", "code", "reason"),
    [
        ("ab-503", 0, "100 answers other than 2xx"),
        ("ab-refused", 0, "150 failed requests (Connect: 0, Receive: 100"),
        ("ab-drop", 119, "code 119 before its report: apr_pollset_poll: The timeout"),
        ("ab-unreach", 22, "code 22 before its report: apr_socket_connect(): Invalid argument"),
    ],
)
def test_what_failed_is_an_error_with_its_reason(name: str, code: int, reason: str) -> None:
    """Failed requests, other statuses and runs without a report are errors that say why."""
    work = ab.Work(url="http://10.96.0.1:80/", source="", requests=100, concurrency=4)

    run = ab.judge(work, recorded(name, code))

    assert reason in run.error


def test_an_unfinished_run_is_an_error() -> None:
    """A run with fewer requests than were asked for does not count."""
    work = ab.Work(url="http://10.96.0.1:80/", source="", requests=2001, concurrency=4)

    run = ab.judge(work, recorded("ab-plain"))

    assert run.error == "2000 of 2001 requests were made"


def test_the_raw_output_is_kept_whole() -> None:
    """The evidence is the command line, the exit code and all that was printed."""
    done = recorded("ab-drop", 119)

    raw = ab.judge(WORK, done).raw

    assert raw.startswith("$ ab\nexit code 119\n")
    assert done.stdout in raw
    assert done.stderr in raw


def test_the_command_line_says_source_and_keep_alive() -> None:
    """Ab binds the allowed address, and keeps connections only where that is asked."""
    kept = ab.Work("http://10.96.0.1:80/", "14.215.0.10", 10, 2, ab.Connections.KEPT)

    assert "-k" in kept.argv()
    assert "-k" not in WORK.argv()
    assert WORK.argv()[WORK.argv().index("-B") + 1] == "14.215.0.10"


class Shell:
    """A place in which commands are really run, on this machine."""

    def exec(self, place: Place, argv: Sequence[str], timeout: float = 60.0) -> Completed:
        """Run a command."""
        del place
        done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False)
        return Completed(tuple(argv), done.returncode, done.stdout, done.stderr)


def test_what_ab_took_is_told_and_kept_out_of_its_output(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The shell's account of CPU time is read; the raw output is ab's alone, its exit code too."""
    burn = "import sys; sum(range(10**7)); sys.stderr.write('refused\\n'); sys.exit(3)"
    monkeypatch.setattr(ab.Work, "argv", lambda _: (sys.executable, "-c", burn))
    shell: Any = Shell()

    run = ab.run(shell, OutsideRef("14.215.0.10"), WORK)

    assert run.user_seconds > 0
    assert run.cpu_seconds >= run.user_seconds
    assert run.error == "ab ended with code 3 before its report: refused"
    assert "CPU time" not in run.raw
