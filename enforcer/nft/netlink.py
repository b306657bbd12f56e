"""Two questions to the kernel for which a process would be too much, as raw netlink messages.

The generation of the ruleset, and whether any conntrack entry carries a mark.
https://docs.kernel.org/userspace-api/netlink/intro.html
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from typing import Final

from enforcer.errors import KernelError, MissingError

NETLINK_NETFILTER: Final = 12
NLM_F_REQUEST: Final = 0x1
NLM_F_DUMP: Final = 0x300
NLMSG_ERROR: Final = 2
NLMSG_DONE: Final = 3
NLA_TYPE_MASK: Final = 0x3FFF

NFNL_SUBSYS_CTNETLINK: Final = 1
IPCTNL_MSG_CT_GET: Final = 1
CTA_MARK: Final = 8
CTA_MARK_MASK: Final = 21

NFNL_SUBSYS_NFTABLES: Final = 10
NFT_MSG_GETGEN: Final = 16
NFTA_GEN_ID: Final = 1

HEADER: Final = struct.Struct("=IHHII")  # length, type, flags, sequence, port
NFGEN: Final = struct.Struct("!BBH")  # family, version, resource
ERROR_CODE: Final = struct.Struct("=i")
ATTRIBUTE: Final = struct.Struct("=HH")
RECEIVE_BYTES: Final = 1 << 17
TIMEOUT_SECONDS: Final = 10.0


def ruleset_generation() -> int:
    """Return the number that grows by one with every committed nftables transaction, by anyone.

    One that changes nothing is not counted; after 2**32 - 1 comes 1.
    """
    kind = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN
    for payload in _ask(kind, NLM_F_REQUEST, b""):
        for attribute, value in _attributes(payload):
            if attribute == NFTA_GEN_ID:
                return int(struct.unpack("!I", value)[0])
    msg = "the kernel did not tell the generation of its nftables ruleset"
    raise KernelError(msg)


def is_mark_in_use(mark: int, mask: int) -> bool:
    """Whether a conntrack entry of this network namespace has ``mark`` in the bits of ``mask``.

    One dump, filtered in the kernel.
    """
    filters = _attribute(CTA_MARK, struct.pack("!I", mark)) + _attribute(
        CTA_MARK_MASK, struct.pack("!I", mask)
    )
    kind = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET
    return any(
        struct.unpack("!I", value)[0] & mask == mark
        for payload in _ask(kind, NLM_F_REQUEST | NLM_F_DUMP, filters)
        for attribute, value in _attributes(payload)
        if attribute == CTA_MARK
    )


def _ask(kind: int, flags: int, attributes: bytes) -> Iterator[bytes]:
    """Send one request and yield the payload of every message of the answer."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as channel:
            channel.settimeout(TIMEOUT_SECONDS)
            body = NFGEN.pack(socket.AF_UNSPEC, 0, 0) + attributes
            channel.send(HEADER.pack(HEADER.size + len(body), kind, flags, 1, 0) + body)
            yield from _answers(channel, more=bool(flags & NLM_F_DUMP))
    except PermissionError as error:
        msg = "reading netfilter's state needs CAP_NET_ADMIN; run as root"
        raise MissingError(msg) from error
    except OSError as error:
        msg = f"netfilter's netlink socket failed ({error}); is nf_tables in this kernel?"
        raise KernelError(msg) from error


def _answers(channel: socket.socket, *, more: bool) -> Iterator[bytes]:
    while True:
        data = channel.recv(RECEIVE_BYTES)
        offset = 0
        while offset + HEADER.size <= len(data):
            length, kind, *_ = HEADER.unpack_from(data, offset)
            payload = data[offset + HEADER.size : offset + length]
            offset += length + 3 & ~3
            if kind == NLMSG_DONE:
                return
            if kind == NLMSG_ERROR:
                _raise_for(payload)
                return
            yield payload
        if not more:
            return


def _raise_for(payload: bytes) -> None:
    code = -ERROR_CODE.unpack_from(payload)[0]
    if code:
        raise OSError(code, os.strerror(code))


def _attributes(payload: bytes) -> Iterator[tuple[int, bytes]]:
    offset = NFGEN.size
    while offset + ATTRIBUTE.size <= len(payload):
        length, kind = ATTRIBUTE.unpack_from(payload, offset)
        if length < ATTRIBUTE.size:
            return
        yield kind & NLA_TYPE_MASK, payload[offset + ATTRIBUTE.size : offset + length]
        offset += length + 3 & ~3


def _attribute(kind: int, value: bytes) -> bytes:
    return ATTRIBUTE.pack(ATTRIBUTE.size + len(value), kind) + value
