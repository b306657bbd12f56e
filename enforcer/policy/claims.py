"""An address that several pods claim is nobody's peer, unless all of them would be selected alike.

It happens: an address is given to a new pod while the status of the old one still names it. Until
that is cleared up, nobody can tell whose the traffic is, and what the one may the other must not.
What it means for pods of this node is in :mod:`enforcer.policy.addresses`.
"""

from __future__ import annotations

from dataclasses import replace

from enforcer.model.net import IPAddress
from enforcer.model.objects import Key, Pod
from enforcer.policy.groups import Groups


class Claims:
    """Puts pods into groups of peers, without the addresses that others claim too."""

    def __init__(self, groups: Groups) -> None:
        """Fill these groups."""
        self._groups = groups
        self._owner: dict[IPAddress, Pod] = {}
        """The only pod that claims an address, as nearly always."""

        self._claimants: dict[IPAddress, dict[Key, Pod]] = {}
        """Who claims an address, where it is more than one."""

        self._narrowed: dict[Key, Pod] = {}
        """The pods that are in the groups without some of their addresses, as they are there."""

    def put(self, pod: Pod) -> None:
        """Add a pod that is not known yet."""
        for address in pod.addresses:
            if address in self._claimants:
                self._claimants[address][pod.key] = pod
            elif owner := self._owner.pop(address, None):
                self._claimants[address] = {owner.key: owner, pod.key: pod}
            else:
                self._owner[address] = pod
        self._enter(pod)
        for other in self._others(pod):
            self._renew(other)

    def remove(self, pod: Pod) -> None:
        """Take a pod away that was put as it is."""
        others = self._others(pod)
        for address in pod.addresses:
            claimants = self._claimants.get(address)
            if claimants is None:
                del self._owner[address]
                continue
            del claimants[pod.key]
            if len(claimants) == 1:
                (self._owner[address],) = claimants.values()
                del self._claimants[address]
        self._leave(pod)
        for other in others:
            self._renew(other)

    def is_contested(self, address: IPAddress) -> bool:
        """Whether pods claim an address that selectors may tell apart."""
        claimants = self._claimants.get(address)
        if claimants is None:
            return False
        first, *others = claimants.values()
        return any(not _are_alike(first, other) for other in others)

    def _others(self, pod: Pod) -> list[Pod]:
        """Return the other pods that claim an address of this one."""
        found = {
            key: other
            for address in pod.addresses
            for key, other in self._claimants.get(address, {}).items()
        }
        return [other for key, other in found.items() if key != pod.key]

    def _renew(self, pod: Pod) -> None:
        self._leave(pod)
        self._enter(pod)

    def _enter(self, pod: Pod) -> None:
        addresses = tuple(item for item in pod.addresses if not self.is_contested(item))
        if addresses != pod.addresses:
            pod = self._narrowed[pod.key] = replace(pod, addresses=addresses)
        if addresses:
            self._groups.put(pod)

    def _leave(self, pod: Pod) -> None:
        held = self._narrowed.pop(pod.key, pod)
        if held.addresses:
            self._groups.remove(held)


def _are_alike(one: Pod, other: Pod) -> bool:
    """Whether no selector and no named port can tell two pods apart."""
    return (one.key.namespace, one.labels, one.named_ports) == (
        other.key.namespace,
        other.labels,
        other.named_ports,
    )
