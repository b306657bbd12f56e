"""Packets that rules log to an NFLOG group, read from a raw netlink socket.

The kernel hands over, beside the packet's head, the rule's prefix and the packet's connection as
conntrack knows it, which tells the true client and the true server whatever NAT is done.
https://git.kernel.org/pub/scm/linux/kernel/git/torvalds/linux.git/tree/include/uapi/linux/netfilter/nfnetlink_log.h
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Self

from enforcer.errors import KernelError, MissingError
from enforcer.model.net import IPAddress
from enforcer.nft.netlink import (
    ATTRIBUTE,
    ERROR_CODE,
    HEADER,
    NETLINK_NETFILTER,
    NFGEN,
    NLA_TYPE_MASK,
    NLM_F_REQUEST,
    NLMSG_ERROR,
    RECEIVE_BYTES,
)

NLM_F_ACK: Final = 0x4
NFNL_SUBSYS_ULOG: Final = 4
NFULNL_MSG_PACKET: Final = 0
NFULNL_MSG_CONFIG: Final = 1

NFULA_PAYLOAD: Final = 9
NFULA_PREFIX: Final = 10
NFULA_CT: Final = 18

NFULA_CFG_CMD: Final = 1
NFULA_CFG_MODE: Final = 2
NFULA_CFG_TIMEOUT: Final = 4
NFULA_CFG_FLAGS: Final = 6
NFULNL_CFG_CMD_BIND: Final = b"\x01"
NFULNL_COPY_PACKET: Final = 2
NFULNL_CFG_F_CONNTRACK: Final = 4

CTA_TUPLE_ORIG, CTA_TUPLE_REPLY = 1, 2
CTA_TUPLE_IP, CTA_TUPLE_PROTO = 1, 2
CTA_IP_V4_SRC, CTA_IP_V6_SRC = 1, 3
CTA_PROTO_NUM, CTA_PROTO_SRC_PORT = 1, 2

HEAD_BYTES: Final = 96
"""Of each packet: enough for an IP header and the ports, without the data of anybody."""
DELAY: Final = 10
"""Hundredths of a second for which the kernel may collect packets into one message."""
ANSWER_SECONDS: Final = 5.0
IPV4, IPV6 = 4, 6
WITH_PORTS: Final = frozenset({6, 17, 33, 132, 136})


@dataclass(frozen=True, slots=True)
class Flow:
    """A connection by its true ends; ports are 0 where the protocol has none."""

    protocol: int
    client: IPAddress
    client_port: int
    server: IPAddress
    server_port: int


@dataclass(frozen=True, slots=True)
class Logged:
    """A packet that a rule logged: the rule's prefix, and whose packet it was."""

    prefix: str
    flow: Flow


class LogReader:
    """Receives what is logged to a group in this network namespace.

    One reader a group: KernelError when another program has it, MissingError where the kernel
    cannot log.
    """

    def __init__(self, group: int) -> None:
        """Bind to the group."""
        self._group = group
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        except OSError as error:
            raise MissingError(f"no netfilter netlink socket: {error.strerror}") from error
        try:
            self._configure()
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        """Return itself; leaving closes it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Give the group free."""
        self._socket.close()

    def fileno(self) -> int:
        """Return the file descriptor, which becomes readable when something was logged."""
        return self._socket.fileno()

    def read(self) -> tuple[list[Logged], bool]:
        """Return what was logged since, without waiting, and whether the kernel lost some."""
        try:
            data = self._socket.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return [], False
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise KernelError(f"reading the deny log failed: {error.strerror}") from error
            return [], True
        return list(decode(data)), False

    def _configure(self) -> None:
        self._socket.settimeout(ANSWER_SECONDS)
        mode = struct.pack("!IBB", HEAD_BYTES, NFULNL_COPY_PACKET, 0)
        self._ask(_attribute(NFULA_CFG_CMD, NFULNL_CFG_CMD_BIND))
        self._ask(
            _attribute(NFULA_CFG_MODE, mode)
            + _attribute(NFULA_CFG_TIMEOUT, struct.pack("!I", DELAY))
        )
        try:
            flags = struct.pack("!H", NFULNL_CFG_F_CONNTRACK)
            self._ask(_attribute(NFULA_CFG_FLAGS, flags))
        except KernelError:
            pass  # a kernel without it: the packet's own header has to do
        self._socket.setblocking(False)  # noqa: FBT003 - the standard library's signature

    def _ask(self, attributes: bytes) -> None:
        body = NFGEN.pack(socket.AF_UNSPEC, 0, self._group) + attributes
        kind = NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_CONFIG
        message = HEADER.pack(HEADER.size + len(body), kind, NLM_F_REQUEST | NLM_F_ACK, 1, 0)
        try:
            self._socket.send(message + body)
            code = _error_in(self._socket.recv(RECEIVE_BYTES))
        except OSError as error:
            raise KernelError(f"NFLOG group {self._group}: {error.strerror}") from error
        if code in (errno.EPERM, errno.EBUSY):  # the kernel says the former for both
            raise KernelError(
                f"NFLOG group {self._group} is read by another program, or CAP_NET_ADMIN is missing"
            )
        if code:
            raise KernelError(f"NFLOG group {self._group}: {os.strerror(code)}")


def _error_in(data: bytes) -> int:
    for kind, payload in _messages(data):
        if kind == NLMSG_ERROR:
            return -int(ERROR_CODE.unpack_from(payload)[0])
    return 0


def decode(data: bytes) -> Iterator[Logged]:
    """Yield the logged packets in what was received; what cannot be understood is skipped."""
    wanted = NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_PACKET
    for kind, payload in _messages(data):
        if kind != wanted:
            continue
        fields = _attributes(payload[NFGEN.size :])
        flow = _flow_of_connection(fields.get(NFULA_CT)) or _flow_of_packet(
            fields.get(NFULA_PAYLOAD, b"")
        )
        if flow is not None:
            prefix = fields.get(NFULA_PREFIX, b"").rstrip(b"\0").decode(errors="replace")
            yield Logged(prefix, flow)


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + HEADER.size <= len(data):
        length, kind, *_ = HEADER.unpack_from(data, offset)
        if length < HEADER.size:
            return
        yield kind, data[offset + HEADER.size : offset + length]
        offset += length + 3 & ~3


def _attributes(data: bytes) -> Mapping[int, bytes]:
    found: dict[int, bytes] = {}
    offset = 0
    while offset + ATTRIBUTE.size <= len(data):
        length, kind = ATTRIBUTE.unpack_from(data, offset)
        if length < ATTRIBUTE.size:
            break
        found[kind & NLA_TYPE_MASK] = data[offset + ATTRIBUTE.size : offset + length]
        offset += length + 3 & ~3
    return found


def _flow_of_connection(data: bytes | None) -> Flow | None:
    """Return who began the connection and who answers in it."""
    if data is None:
        return None
    tuples = _attributes(data)
    client = _source(tuples.get(CTA_TUPLE_ORIG, b""))
    server = _source(tuples.get(CTA_TUPLE_REPLY, b""))
    if client is None or server is None:
        return None
    return Flow(client[0], *client[1:], *server[1:])


def _source(data: bytes) -> tuple[int, IPAddress, int] | None:
    """Return protocol, source address and source port of one direction of a connection."""
    parts = _attributes(data)
    addresses = _attributes(parts.get(CTA_TUPLE_IP, b""))
    protocol = _attributes(parts.get(CTA_TUPLE_PROTO, b""))
    packed = addresses.get(CTA_IP_V4_SRC) or addresses.get(CTA_IP_V6_SRC)
    number = protocol.get(CTA_PROTO_NUM)
    if packed is None or number is None:
        return None
    port = int.from_bytes(protocol.get(CTA_PROTO_SRC_PORT, b""), "big")
    return number[0], ipaddress.ip_address(packed), port


def _flow_of_packet(packet: bytes) -> Flow | None:
    """Read a packet's own header: right but for NAT, and for answers, whose roles are swapped."""
    version = packet[0] >> 4 if packet else 0
    try:
        if version == IPV4:
            start, protocol = (packet[0] & 0xF) * 4, packet[9]
            ends = packet[12:16], packet[16:20]
        elif version == IPV6:
            start, protocol = 40, packet[6]
            ends = packet[8:24], packet[24:40]
        else:
            return None
        ports = (0, 0)
        if protocol in WITH_PORTS and len(packet) >= start + 4:
            ports = struct.unpack_from("!HH", packet, start)
        source, destination = map(ipaddress.ip_address, ends)
    except (IndexError, ValueError):
        return None
    return Flow(protocol, source, ports[0], destination, ports[1])


def _attribute(kind: int, value: bytes) -> bytes:
    padding = b"\0" * (-len(value) % 4)
    return ATTRIBUTE.pack(ATTRIBUTE.size + len(value), kind) + value + padding
