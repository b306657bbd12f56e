"""What client and agent say to each other: one JSON message a line, a reply for each request."""

from __future__ import annotations

from typing import NamedTuple

import msgspec


class Attempt(NamedTuple):
    """One connection to try, from inside the network namespace that is called ``netns``.

    ``source`` is the address to send from (``None``: as the routes there say), ``protocol`` a value
    of :class:`harness.clusters.base.Transport`.
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


class HoldAll(msgspec.Struct, tag="hold", frozen=True):
    """Open connections and keep those that carry bytes; they end with this conversation."""

    attempts: list[Attempt]
    timeout: float


class AskAll(msgspec.Struct, tag="ask", frozen=True):
    """Ask held connections whether they carry bytes; ``timeout`` seconds of silence: they do not.

    ``held`` are numbers out of :attr:`Reply.held`.
    """

    held: list[int]
    timeout: float


class Release(msgspec.Struct, tag="release", frozen=True):
    """Close held connections; those that are not there are fine."""

    held: list[int]


class Serve(msgspec.Struct, tag="serve", frozen=True):
    """Echo whatever arrives at an address and port of a namespace (TCP, UDP, SCTP).

    What is served already has one more user.
    """

    netns: str
    address: str
    port: int
    protocol: str


class CloseAll(msgspec.Struct, tag="close-all", frozen=True):
    """Stop every echo server of a namespace, whoever started it: the namespace is to go."""

    netns: str


class CloseServer(msgspec.Struct, tag="close", frozen=True):
    """Take back one request for an echo server; the last one stops it. None there is fine."""

    netns: str
    address: str
    port: int
    protocol: str


Request = ProbeAll | HoldAll | AskAll | Release | Serve | CloseServer | CloseAll


class Seen(NamedTuple):
    """What became of one attempt: an :class:`harness.clusters.base.Outcome`, flat.

    ``icmp`` is type, code and sender of the ICMP error that came.
    """

    verdict: str
    seconds: float
    detail: str
    errno: int
    icmp: tuple[int, int, str] | None


class Reply(msgspec.Struct, frozen=True):
    """``problem`` is empty unless the request could not be carried out.

    ``held`` has a number for each connection that is kept, and 0 for each that is not.
    """

    seen: list[Seen] = []
    held: list[int] = []
    problem: str = ""


ENCODE = msgspec.json.encode
REQUESTS: msgspec.json.Decoder[Request] = msgspec.json.Decoder(Request)
REPLIES: msgspec.json.Decoder[Reply] = msgspec.json.Decoder(Reply)

LINE_LIMIT = 64 * 2**20
"""Bytes; the longest message that either side takes (some 500,000 probes)."""
