"""ApacheBench: one run is one equal piece of work, and its raw output is the evidence.

A failed request, a status other than 2xx or an unfinished run is an error with its reason;
the rate of such a run is stored but is no measurement. Manual:
https://httpd.apache.org/docs/2.4/programs/ab.html
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from harness.clusters.base import Cluster, Completed, Place

_TIMES = "CPU time of the shell, then of ab:\n"
_SCRIPT = f'"$@"; code=$?; printf "%s\\n" "{_TIMES.strip()}" >&2; times >&2; exit $code'
_FINEST = 'exec "$(command -v bash || command -v sh)" -c "$@"'
_TIMED = ("sh", "-c", _FINEST, "sh", _SCRIPT, "sh")
"""A shell that runs what follows and says, at the end, what CPU time it took: bash where it is
there, which tells milliseconds, and not the ticks of 10 ms that others tell.

https://pubs.opengroup.org/onlinepubs/9699919799/utilities/V3_chap02.html#times
"""


_TIMES_FIGURES = 4  # user and system, of the shell and of its children


class Connections(enum.Enum):
    """Whether each request opens a connection, or connections are kept (``ab -k``)."""

    NEW = "new"
    KEPT = "kept"


@dataclass(frozen=True, slots=True)
class Work:
    """What ab is to do: ``requests`` GETs of ``url`` from ``source``, ``concurrency`` at a time."""

    url: str
    source: str
    requests: int
    concurrency: int
    connections: Connections = Connections.NEW
    silence: int = 5
    """Seconds without an answer after which ab gives up."""

    def argv(self) -> tuple[str, ...]:
        """Return the command line.

        ``-l``: the two measured pods may serve pages of different lengths; ``-r``: go on after
        a socket error, so that failures are counted instead of ending the run.
        """
        keep = ("-k",) if self.connections is Connections.KEPT else ()
        source = ("-B", self.source) if self.source else ()
        return (
            *("ab", "-q", "-l", "-r", *keep, *source),
            *("-s", str(self.silence), "-n", str(self.requests), "-c", str(self.concurrency)),
            self.url,
        )


@dataclass(frozen=True, slots=True)
class Report:
    """What ab printed. Times are in the unit of the name; percentiles are whole milliseconds."""

    requests: int
    failed: int
    non_2xx: int
    kept: int
    """Requests answered on a connection that stayed open."""

    seconds: float
    rps: float
    percentiles_ms: Mapping[int, float] = field(default_factory=dict)
    breakdown: str = ""
    """Of the failed requests: ``Connect: 0, Receive: 3, ...``."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of ab: its report where it printed one, and why it does not count, or ``""``."""

    report: Report | None
    error: str
    raw: str
    user_seconds: float = 0.0
    """Of CPU time, in ab's own code; in steps of a millisecond where bash is there."""

    cpu_seconds: float = 0.0
    """Of ab in all, with what the kernel did in its name: packets that it sent go their whole way
    to the server in it."""


def run(cluster: Cluster, place: Place, work: Work, timeout: float = 120.0) -> Run:
    """Run ab inside ``place`` and judge what it printed, and what it took."""
    done = cluster.exec(place, (*_TIMED, *work.argv()), timeout=timeout)
    said, _, times = done.stderr.rpartition(_TIMES)
    own = Completed(work.argv(), done.returncode, done.stdout, said)
    user, system = _children(times)
    return replace(judge(work, own), user_seconds=user, cpu_seconds=user + system)


def judge(work: Work, done: Completed) -> Run:
    """Parse a finished ab and say whether its requests all succeeded."""
    raw = _raw(done)
    report = parse(done.stdout)
    return Run(report=report, error=_error(work, done, report), raw=raw)


def parse(text: str) -> Report | None:
    """Return what ab reported, or None where it ended before its report."""
    seconds = _number(text, "Time taken for tests")
    rps = _number(text, "Requests per second")
    if seconds is None or rps is None:
        return None
    requests = int(_number(text, "Complete requests") or 0)
    return Report(
        requests=requests,
        failed=int(_number(text, "Failed requests") or 0),
        non_2xx=int(_number(text, "Non-2xx responses") or 0),
        kept=int(_number(text, "Keep-Alive requests") or 0),
        seconds=requests / rps if rps else seconds,
        rps=rps,
        percentiles_ms=_percentiles(text),
        breakdown=_breakdown(text),
    )


def _error(work: Work, done: Completed, report: Report | None) -> str:
    if report is None:
        said = done.stderr.strip().rpartition("\n")[2] or done.stdout.strip().rpartition("\n")[2]
        return f"ab ended with code {done.returncode} before its report: {said}"
    if report.failed:
        return f"{report.failed} failed requests ({report.breakdown})"
    if report.non_2xx:
        return f"{report.non_2xx} answers other than 2xx"
    if report.requests < work.requests:
        return f"{report.requests} of {work.requests} requests were made"
    if done.returncode:
        return f"ab ended with code {done.returncode}"
    return ""


def _raw(done: Completed) -> str:
    head = f"$ {' '.join(done.argv)}\nexit code {done.returncode}\n"
    errors = f"--- stderr\n{done.stderr}" if done.stderr.strip() else ""
    return f"{head}{done.stdout}{errors}"


def _children(times: str) -> tuple[float, float]:
    """Return the user and system seconds of a shell's children: the second line of ``times``."""
    found = re.findall(r"(\d+)m([0-9.]+)s", times)
    seconds = [60 * int(minutes) + float(rest) for minutes, rest in found]
    return (seconds[2], seconds[3]) if len(seconds) == _TIMES_FIGURES else (0.0, 0.0)


def _number(text: str, label: str) -> float | None:
    found = re.search(rf"^{re.escape(label)}:\s+([0-9.]+)", text, re.MULTILINE)
    return float(found[1]) if found else None


def _percentiles(text: str) -> dict[int, float]:
    rows = re.findall(r"^\s+(\d+)%\s+(\d+)", text, re.MULTILINE)
    return {int(percent): float(milliseconds) for percent, milliseconds in rows}


def _breakdown(text: str) -> str:
    found = re.search(r"^Failed requests:.*\n\s+\((.*)\)$", text, re.MULTILINE)
    return found[1] if found else ""
