"""What client and agent say to each other: one JSON message a line, a reply for each request."""

from __future__ import annotations

from typing import NamedTuple

import msgspec


class Attempt(NamedTuple):
    """One connection to try, from inside the network namespace that is called ``netns``.

    ``source`` is the address to send from (``None``: as the routes there say), ``protocol`` one of
    ``TCP``, ``UDP``, ``SCTP`` and ``ICMP`` (whose ``port`` means nothing).
    """

    netns: str
    source: str | None
    address: str
    port: int
    protocol: str = "TCP"


class ProbeAll(msgspec.Struct, tag="probe", frozen=True):
    """Try everything at once; ``timeout`` seconds of silence count as dropped."""

    attempts: list[Attempt]
    timeout: float


class Serve(msgspec.Struct, tag="serve", frozen=True):
    """Echo whatever arrives at an address and port of a namespace (``TCP`` or ``UDP``)."""

    netns: str
    address: str
    port: int
    protocol: str


class CloseServer(msgspec.Struct, tag="close", frozen=True):
    """Stop an echo server; one that is not there is fine."""

    netns: str
    address: str
    port: int
    protocol: str


Request = ProbeAll | Serve | CloseServer


class Seen(NamedTuple):
    """What became of one attempt: a verdict's value, seconds, and what exactly was seen."""

    verdict: str
    seconds: float
    detail: str


class Reply(msgspec.Struct, frozen=True):
    """``problem`` is empty unless the request could not be carried out."""

    seen: list[Seen] = []
    problem: str = ""


ENCODE = msgspec.json.encode
REQUESTS: msgspec.json.Decoder[Request] = msgspec.json.Decoder(Request)
REPLIES: msgspec.json.Decoder[Reply] = msgspec.json.Decoder(Reply)

LINE_LIMIT = 64 * 2**20
"""Bytes; the longest message that either side takes (some 500,000 probes)."""
