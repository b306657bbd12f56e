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

from enforcer.model.net import Family, IPAddress
from enforcer.nft.elements import address, concat
from enforcer.nft.objects import FieldType, Ruleset, Set, Table
from enforcer.policy.compiled import LocalPod
from enforcer.ruleset.names import ADDRESS_FIELDS, JUDGES


def owner_set(pods: Iterable[LocalPod], family: Family) -> Set:
    """Return the set of addresses and owners; an owner is a hash, in the form of an address."""
    return Set(
        _name(family),
        (ADDRESS_FIELDS[family], FieldType.IPV6),
        frozenset(
            concat(address(known), _owner(pod))
            for pod in pods
            for known in pod.addresses
            if known.version == family.value
        ),
        comment="whose an address is; no rule asks",
    )


def _name(family: Family) -> str:
    return f"owner{family.value}"


def knows_owners(table: Table) -> bool:
    """Whether a table remembers whose each address is."""
    return any(_name(family) in table.sets for family in Family)


def orphaned_addresses(have: Ruleset, want: Ruleset) -> frozenset[IPAddress]:
    """Return the addresses that had another owner before, or have none any more."""
    return frozenset(
        ipaddress.ip_address(element.partition(" . ")[0])
        for element in _elements(have) - _elements(want)
    )


def with_owners_of(have: Ruleset, want: Ruleset) -> Ruleset:
    """Return ``want`` with the owners that ``have`` knows."""
    tables = dict(want.tables)
    for family, id_ in JUDGES.items():
        old = have.tables.get(id_)
        if old is not None and _name(family) in old.sets:
            sets = {**tables[id_].sets, _name(family): old.sets[_name(family)]}
            tables[id_] = replace(tables[id_], sets=sets)
    return Ruleset(tables)


def _owner(pod: LocalPod) -> str:
    digest = blake2s(f"{pod.key} {pod.uid}".encode(), digest_size=16).digest()
    return str(ipaddress.IPv6Address(digest))


def _elements(found: Ruleset) -> frozenset[str]:
    """Return what a ruleset that keeps connections knows; nothing of one that does not."""
    sets = (
        table.sets[_name(family)].elements
        for family, id_ in JUDGES.items()
        if (table := found.tables.get(id_)) is not None and _name(family) in table.sets
    )
    return frozenset().union(*sets)
