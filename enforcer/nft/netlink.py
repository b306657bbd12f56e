"""Netfilter's own messages, where a process would be too much.

Four questions (the generation of the ruleset, the rules of a chain, what is noted of sets, whether
any conntrack entry carries a mark), and transactions that somebody else has put into messages.
https://docs.kernel.org/userspace-api/netlink/intro.html
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Self

from enforcer.errors import EnforcerError, KernelError, LostRaceError, MissingError

NETLINK_NETFILTER: Final = 12
NLM_F_REQUEST: Final = 0x1
NLM_F_DUMP: Final = 0x300
NLMSG_ERROR: Final = 2
NLMSG_DONE: Final = 3
NLA_TYPE_MASK: Final = 0x3FFF
NLA_F_NESTED: Final = 0x8000
NLM_F_ACK: Final = 0x4
NLM_F_ECHO: Final = 0x8
SO_SNDBUFFORCE: Final = 32

NFNL_SUBSYS_CTNETLINK: Final = 1
IPCTNL_MSG_CT_GET: Final = 1
CTA_MARK: Final = 8
CTA_MARK_MASK: Final = 21

NFNL_SUBSYS_NFTABLES: Final = 10
NFT_MSG_NEWRULE: Final = 6
NFT_MSG_GETRULE: Final = 7
NFT_MSG_GETSET: Final = 10
NFT_MSG_GETGEN: Final = 16
NFTA_GEN_ID: Final = 1
NFTA_SET_TABLE: Final = 1
NFTA_SET_USERDATA: Final = 13
NFTA_RULE_TABLE: Final = 1
NFTA_RULE_CHAIN: Final = 2
NFTA_RULE_HANDLE: Final = 3
NFTA_RULE_USERDATA: Final = 7
COMMENT: Final = 0  # NFTNL_UDATA_RULE_COMMENT of libnftnl

NFNL_MSG_BATCH_BEGIN: Final = 16
NFNL_MSG_BATCH_END: Final = 17
NFNL_BATCH_GENID: Final = 1

HEADER: Final = struct.Struct("=IHHII")  # length, type, flags, sequence, port
NFGEN: Final = struct.Struct("!BBH")  # family, version, resource
ERROR_CODE: Final = struct.Struct("=i")
ATTRIBUTE: Final = struct.Struct("=HH")
PADDING: Final = (b"", b"\0", b"\0\0", b"\0\0\0")
_RULE_MADE: Final = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWRULE
_NFTABLES: Final = NFGEN.pack(socket.AF_UNSPEC, 0, NFNL_SUBSYS_NFTABLES)
RECEIVE_BYTES: Final = 1 << 17
TIMEOUT_SECONDS: Final = 10.0


class Netfilter:
    """A socket to netfilter, in the network namespace of who asks first.

    It stays open: when one is closed, nf_tables waits for a grace period of RCU, 15 ms. After an
    error it is thrown away, since answers may be left in it.
    """

    def __init__(self) -> None:
        """Nothing is opened yet."""
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        """Close it at the end."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close the socket; the next question opens another one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    __del__ = close

    def generation(self) -> int:
        """Return the number that grows by one with every committed nftables transaction, by anyone.

        One that changes nothing is not counted; after 2**32 - 1 comes 1.
        """
        kind = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN
        for payload in self._ask(kind, NLM_F_REQUEST, b""):
            for attribute, value in _attributes(payload):
                if attribute == NFTA_GEN_ID:
                    return int(struct.unpack("!I", value)[0])
        msg = "the kernel did not tell the generation of its nftables ruleset"
        raise KernelError(msg)

    def is_mark_in_use(self, mark: int, mask: int) -> bool:
        """Whether a conntrack entry of this network namespace has ``mark`` in the bits of ``mask``.

        One dump, filtered in the kernel.
        """
        filters = number(CTA_MARK, mark) + number(CTA_MARK_MASK, mask)
        kind = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET
        return any(
            struct.unpack("!I", value)[0] & mask == mark
            for payload in self._ask(kind, NLM_F_REQUEST | NLM_F_DUMP, filters)
            for attribute, value in _attributes(payload)
            if attribute == CTA_MARK
        )

    def rules(self, family: int, table: str, chain: str) -> list[tuple[int, str]]:
        """Return handle and comment of each rule of a chain, in order."""
        wanted = string(NFTA_RULE_TABLE, table) + string(NFTA_RULE_CHAIN, chain)
        kind = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETRULE
        found = []
        for payload in self._ask(kind, NLM_F_REQUEST | NLM_F_DUMP, wanted, family):
            comment = dict(_attributes(payload)).get(NFTA_RULE_USERDATA, b"")
            found.append((_handle(payload), _comment(comment)))
        return found

    def set_notes(self, family: int, table: str) -> list[bytes]:
        """Return the user data of each set and map of a table, those of rules included."""
        kind = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETSET
        answers = self._ask(kind, NLM_F_REQUEST | NLM_F_DUMP, b"", family)
        found = [dict(_attributes(payload)) for payload in answers]
        name = table.encode() + b"\0"
        return [it.get(NFTA_SET_USERDATA, b"") for it in found if it[NFTA_SET_TABLE] == name]

    def commit(self, messages: Sequence[tuple[int, int, int, bytes]], generation: int) -> list[int]:
        """Run nftables messages as one transaction: all of them or nothing.

        Return the handles of the rules whose messages ask for an echo, in their order.

        KernelError where the kernel refuses one of them; LostRaceError where the ruleset is of
        another ``generation`` by now.
        """
        genid = number(NFNL_BATCH_GENID, generation)
        parts = [_message(NFNL_MSG_BATCH_BEGIN, 0, 0, _NFTABLES + genid)]
        for place, (kind, flags, family, attributes) in enumerate(messages, 1):
            # One acknowledgement is enough: of the last, after all went well.
            asked = flags | NLM_F_ACK if place == len(messages) else flags
            body = NFGEN.pack(family, 0, 0) + attributes
            parts.append(_message(NFNL_SUBSYS_NFTABLES << 8 | kind, asked, place, body))
        parts.append(_message(NFNL_MSG_BATCH_END, 0, len(messages) + 1, _NFTABLES))
        data = b"".join(parts)
        with self._channel() as channel:
            channel.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, len(data) + RECEIVE_BYTES)
            channel.send(data)
            return _await_commit(channel, len(messages))

    def _ask(
        self, kind: int, flags: int, attributes: bytes, family: int = socket.AF_UNSPEC
    ) -> list[bytes]:
        """Send one request and return the payload of every message of the answer."""
        message = _message(kind, flags, 1, NFGEN.pack(family, 0, 0) + attributes)
        with self._channel() as channel:
            channel.send(message)
            return list(_answers(channel, more=bool(flags & NLM_F_DUMP)))

    @contextmanager
    def _channel(self) -> Iterator[socket.socket]:
        """Give the socket, and say in our words what goes wrong with it."""
        try:
            if self._socket is None:
                self._socket = _opened()
            yield self._socket
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                raise _in_our_words(error) from error
            raise


def _opened() -> socket.socket:
    channel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
    channel.settimeout(TIMEOUT_SECONDS)
    return channel


def _in_our_words(error: OSError) -> EnforcerError:
    if isinstance(error, PermissionError):
        return MissingError("netfilter's state needs CAP_NET_ADMIN; run as root")
    if error.errno == errno.ENOBUFS:
        # An answer was lost: what was asked for may have been done, or not.
        return KernelError(f"the kernel had no room for its answer ({error.strerror})")
    return KernelError(f"netfilter's netlink socket failed ({error}); is nf_tables in this kernel?")


def ruleset_generation() -> int:
    """Ask for :meth:`Netfilter.generation`, once."""
    with Netfilter() as netfilter:
        return netfilter.generation()


def is_mark_in_use(mark: int, mask: int) -> bool:
    """Ask for :meth:`Netfilter.is_mark_in_use`, once."""
    with Netfilter() as netfilter:
        return netfilter.is_mark_in_use(mark, mask)


def _handle(rule: bytes) -> int:
    values = (value for kind, value in _attributes(rule) if kind == NFTA_RULE_HANDLE)
    return int.from_bytes(next(values), "big")


def _comment(userdata: bytes) -> str:
    """Return the comment in a rule's user data."""
    return notes(userdata).get(COMMENT, b"").rstrip(b"\0").decode(errors="replace")


def _message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    return HEADER.pack(HEADER.size + len(body), kind, flags | NLM_F_REQUEST, sequence, 0) + body


def _await_commit(channel: socket.socket, last: int) -> list[int]:
    """Wait for the last message's acknowledgement, or for an error of any.

    The echoes come before it: return the handles of the rules that were made.
    """
    made: list[int] = []
    while True:
        data = channel.recv(RECEIVE_BYTES)
        offset = 0
        while offset + HEADER.size <= len(data):
            length, kind, _, sequence, _ = HEADER.unpack_from(data, offset)
            if kind == _RULE_MADE:
                made.append(_handle(data[offset + HEADER.size : offset + length]))
            if kind == NLMSG_ERROR:
                code = -ERROR_CODE.unpack_from(data, offset + HEADER.size)[0]
                if code == errno.ERESTART:
                    msg = "somebody else has changed a table meanwhile"
                    raise LostRaceError(msg)
                if code:
                    raise KernelError(f"the kernel refused the change: {os.strerror(code)}")
                if sequence == last:
                    return made
            offset += length + 3 & ~3


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


def attribute(kind: int, value: bytes) -> bytes:
    """Return an attribute, padded."""
    length = ATTRIBUTE.size + len(value)
    return ATTRIBUTE.pack(length, kind) + value + PADDING[-length & 3]


def padded(value: bytes) -> bytes:
    """Return a value filled up to whole words of 32 bits."""
    return value + PADDING[-len(value) & 3]


def nested(kind: int, value: bytes) -> bytes:
    """Return an attribute that holds attributes."""
    return attribute(kind | NLA_F_NESTED, value)


def number(kind: int, value: int) -> bytes:
    """Return an attribute that holds a number: in nf_tables, of 32 bits in network order."""
    return attribute(kind, struct.pack("!I", value))


def string(kind: int, value: str) -> bytes:
    """Return an attribute that holds a string."""
    return attribute(kind, value.encode() + b"\0")


def note(kind: int, value: bytes) -> bytes:
    """Return an entry of the user data of a rule or set, as libnftnl writes it."""
    return bytes((kind, len(value))) + value


def notes(userdata: bytes) -> dict[int, bytes]:
    """Return the entries of the user data of a rule or set by kind."""
    found = {}
    while len(userdata) > 1:
        kind, length = userdata[0], userdata[1]
        found[kind] = userdata[2 : 2 + length]
        userdata = userdata[2 + length :]
    return found
