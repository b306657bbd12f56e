"""Policies that are enforced as they say and may not mean what their authors think."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from enforcer.model.net import IPNetwork
from enforcer.model.objects import BlockPeer, EveryPeer, Key, Policy
from enforcer.policy import intervals
from enforcer.policy.cluster import Cluster
from enforcer.policy.compiled import CompiledPolicy, Problem
from enforcer.policy.intervals import Intervals

_OF_PODS = (
    "{block} overlaps the pod range {network}: pods in it are allowed by their address, whatever "
    "their labels are, and also through a Service"
)
_OF_SERVICES = (
    "{block} overlaps the Service range {network}: connections to a Service are judged by the "
    "address of the pod behind it, so this part of the block never matches"
)


class Overlaps:
    """Finds ipBlocks that overlap pod ranges or Service ranges; remembers each policy's answer."""

    def __init__(self, services: Iterable[IPNetwork]) -> None:
        """Take the Service ranges of the cluster, as far as they are known."""
        self._services = tuple(services)
        self._ranges: frozenset[IPNetwork] = frozenset()
        self._known: dict[Key, tuple[Policy, tuple[Problem, ...]]] = {}

    def warnings(self, cluster: Cluster, compiled: CompiledPolicy) -> tuple[Problem, ...]:
        """Return the warnings of the policies that isolate a pod of this node, sorted."""
        ranges = frozenset(net for node in cluster.nodes.values() for net in node.pod_networks)
        if ranges != self._ranges:
            self._ranges, self._known = ranges, {}
        keys = {key for item in compiled.classes() for key in item.policies}
        self._known = {
            key: self._known_of(cluster.policies[key]) for key in keys if key in cluster.policies
        }
        return tuple(item for key in sorted(self._known) for item in self._known[key][1])

    def _known_of(self, policy: Policy) -> tuple[Policy, tuple[Problem, ...]]:
        known = self._known.get(policy.key)
        if known is not None and known[0] is policy:
            return known
        return policy, tuple(self._of_policy(policy))

    def _of_policy(self, policy: Policy) -> Iterator[Problem]:
        """Yield at most one warning for pods and one for Services."""
        blocks = dict.fromkeys(_blocks(policy))
        for text, ranges in (
            (_OF_PODS, sorted(self._ranges, key=str)),
            (_OF_SERVICES, self._services),
        ):
            found = _first_overlap(blocks, ranges)
            if found is not None:
                block, network = found
                yield Problem(policy.key, text.format(block=f"ipBlock {block}", network=network))


def _blocks(policy: Policy) -> Iterator[BlockPeer]:
    for rules in policy.rules.values():
        for rule in rules:
            if not isinstance(rule.peers, EveryPeer):
                yield from (peer for peer in rule.peers if isinstance(peer, BlockPeer))


def _first_overlap(
    blocks: Mapping[BlockPeer, None], ranges: Iterable[IPNetwork]
) -> tuple[IPNetwork, IPNetwork] | None:
    for network in ranges:
        inside = intervals.of_block(BlockPeer(network))
        for block in blocks:
            if _overlap(intervals.of_block(block), inside):
                return block.network, network
    return None


def _overlap(block: Intervals, inside: Intervals) -> bool:
    (version, first, last), *_ = inside
    return any(item[0] == version and item[1] <= last and first <= item[2] for item in block)
