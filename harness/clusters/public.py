"""The addresses that a host outside of a cluster owns, whatever the cluster is made of."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network

PUBLIC_NETWORKS = (
    IPv4Network("14.215.0.0/16"),
    IPv4Network("14.216.0.0/16"),
    IPv4Network("8.8.8.0/24"),
    IPv4Network("198.51.100.0/24"),
    IPv4Network("203.0.113.0/24"),
)
"""What the outside host owns: inside and outside of the study's CIDR, and other public ranges."""
PUBLIC_NETWORKS6 = (
    IPv6Network("2001:db8:14:215::/64"),
    IPv6Network("2001:db8:14:216::/64"),
    IPv6Network("2001:db8:8:8::/64"),
    IPv6Network("3fff:198:51::/48"),
    IPv6Network("3fff:203::/48"),
)
"""Their counterparts in IPv6, one by one, out of what RFC 3849 and RFC 9637 keep for examples."""
