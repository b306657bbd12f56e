"""The prober's process: ``python -m harness.prober.agent --socket PATH``, or ``--stdio``.

It runs where the network namespaces are files of one folder (``/run/netns``), and needs
CAP_SYS_ADMIN and CAP_NET_RAW. It listens on a Unix socket and ends when the thread that started it
ends; or it serves the one who started it, over standard input and output, until that hangs up. The
wanted namespace is entered only for the moment in which a socket is made, so one thread serves them
all.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import os
import resource
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import assert_never

import msgspec

from harness.clusters.base import Outcome, Verdict
from harness.prober.attempts import attempt, failed
from harness.prober.hearing import Hearing
from harness.prober.held import HeldConnections
from harness.prober.protocol import (
    ENCODE,
    LINE_LIMIT,
    REQUESTS,
    AskAll,
    Attempt,
    CloseAll,
    CloseServer,
    HoldAll,
    ProbeAll,
    Release,
    Reply,
    Request,
    Seen,
    Serve,
)
from harness.prober.pulse import Pulse
from harness.prober.servers import Servers
from harness.prober.sockets import Namespaces, die_with_parent, short_path

CONCURRENCY = 2048
"""Attempts under way at once: bounds descriptors. Most of them are silent ones that wait."""


class Agent:
    """Carries out requests; holds the echo servers."""

    def __init__(self, namespaces: Namespaces) -> None:
        """Serve the namespaces given."""
        self._namespaces = namespaces
        self._hearing = Hearing()
        self._servers = Servers(namespaces, self._hearing)
        self._room = asyncio.Semaphore(CONCURRENCY)
        self._pulse = Pulse()

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one client's requests, one after the other, until it hangs up.

        The connections that it holds end with it.
        """
        held = HeldConnections(self._namespaces)
        try:
            with contextlib.suppress(ConnectionError):
                while line := await reader.readline():
                    writer.write(ENCODE(await self._answer(line, held)) + b"\n")
                    await writer.drain()
        finally:
            held.release_all()
            writer.close()

    async def _answer(self, line: bytes, held: HeldConnections) -> Reply:
        """Carry out one request; whatever goes wrong is said in the reply."""
        try:
            return await self._carry_out(REQUESTS.decode(line), held)
        except (OSError, ValueError, msgspec.MsgspecError) as problem:
            return Reply(problem=str(problem))

    async def _carry_out(self, request: Request, held: HeldConnections) -> Reply:
        match request:
            case ProbeAll():
                tries = (self._attempt(one, request.timeout) for one in request.attempts)
                async with self._pulse.beating():
                    return Reply(seen=list(await asyncio.gather(*tries)))
            case HoldAll():
                tried = (self._hold(one, request.timeout, held) for one in request.attempts)
                seen = await asyncio.gather(*tried)
                return Reply([one for one, _ in seen], [number for _, number in seen])
            case AskAll():
                asked = (self._ask(number, request.timeout, held) for number in request.held)
                async with self._pulse.beating():
                    return Reply(seen=list(await asyncio.gather(*asked)))
            case Release():
                for number in request.held:
                    held.release(number)
            case Serve():
                await self._servers.open(request)
            case CloseServer():
                self._servers.leave(request)
            case CloseAll():
                self._servers.close_all(request.netns)
            case _:
                assert_never(request)
        return Reply()

    async def _attempt(self, wanted: Attempt, wait: float) -> Seen:
        async with self._room:
            outcome = await attempt(self._namespaces, self._hearing, wanted, wait)
            return _seen(self._pulse.told(outcome))

    async def _hold(self, wanted: Attempt, wait: float, held: HeldConnections) -> tuple[Seen, int]:
        async with self._room:
            try:
                connection = held.make(wanted)
            except (OSError, ValueError) as problem:
                return _seen(failed(wanted, problem)), 0
            outcome = await connection.open(wait)
        if outcome.verdict is Verdict.OPEN:
            return _seen(outcome), held.keep(connection)
        connection.close()
        return _seen(outcome), 0

    async def _ask(self, number: int, wait: float, held: HeldConnections) -> Seen:
        connection = held.find(number)
        if connection is None:
            return _seen(Outcome(Verdict.ERROR, 0.0, "not held", errno.ENOTCONN))
        async with self._room:
            return _seen(self._pulse.told(await connection.ask(wait)))


def _seen(outcome: Outcome) -> Seen:
    icmp = outcome.icmp
    what = None if icmp is None else (icmp.kind, icmp.code, icmp.sender)
    return Seen(outcome.verdict.value, outcome.seconds, outcome.detail, outcome.errno, what)


async def run(path: Path, folder: Path) -> None:
    """Listen at ``path`` and serve the namespaces in ``folder`` until cancelled."""
    agent = Agent(Namespaces.at(folder))
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with short_path(path) as address:
        mask = os.umask(0o077)
        made.bind(address)
        os.umask(mask)
    server = await asyncio.start_unix_server(agent.converse, sock=made, limit=LINE_LIMIT)
    async with server:
        await server.serve_forever()


async def run_on_stdio(folder: Path) -> None:
    """Serve whoever is at the other ends of standard input and output, until it hangs up."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(LINE_LIMIT)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    transport, protocol = await loop.connect_write_pipe(
        lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), sys.stdout
    )
    writer = asyncio.StreamWriter(transport, protocol, reader, loop)
    await Agent(Namespaces.at(folder)).converse(reader, writer)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the agent until it is killed."""
    parser = argparse.ArgumentParser(prog="python -m harness.prober.agent", description=__doc__)
    way = parser.add_mutually_exclusive_group(required=True)
    way.add_argument("--socket", type=Path, help="Unix socket to listen on")
    way.add_argument("--stdio", action="store_true", help="serve standard input and output")
    parser.add_argument(
        "--netns", type=Path, default=Path("/run/netns"), help="folder of namespaces"
    )
    options = parser.parse_args(arguments)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with contextlib.suppress(KeyboardInterrupt):
        if options.stdio:
            asyncio.run(run_on_stdio(options.netns))
            return
        die_with_parent()
        options.socket.unlink(missing_ok=True)
        asyncio.run(run(options.socket, options.netns))


if __name__ == "__main__":
    main()
