"""Addresses and networks as the Kubernetes API writes them.

Stricter than :mod:`ipaddress`: no zone, no netmask in dots, no address without a prefix, and no
IPv4-mapped IPv6, which never occurs on the wire and would let an ``except`` miss what it means.
"""

from __future__ import annotations

import ipaddress
import re

from enforcer.model.net import IPAddress, IPNetwork

_NETWORK = re.compile(r"[0-9a-fA-F:.]+/(0|[1-9][0-9]{0,2})")
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")


def parse_address(text: str) -> IPAddress:
    """Parse an IP address; ``ValueError`` says what is wrong with it."""
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address) and (address.scope_id or address in _MAPPED):
        message = f"{text!r} has a zone or is an IPv4-mapped IPv6 address"
        raise ValueError(message)
    return address


def parse_network(text: str) -> IPNetwork:
    """Parse a CIDR; ``ValueError`` says what is wrong with it.

    Bits set behind the prefix are ignored, as the API does (192.168.1.1/24 is its own example):
    https://kubernetes.io/docs/reference/kubernetes-api/policy-resources/network-policy-v1/
    """
    if _NETWORK.fullmatch(text) is None:
        message = f"{text!r} is no CIDR"
        raise ValueError(message)
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        message = f"{text!r} is no CIDR"
        raise ValueError(message) from error
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_MAPPED):
        message = f"{text!r} is a network of IPv4-mapped IPv6 addresses"
        raise ValueError(message)
    return network
