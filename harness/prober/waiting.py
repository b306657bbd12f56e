"""Waiting for a socket, with a deadline in the event loop's time."""

from __future__ import annotations

import asyncio
import select
import socket

_MOST_BYTES = 4096


async def received(made: socket.socket, deadline: float) -> bytes:
    """Return what comes next; raises TimeoutError at the deadline, OSError on the kernel's error.

    An empty answer on a stream means that the other side has closed it.
    """
    while True:
        try:
            return made.recv(_MOST_BYTES)
        except BlockingIOError:
            await ready(made, select.POLLIN, deadline)


async def ready(made: socket.socket, event: int, deadline: float) -> None:
    """Wait until a socket is ready; raises TimeoutError if it is not at the deadline.

    The socket itself has the last word: an answer that waited for this program is no silence.
    """
    loop = asyncio.get_running_loop()
    woken: asyncio.Future[None] = loop.create_future()
    writing = event == select.POLLOUT
    (loop.add_writer if writing else loop.add_reader)(made, _wake, woken)
    timer = loop.call_at(deadline, _wake, woken)
    try:
        await woken
    finally:
        timer.cancel()
        (loop.remove_writer if writing else loop.remove_reader)(made)
    if not _ready_now(made, event):
        raise TimeoutError


def _wake(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)


def _ready_now(made: socket.socket, event: int) -> bool:
    poll = select.poll()
    poll.register(made, event)
    return bool(poll.poll(0))
