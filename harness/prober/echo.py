"""A program that answers: ``python -m harness.prober.echo 14.215.0.10:80 [ADDRESS:PORT]...``.

Echoes what TCP connections send, in the network namespace that it is started in. An address that
somebody else serves already is left to them.
"""

from __future__ import annotations

import asyncio
import errno
import sys
from collections.abc import Sequence

from harness.prober.servers import Echo

_BACKLOG = 1024


async def serve(targets: Sequence[tuple[str, int]]) -> None:
    """Answer at every address and port until cancelled."""
    loop = asyncio.get_running_loop()
    for address, port in targets:
        try:
            await loop.create_server(Echo, address, port, backlog=_BACKLOG)
        except OSError as problem:
            if problem.errno != errno.EADDRINUSE:
                raise
    await asyncio.Event().wait()


def main(arguments: Sequence[str]) -> None:
    """Serve the addresses named until killed."""
    parts = (argument.rpartition(":") for argument in arguments)
    asyncio.run(serve([(address, int(port)) for address, _, port in parts]))


if __name__ == "__main__":
    main(sys.argv[1:])
