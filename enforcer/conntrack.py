"""Forgets connections: takes the entries of an address out of conntrack, as raw netlink messages.

For IPv4 the kernel filters the dump by address (``CTA_FILTER``, since 5.8); what an older one sends
besides is left out here. Its filter for IPv6 keeps what does *not* match (measured on 6.18;
``ctnetlink_filter_match_tuple`` takes 0 of ``ipv6_addr_cmp`` for different), so all IPv6 entries
are read. https://docs.kernel.org/netlink/specs/conntrack.html
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import struct
from collections.abc import Iterable, Iterator
from typing import Final

from enforcer.errors import KernelError
from enforcer.model.net import IPAddress
from enforcer.rtnetlink import (
    ERROR_CODE,
    HEADER,
    NLM_F_DUMP,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    RECEIVE_BYTES,
    TIMEOUT_SECONDS,
    attribute,
    attributes,
    messages,
)

CTNETLINK: Final = 1 << 8
GET, DELETE = CTNETLINK | 1, CTNETLINK | 2
NETLINK_NETFILTER: Final = 12
NLM_F_ACK: Final = 0x4
NESTED: Final = 0x8000
NFGEN: Final = struct.Struct("!BBH")  # family, version, resource

CTA_TUPLE_ORIGINAL, CTA_TUPLE_REPLY, CTA_ID, CTA_FILTER = 1, 2, 12, 25
CTA_TUPLE_IP: Final = 1
CTA_IP_SOURCE: Final = {4: 1, 6: 3}
CTA_FILTER_ORIGINAL_FLAGS, CTA_FILTER_REPLY_FLAGS = 1, 2
CTA_FILTER_IP_SOURCE: Final = struct.pack("=I", 1)

SIDES: Final = (
    (CTA_TUPLE_ORIGINAL, CTA_FILTER_ORIGINAL_FLAGS),  # it is the client
    (CTA_TUPLE_REPLY, CTA_FILTER_REPLY_FLAGS),  # it is the server
)


def forget(addresses: Iterable[IPAddress]) -> None:
    """Delete every entry whose true client or true server is one of these addresses."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as channel:
            channel.settimeout(TIMEOUT_SECONDS)
            for address in addresses:
                for side, flags in SIDES:
                    for entry in _entries(channel, address, (side, flags)):
                        _delete(channel, address, entry)
    except OSError as error:
        msg = f"connections of an address that was given back could not be deleted: {error}"
        raise KernelError(msg) from error


def _entries(channel: socket.socket, address: IPAddress, side: tuple[int, int]) -> list[bytes]:
    """Return the attributes that name each entry that has an address on one side."""
    source = attribute(CTA_IP_SOURCE[address.version], address.packed)
    wanted = _nested(side[0], _nested(CTA_TUPLE_IP, source))
    filters = _nested(CTA_FILTER, attribute(side[1], CTA_FILTER_IP_SOURCE))
    asked = wanted + filters if isinstance(address, ipaddress.IPv4Address) else b""
    found = _ask(channel, (GET, NLM_F_REQUEST | NLM_F_DUMP), _body(address, asked))
    return [_name(payload) for payload in found if _source(payload, side[0]) == address.packed]


def _name(payload: bytes) -> bytes:
    found = dict(attributes(payload, NFGEN.size))
    return _nested(CTA_TUPLE_ORIGINAL, found[CTA_TUPLE_ORIGINAL]) + attribute(CTA_ID, found[CTA_ID])


def _source(payload: bytes, side: int) -> bytes:
    tuple_ = dict(attributes(dict(attributes(payload, NFGEN.size))[side]))
    addresses = dict(attributes(tuple_[CTA_TUPLE_IP]))
    return addresses.get(CTA_IP_SOURCE[4], addresses.get(CTA_IP_SOURCE[6], b""))


def _delete(channel: socket.socket, address: IPAddress, entry: bytes) -> None:
    try:
        list(_ask(channel, (DELETE, NLM_F_REQUEST | NLM_F_ACK), _body(address, entry)))
    except OSError as error:
        if error.errno != errno.ENOENT:  # it has gone by itself
            raise


def _body(address: IPAddress, rest: bytes) -> bytes:
    is_ipv4 = isinstance(address, ipaddress.IPv4Address)
    family = socket.AF_INET if is_ipv4 else socket.AF_INET6
    return NFGEN.pack(family, 0, 0) + rest


def _ask(channel: socket.socket, kind: tuple[int, int], body: bytes) -> Iterator[bytes]:
    channel.send(HEADER.pack(HEADER.size + len(body), *kind, 1, 0) + body)
    while True:
        for answer, payload in messages(channel.recv(RECEIVE_BYTES)):
            if answer == NLMSG_DONE:
                return
            if answer == NLMSG_ERROR:
                if code := -ERROR_CODE.unpack_from(payload)[0]:
                    raise OSError(code, os.strerror(code))
                return
            yield payload


def _nested(kind: int, value: bytes) -> bytes:
    return attribute(kind | NESTED, value)
