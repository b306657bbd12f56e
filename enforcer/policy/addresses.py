"""One pod an address: what happens while two pods of a node claim the same one.

It happens: an address is given to a new pod while the status of the old one still names it. Until
that is cleared up nobody can tell whose the traffic is, so only what both may exchange is allowed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from enforcer.model.changes import Kind
from enforcer.model.net import IPAddress
from enforcer.policy.compiled import Allowed, LocalPod, PolicyClass, Problem


def shared_addresses(pods: Sequence[tuple[IPAddress, ...]]) -> bool:
    """Whether an address belongs to more than one of the pods that have these addresses."""
    return len({address for pod in pods for address in pod}) < sum(map(len, pods))


def one_pod_per_address(
    pods: Sequence[LocalPod],
) -> tuple[tuple[LocalPod, ...], tuple[Problem, ...]]:
    """Return the pods with each address at one of them (the first), and who had to share."""
    owners: dict[IPAddress, int] = {}
    settled: list[LocalPod] = []
    problems: list[Problem] = []
    for pod in pods:
        newest = pod
        for owner in sorted({owners[address] for address in pod.addresses if address in owners}):
            first = settled[owner]
            newest = _narrowed(newest, first)
            settled[owner] = _narrowed(first, newest)
            problems.append(_problem(pod, first))
        own = tuple(address for address in pod.addresses if address not in owners)
        owners.update(dict.fromkeys(own, len(settled)))
        settled.append(newest if own == pod.addresses else replace(newest, addresses=own))
    return tuple(pod for pod in settled if pod.addresses), tuple(problems)


def _narrowed(pod: LocalPod, other: LocalPod) -> LocalPod:
    return replace(
        pod,
        ingress=_both(pod.ingress, other.ingress),
        egress=_both(pod.egress, other.egress),
    )


def _both(one: PolicyClass | None, other: PolicyClass | None) -> PolicyClass | None:
    """Return a class that allows no more than either; None allows everything."""
    if one is None or one == other:
        return other
    if other is None:
        return one
    policies = tuple(sorted({*one.policies, *other.policies}))
    return PolicyClass(one.direction, policies, Allowed())


def _problem(pod: LocalPod, first: LocalPod) -> Problem:
    message = (
        f"has an address of {first.key} too; until one of them gives it up, "
        "both are allowed only what the policies of both allow"
    )
    return Problem(pod.key, message, Kind.PODS)
