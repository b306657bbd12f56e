"""Whose each local pod's address is: only where live connections are kept.

With ``--existing-connections=keep`` a stamp is for ever, and an address that passes on to another
pod would take its connections along. So the tables remember the owner of each address in two sets
that no rule asks; what an owner leaves behind is deleted from conntrack. With ``revoke`` there is
no need: every connection is judged again when a pod's address goes.

The sets change in a transaction of their own, after conntrack has forgotten: who is killed in
between finds the old owner in them, and does it again.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import replace
from hashlib import blake2s
from types import MappingProxyType

from enforcer.model.net import Family, IPAddress
from enforcer.nft.elements import address, concat
from enforcer.nft.objects import FieldType, Ruleset, Set
from enforcer.policy.compiled import LocalPod
from enforcer.ruleset.names import INET

_FIELDS = MappingProxyType({Family.IPV4: FieldType.IPV4, Family.IPV6: FieldType.IPV6})
_NAMES = tuple(f"owner{family.value}" for family in Family)


def owner_sets(pods: Iterable[LocalPod]) -> tuple[Set, ...]:
    """Return the sets of addresses and owners; an owner is a hash, in the form of an address."""
    owned = [(known, _owner(pod)) for pod in pods for known in pod.addresses]
    return tuple(
        Set(
            f"owner{family.value}",
            (_FIELDS[family], FieldType.IPV6),
            frozenset(
                concat(address(known), owner)
                for known, owner in owned
                if known.version == family.value
            ),
            comment="whose an address is; no rule asks",
        )
        for family in Family
    )


def orphaned_addresses(have: Ruleset, want: Ruleset) -> frozenset[IPAddress]:
    """Return the addresses that had another owner before, or have none any more."""
    return frozenset(
        ipaddress.ip_address(element.partition(" . ")[0])
        for element in _elements(have) - _elements(want)
    )


def with_owners_of(have: Ruleset, want: Ruleset) -> Ruleset:
    """Return ``want`` with the owners that ``have`` knows."""
    old, new = have.tables[INET], want.tables[INET]
    sets = {**new.sets, **{name: old.sets[name] for name in _NAMES}}
    return Ruleset({**want.tables, INET: replace(new, sets=sets)})


def _owner(pod: LocalPod) -> str:
    digest = blake2s(f"{pod.key} {pod.uid}".encode(), digest_size=16).digest()
    return str(ipaddress.IPv6Address(digest))


def _elements(found: Ruleset) -> frozenset[str]:
    """Return what a ruleset that keeps connections knows; nothing of one that does not."""
    table = found.tables.get(INET)
    if table is None or any(name not in table.sets for name in _NAMES):
        return frozenset()
    return frozenset().union(*(table.sets[name].elements for name in _NAMES))
