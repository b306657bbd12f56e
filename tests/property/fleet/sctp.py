"""SCTP by hand, for kernels without SCTP sockets: the two packets that begin an association.

RFC 9260. Conntrack follows them all the same: it knows the protocol whether or not sockets do.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

HEADER: Final = struct.Struct("!HHII")  # ports, verification tag, checksum
CHUNK: Final = struct.Struct("!BBHIIHHI")  # type, flags, length; tag, window, streams, sequence
INIT: Final = 1
INIT_ACK: Final = 2
COOKIE: Final = struct.pack("!HH4s", 7, 8, b"npd\0")  # the one parameter that an INIT ACK needs
TAG: Final = 0x6E7064
WINDOW: Final = 65536


@dataclass(frozen=True, slots=True)
class Init:
    """What an INIT says that its answer needs."""

    client_port: int
    server_port: int
    tag: int


def init(client_port: int, server_port: int) -> bytes:
    """Return the packet that asks for an association."""
    chunk = CHUNK.pack(INIT, 0, CHUNK.size, TAG, WINDOW, 1, 1, 1)
    return _packet(client_port, server_port, 0, chunk)


def init_ack(asked: Init) -> bytes:
    """Return a server's answer."""
    length = CHUNK.size + len(COOKIE)
    chunk = CHUNK.pack(INIT_ACK, 0, length, TAG + 1, WINDOW, 1, 1, 1) + COOKIE
    return _packet(asked.server_port, asked.client_port, asked.tag, chunk)


def read_init(packet: bytes) -> Init | None:
    """Read an INIT; None for any other packet."""
    if len(packet) < HEADER.size + CHUNK.size or packet[HEADER.size] != INIT:
        return None
    client_port, server_port, _, _ = HEADER.unpack_from(packet)
    return Init(client_port, server_port, CHUNK.unpack_from(packet, HEADER.size)[3])


def is_init_ack(packet: bytes) -> bool:
    """Whether a packet is a server's answer."""
    return len(packet) > HEADER.size and packet[HEADER.size] == INIT_ACK


def _packet(source: int, target: int, tag: int, chunk: bytes) -> bytes:
    bare = HEADER.pack(source, target, tag, 0) + chunk
    checksum = struct.unpack("<I", struct.pack(">I", crc32c(bare)))[0]
    return HEADER.pack(source, target, tag, checksum) + chunk


def _table() -> tuple[int, ...]:
    found = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        found.append(value)
    return tuple(found)


_TABLE: Final = _table()


def crc32c(data: bytes) -> int:
    """Return the checksum that SCTP uses (Castagnoli's polynomial, RFC 9260 appendix A)."""
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ _TABLE[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF
