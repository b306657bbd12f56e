"""The one canonical text of a set element, to and from nft.

Protocols are written as numbers: nft resolves their names through ``/etc/protocols``, which a
minimal system does not have. (``nft list`` still prints names where that file exists.)
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from types import MappingProxyType
from typing import Any, Final

from enforcer.errors import DecodeError
from enforcer.nft.objects import FieldType

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

INTERFACE_BYTES: Final = 16  # IFNAMSIZ
SEPARATOR: Final = " . "

PROTOCOL_NUMBERS = MappingProxyType(
    {"icmp": 1, "ipencap": 4, "ipip": 4, "tcp": 6, "udp": 17, "ipv6": 41, "gre": 47}
    | {"ipv6-icmp": 58, "icmpv6": 58, "sctp": 132, "udplite": 136}
)


def address(value: IPAddress) -> str:
    """Return an address as an element."""
    return str(value)


def network(value: IPNetwork) -> str:
    """Return a network as an element; nft shows a full-length prefix as a plain address."""
    return str(value.network_address) if value.prefixlen == value.max_prefixlen else str(value)


def ports(first: int, last: int) -> str:
    """Return a port, or a range of ports, as an element."""
    return str(first) if first == last else f"{first}-{last}"


def interface(name: str) -> str:
    """Return an interface name as an element."""
    return f'"{name}"'


def integer(value: int) -> str:
    """Return a number that is matched against raw payload as an element."""
    return f"{value:#x}"


def concat(*parts: str) -> str:
    """Return the concatenation of parts as an element."""
    return SEPARATOR.join(parts)


def decode(element: Any, fields: Sequence[FieldType]) -> str:
    """Return the canonical text of an element from ``nft -j``.

    Raises DecodeError for a form that no set of ours has.
    """
    if isinstance(element, dict) and "elem" in element:
        element = element["elem"]["val"]
    parts = element["concat"] if isinstance(element, dict) and "concat" in element else [element]
    if len(parts) != len(fields):
        msg = f"a set element has {len(parts)} fields instead of {len(fields)}: {element!r}"
        raise DecodeError(msg)
    return concat(*(_decode_field(part, kind) for part, kind in zip(parts, fields, strict=True)))


def _decode_field(part: Any, kind: FieldType) -> str:
    if isinstance(part, dict):
        return _decode_span(part, kind)
    match kind:
        case FieldType.IPV6:
            return str(ipaddress.IPv6Address(part))
        case FieldType.INTERFACE:
            return interface(part)
        case FieldType.PROTOCOL:
            return str(PROTOCOL_NUMBERS.get(part, part))
        case FieldType.ND_TARGET:
            return integer(int(str(part), 0))
        case (
            FieldType.IPV4
            | FieldType.PORT
            | FieldType.MAC
            | FieldType.ETHER_TYPE
            | FieldType.CT_STATE
        ):
            return str(part)


def _decode_span(part: dict[str, Any], kind: FieldType) -> str:
    if "prefix" in part:
        prefix = part["prefix"]
        return f"{_decode_field(prefix['addr'], kind)}/{prefix['len']}"
    if "range" in part:
        first, last = part["range"]
        return f"{_decode_field(first, kind)}-{_decode_field(last, kind)}"
    msg = f"a set element has a form that none of ours has: {part!r}"
    raise DecodeError(msg)


def spans(text: str, fields: Sequence[FieldType]) -> list[tuple[bytes, bytes]]:
    """Return the first and the last value of each field of an element, as the kernel has them."""
    parts = text.split(SEPARATOR)
    return [_span(part, field) for part, field in zip(parts, fields, strict=True)]


def _span(text: str, field: FieldType) -> tuple[bytes, bytes]:
    """Return the first and the last value of a part: of a network, a range, or one value."""
    if field in (FieldType.IPV4, FieldType.IPV6) and "/" in text:
        network = ipaddress.ip_network(text)
        return network.network_address.packed, network.broadcast_address.packed
    if field is FieldType.INTERFACE:
        name = text.strip('"').encode().ljust(INTERFACE_BYTES, b"\0")
        return name, name
    first, dash, last = text.partition("-")
    begin = _value(first, field)
    return begin, _value(last, field) if dash else begin


def _value(text: str, field: FieldType) -> bytes:
    match field:
        case FieldType.IPV4:
            return socket.inet_aton(text)
        case FieldType.IPV6:
            return socket.inet_pton(socket.AF_INET6, text)
        case FieldType.PORT:
            return int(text).to_bytes(2, "big")
        case FieldType.PROTOCOL:
            return bytes((int(text),))
        case _:
            raise AssertionError(field)
