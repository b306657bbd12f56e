"""How the kernel's errors become verdicts."""

from __future__ import annotations

import errno

import pytest

from harness.clusters.base import Verdict
from harness.prober.protocol import Attempt
from harness.prober.sockets import Noted
from harness.prober.verdicts import ToldLaterError, judge

TCP = Attempt("client", None, "10.2.0.2", 80)
TCP6 = Attempt("client", None, "fd02::2", 80)
SCTP = Attempt("client", None, "10.2.0.2", 80, "SCTP")
UDP = Attempt("client", None, "10.2.0.2", 53, "UDP")


def icmp(kind: int, code: int, offender: str, *, own: bool = False) -> Noted:
    """Make an ICMP error as the error queue gives it."""
    return Noted(local=False, kind=kind, code=code, offender=offender, own=own)


@pytest.mark.parametrize(
    ("number", "noted", "wanted", "expected"),
    [
        (errno.ECONNREFUSED, None, TCP, Verdict.RESET),
        (errno.ECONNREFUSED, icmp(3, 3, "10.2.0.1"), TCP, Verdict.REJECTED),
        (errno.ECONNREFUSED, icmp(3, 3, "10.2.0.2"), TCP, Verdict.REJECTED),
        (errno.EHOSTUNREACH, icmp(3, 13, "10.2.0.1"), TCP, Verdict.REJECTED),
        (errno.EHOSTUNREACH, icmp(3, 1, "10.2.0.9", own=True), TCP, Verdict.UNREACHABLE),
        (errno.EHOSTUNREACH, icmp(3, 13, "10.2.0.9", own=True), TCP, Verdict.REJECTED),
        (errno.ECONNREFUSED, icmp(3, 3, "10.2.0.2"), UDP, Verdict.RESET),
        (errno.ECONNREFUSED, icmp(3, 3, "10.2.0.1"), UDP, Verdict.REJECTED),
        (errno.ENETUNREACH, None, TCP, Verdict.UNREACHABLE),
        (errno.EPERM, None, UDP, Verdict.DROPPED),
        (errno.EMFILE, None, TCP, Verdict.ERROR),
    ],
)
def test_verdict(number: int, noted: Noted | None, wanted: Attempt, expected: Verdict) -> None:
    """An ICMP error is never taken for a reset, nor this host's own trouble for an enforcer's."""
    outcome = judge(OSError(number, "refused by the kernel"), noted, wanted, 0.0)

    assert expected == outcome.verdict


@pytest.mark.parametrize(
    ("problem", "noted", "wanted", "expected"),
    [
        (errno.ECONNREFUSED, None, TCP, "reset"),
        (errno.ECONNREFUSED, icmp(3, 3, "10.2.0.1"), TCP, "icmp-port-unreachable"),
        (errno.EHOSTUNREACH, icmp(3, 13, "10.2.0.1"), TCP, "icmp-admin-prohibited"),
        (errno.EACCES, icmp(1, 1, "fd02::1"), TCP6, "icmpv6-admin-prohibited"),
        (errno.EPROTO, icmp(3, 99, "10.2.0.1"), TCP, "icmp-3-99"),
        (errno.EMFILE, None, TCP, "EMFILE"),
    ],
)
def test_cause(problem: int, noted: Noted | None, wanted: Attempt, expected: str) -> None:
    """An outcome names what ended it: a reset, which ICMP error, or the error number."""
    outcome = judge(OSError(problem, "refused by the kernel"), noted, wanted, 0.0)

    assert expected == outcome.cause


def test_sctp_is_told_of_icmp_errors_without_an_error_queue() -> None:
    """What an association is told later came from the network; what connect says came from here."""
    told = judge(ToldLaterError(errno.EHOSTUNREACH, "no route"), None, SCTP, 0.0)
    known = judge(OSError(errno.EHOSTUNREACH, "no route"), None, SCTP, 0.0)

    assert (told.verdict, known.verdict) == (Verdict.REJECTED, Verdict.UNREACHABLE)
