"""Carries connections from a listening socket to the API server: bytes, nothing understood.

A program that cannot be handed a socket can listen in its own network namespace alone; this one
takes the connections of another namespace (the host's loopback) to it. TLS goes through, end to
end.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import socket
from collections.abc import Sequence

_CHUNK = 1 << 18


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until one side ends; then tell the other, which may have gone before."""
    with contextlib.suppress(OSError):
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
        writer.write_eof()


async def _carry(
    target: tuple[str, int], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Carry one connection, both ways at once."""
    try:
        with contextlib.suppress(OSError):
            far_reader, far_writer = await asyncio.open_connection(*target, limit=_CHUNK)
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(_pipe(reader, far_writer))
                    tasks.create_task(_pipe(far_reader, writer))
            finally:
                far_writer.close()
    finally:
        writer.close()


async def serve(listener: socket.socket, target: tuple[str, int]) -> None:
    """Carry every connection that comes, for ever."""
    server = await asyncio.start_server(
        lambda reader, writer: _carry(target, reader, writer), sock=listener, limit=_CHUNK
    )
    async with server:
        await server.serve_forever()


def main(argv: Sequence[str] | None = None) -> None:
    """Run the forwarder; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="forward")
    parser.add_argument("--listen-fd", type=int, required=True)
    parser.add_argument("--address", required=True)
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args(argv)
    listener = socket.socket(fileno=arguments.listen_fd)
    listener.setblocking(False)  # noqa: FBT003  # the standard library's
    asyncio.run(serve(listener, (arguments.address, arguments.port)))


if __name__ == "__main__":
    main()
