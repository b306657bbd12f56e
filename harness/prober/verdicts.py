"""From a kernel error to a verdict: the only place where that is decided.

===================================  =====================================================
the handshake is done, an echo came  open
nothing until the deadline           dropped (EPERM too: dropped on this host's way out)
an ICMP error                        rejected
a reset, or the server's own ICMP    reset: *refused* or *rejected*, which only a control
port-unreachable for a datagram      probe can tell
no route, no neighbour answers       unreachable: this host itself says so
anything else                        error
===================================  =====================================================
"""

from __future__ import annotations

import errno
import os

from harness.clusters.base import IcmpError, Outcome, Transport, Verdict
from harness.prober.protocol import Attempt
from harness.prober.sockets import Noted, is_ipv6

_RESETS = {errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED}
_NO_ROUTE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EHOSTDOWN, errno.EACCES, errno.EINVAL}
# (is IPv6, type, code): RFC 792 and RFC 4443
_PORT_UNREACHABLE = {(False, 3, 3), (True, 1, 4)}
_NO_NEIGHBOUR = {(False, 3, 1), (True, 1, 3)}
_DATAGRAMS = {Transport.UDP, Transport.UDP_ONE_WAY}


class ToldLaterError(OSError):
    """An error that came from the network, not from this host's own look at its routes."""


def judge(problem: OSError, noted: Noted | None, wanted: Attempt, seconds: float) -> Outcome:
    """Turn an error, and what the socket's error queue knew about it, into an outcome."""
    number = problem.errno or 0
    name = errno.errorcode.get(number, str(number))
    if noted is not None and not noted.local:
        icmp = IcmpError(noted.kind, noted.code, noted.offender)
        verdict = _judge_icmp(noted, wanted)
        return Outcome(verdict, seconds, f"{name}, {noted} ({icmp.name})", number, icmp)
    verdict = _judge_number(problem, wanted)
    return Outcome(verdict, seconds, _sentence(verdict, name, number, problem), number)


def _judge_number(problem: OSError, wanted: Attempt) -> Verdict:
    match problem.errno:
        case number if number in _RESETS:
            return Verdict.RESET
        case errno.EPERM:
            return Verdict.DROPPED
        case number if number in _NO_ROUTE:
            # SCTP has no error queue: what it is told later was an ICMP error (net/sctp/input.c)
            told = wanted.protocol == Transport.SCTP and isinstance(problem, ToldLaterError)
            return Verdict.REJECTED if told else Verdict.UNREACHABLE
    return Verdict.ERROR


def _sentence(verdict: Verdict, name: str, number: int, problem: OSError) -> str:
    match verdict:
        case Verdict.RESET:
            return name
        case Verdict.DROPPED:
            return f"{name}: dropped on the way out of its own host"
    return f"{name}: {problem.strerror or os.strerror(number)}"


def _judge_icmp(noted: Noted, wanted: Attempt) -> Verdict:
    seen = (is_ipv6(wanted.address), noted.kind, noted.code)
    if noted.own and seen in _NO_NEIGHBOUR:
        return Verdict.UNREACHABLE
    if seen in _PORT_UNREACHABLE and wanted.protocol in _DATAGRAMS:
        return Verdict.RESET if noted.offender == wanted.address else Verdict.REJECTED
    return Verdict.REJECTED
