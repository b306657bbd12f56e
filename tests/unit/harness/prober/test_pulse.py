"""How long an answer took, where the prober itself was late."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from harness.clusters.base import Outcome, Verdict
from harness.prober.agent import Agent
from harness.prober.held import HeldConnections
from harness.prober.protocol import AskAll
from harness.prober.pulse import BEAT, Pulse
from harness.prober.sockets import Namespaces

BUSY = 0.2
"""Seconds for which nothing else runs in the prober."""


def told(verdict: Verdict) -> Outcome:
    """Return what is told of an outcome that came while the prober was busy."""

    async def busy() -> Outcome:
        pulse = Pulse()
        async with pulse.beating():
            await asyncio.sleep(2 * BEAT)
            started = time.monotonic()
            time.sleep(BUSY)  # noqa: ASYNC251  # that it blocks is what is asked
            return pulse.told(Outcome(verdict, time.monotonic() - started))

    return asyncio.run(busy())


def test_an_answer_that_waited_for_the_prober_was_not_slow() -> None:
    """The moment in which nobody looked is not the server's."""
    assert told(Verdict.OPEN).seconds < BUSY / 2


def test_silence_stays_as_long_as_it_was() -> None:
    """What nobody answered has lasted as long as it has."""
    assert told(Verdict.DROPPED).seconds >= BUSY


class Answered:
    """A held connection whose answer comes while the prober is busy with others."""

    async def ask(self, wait: float) -> Outcome:
        """Be answered at once, and be looked at much later."""
        del wait
        await asyncio.sleep(2 * BEAT)
        started = time.monotonic()
        time.sleep(BUSY)  # noqa: ASYNC251  # that it blocks is what is asked
        return Outcome(Verdict.OPEN, time.monotonic() - started)


def test_a_held_connections_answer_that_waited_was_not_slow_either(tmp_path: Path) -> None:
    """Else silence would have to last ten times as long for nothing."""

    async def asked() -> float:
        connection: Any = Answered()
        namespaces = Namespaces.at(tmp_path)
        held = HeldConnections(namespaces)
        question = AskAll([held.keep(connection)], 1.0)
        (seen,) = (await Agent(namespaces)._carry_out(question, held)).seen
        return seen.seconds

    assert asyncio.run(asked()) < BUSY / 2
