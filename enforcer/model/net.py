"""Addresses, networks, protocols and ports.

Members of enums are keys of sets of thousands here: they hash by identity, as the one object that
each of them is, and not in Python by their names.
"""

from __future__ import annotations

import enum
import ipaddress
from dataclasses import dataclass

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

LAST_PORT = 65535


class Family(enum.Enum):
    """An address family; the value is the IP version."""

    IPV4 = 4
    IPV6 = 6

    __hash__ = object.__hash__


class Direction(enum.Enum):
    """The direction of a connection as its isolated pod sees it."""

    INGRESS = "ingress"
    EGRESS = "egress"

    __hash__ = object.__hash__


class Protocol(enum.Enum):
    """The transport protocols that a NetworkPolicyPort can name."""

    TCP = "TCP"
    UDP = "UDP"
    SCTP = "SCTP"

    __hash__ = object.__hash__


@dataclass(frozen=True, slots=True)
class PortRange:
    """Ports ``first`` to ``last`` (both included) of one protocol."""

    protocol: Protocol
    first: int
    last: int

    @property
    def is_single(self) -> bool:
        """Whether the range holds one port only."""
        return self.first == self.last


_FAMILIES = {family.value: family for family in Family}  # asked thousands of times a change


def family_of(item: IPAddress | IPNetwork) -> Family:
    """Return the family of an address or a network."""
    return _FAMILIES[item.version]
