"""Frames as an attacker with NET_RAW makes them: Ethernet, ARP, IP, UDP, TCP, ICMP, by hand.

Addresses are text. A payload is a mark by which a frame is known again where it arrives.
"""

from __future__ import annotations

import enum
import ipaddress
import socket
import struct
from typing import Final

IP, ARP, IPV6, VLAN, SERVICE_VLAN = 0x0800, 0x0806, 0x86DD, 0x8100, 0x88A8
ICMP, IPIP, TCP, UDP, IPV6_IN_IP, GRE, FRAGMENT, ICMPV6 = 1, 4, 6, 17, 41, 47, 44, 58
HOP_BY_HOP, ROUTING, DESTINATION_OPTIONS = 0, 43, 60
BROADCAST: Final = "ff:ff:ff:ff:ff:ff"
HOP_LIMIT, NEIGHBOURS_ONLY = 64, 255
MORE_FRAGMENTS: Final = 0x2000


class Flags(enum.IntFlag):
    """TCP flags."""

    FIN = 1
    SYN = 2
    RST = 4
    PSH = 8
    ACK = 16


def mac(text: str) -> bytes:
    """Return a MAC address in binary."""
    return bytes.fromhex(text.replace(":", ""))


def packed(address: str) -> bytes:
    """Return an address in binary."""
    return ipaddress.ip_address(address).packed


def is_ipv6(address: str) -> bool:
    """Whether an address is one of IPv6."""
    return ":" in address


def ethernet(
    ends: tuple[str, str], payload: bytes, kind: int = 0, tags: tuple[int, ...] = ()
) -> bytes:
    """Return a frame between (from, to) MAC addresses; ``kind`` 0 is that of the IP payload."""
    kind = kind or (IPV6 if payload[0] >> 4 == 6 else IP)
    vlans = b"".join(struct.pack("!HH", tag, 0) for tag in tags)
    return mac(ends[1]) + mac(ends[0]) + vlans + struct.pack("!H", kind) + payload


def ip(ends: tuple[str, str], protocol: int, payload: bytes, hops: int = HOP_LIMIT) -> bytes:
    """Return a packet between (from, to) addresses."""
    if is_ipv6(ends[0]):
        header = struct.pack("!IHBB", 6 << 28, len(payload), protocol, hops)
        return header + packed(ends[0]) + packed(ends[1]) + payload
    return _ip4(ends, protocol, payload, (hops, 0, b""))


def ip4_options(ends: tuple[str, str], protocol: int, payload: bytes, options: bytes) -> bytes:
    """Return an IPv4 packet with options, a multiple of four bytes."""
    return _ip4(ends, protocol, payload, (HOP_LIMIT, 0, options))


def _ip4(
    ends: tuple[str, str], protocol: int, payload: bytes, rest: tuple[int, int, bytes]
) -> bytes:
    hops, fragment, options = rest
    length = 20 + len(options)
    start = struct.pack("!BBHHH", 0x40 + length // 4, 0, length + len(payload), 7, fragment)
    middle = struct.pack("!BBH", hops, protocol, 0)
    header = start + middle + packed(ends[0]) + packed(ends[1]) + options
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + payload


def fragments(ends: tuple[str, str], protocol: int, payload: bytes, size: int) -> list[bytes]:
    """Return a packet in fragments that carry ``size`` bytes each, a multiple of eight."""
    found = []
    for offset in range(0, len(payload), size):
        part, more = payload[offset : offset + size], offset + size < len(payload)
        if is_ipv6(ends[0]):
            header = struct.pack("!BBHI", protocol, 0, offset | more, 7)
            found.append(ip(ends, FRAGMENT, header + part))
        else:
            word = offset // 8 | (MORE_FRAGMENTS if more else 0)
            found.append(_ip4(ends, protocol, part, (HOP_LIMIT, word, b"")))
    return found


def udp(ends: tuple[str, str], ports: tuple[int, int], payload: bytes) -> bytes:
    """Return a datagram between (from, to) ports with its checksum."""
    length = 8 + len(payload)
    header = struct.pack("!HHHH", *ports, length, 0)
    total = checksum(_pseudo_header(ends, UDP, length) + header + payload) or 0xFFFF
    return header[:6] + struct.pack("!H", total) + payload


def tcp(ends: tuple[str, str], ports: tuple[int, int], flags: Flags, payload: bytes) -> bytes:
    """Return a segment with arbitrary sequence numbers."""
    header = struct.pack("!HHIIBBHHH", *ports, 1000, 2000, 5 << 4, flags, 0xFFFF, 0, 0)
    length = len(header) + len(payload)
    total = checksum(_pseudo_header(ends, TCP, length) + header + payload)
    return header[:16] + struct.pack("!H", total) + header[18:] + payload


def icmp(ends: tuple[str, str], kind: tuple[int, int], body: bytes) -> bytes:
    """Return an ICMP message of (type, code) for the family of its ends."""
    head = struct.pack("!BBH", *kind, 0)
    covered = head + body
    if is_ipv6(ends[0]):
        covered = _pseudo_header(ends, ICMPV6, len(covered)) + covered
    return head[:2] + struct.pack("!H", checksum(covered)) + body


def arp(
    operation: int, sender: tuple[str, str], target: tuple[str, str], hardware: int = 1
) -> bytes:
    """Return an ARP message; ``sender`` and ``target`` are (MAC, IPv4) addresses."""
    head = struct.pack("!HHBBH", hardware, IP, 6, 4, operation)
    return head + b"".join(mac(ether) + packed(address) for ether, address in (sender, target))


def checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071)."""
    data += bytes(len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total


def _pseudo_header(ends: tuple[str, str], protocol: int, length: int) -> bytes:
    both = packed(ends[0]) + packed(ends[1])
    if is_ipv6(ends[0]):
        return both + struct.pack("!II", length, protocol)
    return both + struct.pack("!BBH", 0, protocol, length)


def send_frames(device: str, sent: list[bytes]) -> None:
    """Send frames out of a device of this namespace."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind((device, 0))
        for frame in sent:
            raw.send(frame)
