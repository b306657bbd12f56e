"""A selection follows its groups' changes, and is what a new one would be."""

from __future__ import annotations

import random
from ipaddress import ip_address

from enforcer.model.objects import Key, Namespace, Pod, PodPeer
from enforcer.model.selectors import EVERYTHING
from enforcer.policy.groups import Groups

EVERY_POD = PodPeer(EVERYTHING, EVERYTHING, own_namespace=False)


def pod(number: int, app: int, address: int) -> Pod:
    """Return a pod of one of some applications."""
    return Pod(Key("ns", f"pod-{number}"), "n", {"app": str(app)}, (ip_address(address),))


def test_a_selection_that_follows_changes_is_what_a_new_one_would_be() -> None:
    """Pods come, go, change labels and share addresses: nobody is missing and nobody is left."""
    draw = random.Random(5)
    groups = Groups()
    groups.put_namespace(Namespace("ns", {}))
    selection = groups.selection(EVERY_POD, "ns")
    there: dict[int, Pod] = {}
    for _ in range(3000):
        number = draw.randrange(30)
        if number in there:
            groups.remove(there.pop(number))
        else:
            there[number] = pod(number, draw.randrange(12), draw.randrange(1, 20))
            groups.put(there[number])
        if draw.random() < 0.3:
            wanted = {address for item in there.values() for address in item.addresses}
            assert selection.addresses == wanted


def test_a_change_that_leaves_the_addresses_leaves_the_object() -> None:
    """A pod that shares its address goes: the set is the very same one."""
    groups = Groups()
    groups.put_namespace(Namespace("ns", {}))
    one, two = pod(1, 1, 7), pod(2, 2, 7)
    groups.put(one)
    groups.put(two)
    selection = groups.selection(EVERY_POD, "ns")
    before = selection.addresses
    groups.remove(two)
    assert selection.addresses is before
