"""One connection attempt and its outcome."""

from __future__ import annotations

import asyncio
import errno
import functools
import socket
import time
from collections.abc import Awaitable
from typing import assert_never

from harness.clusters.base import Outcome, Transport, Verdict
from harness.prober import ways
from harness.prober.hearing import Hearing
from harness.prober.protocol import Attempt
from harness.prober.sockets import Namespaces, close_at_once, noted_error
from harness.prober.verdicts import judge


async def attempt(
    namespaces: Namespaces, hearing: Hearing, wanted: Attempt, wait: float
) -> Outcome:
    """Try one connection and say how it ended; ``wait`` is in seconds. Never raises."""
    try:
        run = _way(hearing, Transport(wanted.protocol))
        made = ways.prepare(namespaces, wanted)
    except (OSError, ValueError) as problem:
        return failed(wanted, problem)
    try:
        return await outcome_of(made, wanted, wait, run(made, wanted, deadline(wait)))
    finally:
        close_at_once(made)


async def outcome_of(
    made: socket.socket, wanted: Attempt, wait: float, run: Awaitable[None]
) -> Outcome:
    """Let something happen on a socket and say how it ended."""
    started = time.perf_counter()
    try:
        await run
    except TimeoutError:
        return Outcome(Verdict.DROPPED, time.perf_counter() - started, f"silence for {wait:.3g} s")
    except OSError as problem:
        seconds = time.perf_counter() - started
        return judge(problem, noted_error(made), wanted, seconds)
    return Outcome(Verdict.OPEN, time.perf_counter() - started)


def failed(wanted: Attempt, problem: Exception) -> Outcome:
    """Return the outcome of an attempt that could not be made."""
    number = getattr(problem, "errno", None) or errno.EINVAL
    return Outcome(Verdict.ERROR, 0.0, f"{wanted.netns}: {problem}", number)


def deadline(wait: float) -> float:
    """Return when a wait of so many seconds ends, in the event loop's time."""
    return asyncio.get_running_loop().time() + wait


def _way(hearing: Hearing, transport: Transport) -> ways.Run:
    match transport:
        case Transport.TCP | Transport.SCTP:
            return ways.handshake
        case Transport.UDP:
            return ways.echo
        case Transport.UDP_ONE_WAY:
            return functools.partial(ways.one_way, hearing)
        case Transport.ICMP:
            return ways.ping
    assert_never(transport)
