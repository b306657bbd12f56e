"""How the kernel's errors become verdicts."""

from __future__ import annotations

import errno

import pytest

from harness.clusters.base import Verdict
from harness.prober.attempts import judge
from harness.prober.protocol import Attempt
from harness.prober.sockets import Noted

TCP = Attempt("client", None, "10.2.0.2", 80)
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
    verdict, _ = judge(number, noted, wanted)

    assert expected == verdict
