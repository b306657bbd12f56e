"""Mutants that misread what a policy means. Nothing of packets."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

from enforcer.kube import decode, policies
from enforcer.model.changes import Kind
from enforcer.model.net import Direction, PortRange, Protocol
from enforcer.model.objects import (
    BlockPeer,
    EveryPeer,
    EveryPort,
    NamedPort,
    NamedPortRef,
    PodPeer,
    Policy,
)
from enforcer.model.selectors import EVERYTHING, Operator, Requirement, Selector
from enforcer.policy import compile as compiling
from enforcer.policy.cluster import Cluster
from tests.mutation.catalogue import mutant, wrap

Function = Callable[..., Any]


def each_policy(change: Callable[[Policy], Policy]) -> None:
    """Change every policy as it is decoded."""

    def around(real: Function) -> Function:
        return lambda key, spec: change(real(key, spec))

    wrap(policies, "decode_policy", around)
    wrap(decode, "decode_policy", around)


@mutant(first="NP-ISO-002")
def ignores_egress() -> None:
    """Egress policies isolate nobody."""
    each_policy(lambda one: dataclasses.replace(one, rules=_without(one, Direction.EGRESS)))


@mutant(first="NP-ISO-001")
def ignores_ingress() -> None:
    """Ingress policies isolate nobody."""
    each_policy(lambda one: dataclasses.replace(one, rules=_without(one, Direction.INGRESS)))


def _without(policy: Policy, gone: Direction) -> dict[Direction, Any]:
    return {way: rules for way, rules in policy.rules.items() if way is not gone}


@mutant(first="NP-ISO-001")
def deny_all_taken_as_allow_all() -> None:
    """A policy without rules isolates nobody."""
    each_policy(
        lambda one: dataclasses.replace(one, rules={w: r for w, r in one.rules.items() if r})
    )


@mutant(first="NP-PEER-004")
def or_for_and() -> None:
    """A peer with both selectors admits whoever meets either."""

    def either(real: Function) -> Function:
        def peers(listed: Any, where: str) -> Any:
            found = real(listed, where)
            if isinstance(found, EveryPeer):
                return found
            return tuple(half for one in found for half in _halves(one))

        return peers

    wrap(policies, "_peers", either)


def _halves(peer: Any) -> tuple[Any, ...]:
    if not isinstance(peer, PodPeer) or peer.own_namespace:
        return (peer,)
    anywhere = PodPeer(peer.pods, EVERYTHING, own_namespace=False)
    anybody = PodPeer(EVERYTHING, peer.namespaces, own_namespace=False)
    return (anybody, anywhere) if peer.pods != EVERYTHING else (anybody,)


@mutant(first="NP-PEER-002")
def namespace_selector_is_own_namespace() -> None:
    """A peer's namespaceSelector is not looked at: only the policy's own namespace counts."""

    def own(real: Function) -> Function:
        def peer(given: Any, where: str) -> Any:
            found = real(given, where)
            return dataclasses.replace(found, own_namespace=True) if _pods(found) else found

        return peer

    wrap(policies, "_peer", own)


def _pods(peer: Any) -> bool:
    return isinstance(peer, PodPeer)


@mutant(first="NP-PEER-001")
def pod_selector_peer_is_every_namespace() -> None:
    """A peer with a podSelector alone admits such pods of every namespace."""

    def everywhere(real: Function) -> Function:
        def peer(given: Any, where: str) -> Any:
            found = real(given, where)
            alone = _pods(found) and found.own_namespace
            return PodPeer(found.pods, EVERYTHING, own_namespace=False) if alone else found

        return peer

    wrap(policies, "_peer", everywhere)


@mutant(first="NP-PEER-010")
def ignores_except() -> None:
    """An ipBlock's except is not looked at."""

    def whole(real: Function) -> Function:
        return lambda given, where: BlockPeer(real(given, where).network)

    wrap(policies, "_block", whole)


@mutant(first="NP-PEER-009")
def ignores_ip_block() -> None:
    """An ipBlock admits nobody."""

    def none(real: Function) -> Function:
        def peers(listed: Any, where: str) -> Any:
            found = real(listed, where)
            return found if isinstance(found, EveryPeer) else tuple(filter(_pods, found))

        return peers

    wrap(policies, "_peers", none)


@mutant(first="NP-PORT-001")
def empty_from_taken_as_nobody() -> None:
    """A rule without peers admits nobody."""

    def nobody(real: Function) -> Function:
        return lambda listed, where: real(listed, where) if listed else ()

    wrap(policies, "_peers", nobody)


@mutant(first="NP-PEER-002")
def empty_ports_taken_as_none() -> None:
    """A rule without ports admits no port."""

    def none(real: Function) -> Function:
        return lambda listed, where: real(listed, where) if listed else ()

    wrap(policies, "_ports", none)


@mutant(first="NP-PORT-010")
def end_port_off_by_one() -> None:
    """A range of ports ends before its last one."""

    def shorter(real: Function) -> Function:
        def port(given: Any, where: str) -> Any:
            found = real(given, where)
            if isinstance(found, PortRange) and found.first < found.last:
                return dataclasses.replace(found, last=found.last - 1)
            return found

        return port

    wrap(policies, "_port", shorter)


@mutant(first="NP-PORT-010")
def ignores_end_port() -> None:
    """Of a range of ports only the first is admitted."""

    def first(real: Function) -> Function:
        def port(given: Any, where: str) -> Any:
            found = real(given, where)
            return (
                dataclasses.replace(found, last=found.first)
                if isinstance(found, PortRange)
                else found
            )

        return port

    wrap(policies, "_port", first)


@mutant(first="NP-PORT-005")
def ignores_protocol() -> None:
    """A port is admitted for every protocol."""

    def every(real: Function) -> Function:
        def ports(listed: Any, where: str) -> Any:
            found = real(listed, where)
            if isinstance(found, EveryPort):
                return found
            return tuple(
                dataclasses.replace(one, protocol=protocol)
                for one in found
                for protocol in Protocol
            )

        return ports

    wrap(policies, "_ports", every)


@mutant(first="NP-PORT-006")
def sctp_as_tcp() -> None:
    """A port of SCTP is taken for one of TCP."""

    def other(real: Function) -> Function:
        def port(given: Any, where: str) -> Any:
            found = real(given, where)
            sctp = found.protocol is Protocol.SCTP
            return dataclasses.replace(found, protocol=Protocol.TCP) if sctp else found

        return port

    wrap(policies, "_port", other)


@mutant(first="NP-PORT-005")
def udp_forgotten() -> None:
    """A rule for a port of UDP admits nothing."""

    def without(real: Function) -> Function:
        def ports(listed: Any, where: str) -> Any:
            found = real(listed, where)
            if isinstance(found, EveryPort):
                return found
            return tuple(one for one in found if one.protocol is not Protocol.UDP)

        return ports

    wrap(policies, "_ports", without)


@mutant(first="NP-PORT-007")
def named_port_of_the_wrong_pod() -> None:
    """A named port has everywhere the number that it has at the pod that was seen first."""
    seen: dict[tuple[str, Protocol], int] = {}

    def first(real: Function) -> Function:
        def named_ports(reader: Any, spec: Any) -> Any:
            found = real(reader, spec)
            return tuple(
                NamedPort(
                    one.name, one.protocol, seen.setdefault((one.name, one.protocol), one.port)
                )
                for one in found
            )

        return named_ports

    wrap(decode, "_named_ports", first)


@mutant(first="NP-PORT-007")
def ignores_named_ports() -> None:
    """A port given by its name admits nothing."""

    def numbers(real: Function) -> Function:
        def ports(listed: Any, where: str) -> Any:
            found = real(listed, where)
            if isinstance(found, EveryPort):
                return found
            return tuple(one for one in found if not isinstance(one, NamedPortRef))

        return ports

    wrap(policies, "_ports", numbers)


@mutant(first="NP-PEER-008")
def namespaces_have_no_name_label() -> None:
    """Namespaces lack the label kubernetes.io/metadata.name."""

    def bare(real: Function) -> Function:
        def namespace(key: Any, opened: Any) -> Any:
            found = real(key, opened)
            labels = {k: v for k, v in found.labels.items() if k != decode.NAME_LABEL}
            return dataclasses.replace(found, labels=labels)

        return namespace

    decoders: Any = decode._DECODERS
    decoders[Kind.NAMESPACES] = bare(decoders[Kind.NAMESPACES])


@mutant(first="NP-PEER-007")
def not_in_needs_the_label() -> None:
    """NotIn is met only by things that carry the label."""

    def present(real: Function) -> Function:
        def selector(given: Any, where: str) -> Selector:
            found: Selector = real(given, where)
            named = [one.key for one in found.requirements if one.operator is Operator.NOT_IN]
            there = tuple(Requirement(key, Operator.EXISTS) for key in named)
            return Selector((*found.requirements, *there))

        return selector

    wrap(policies, "_selector", present)


@mutant(first="NP-PEER-006")
def ignores_expressions() -> None:
    """Of a selector only requirements of one value count: matchExpressions are skipped."""

    def plain(real: Function) -> Function:
        def selector(given: Any, where: str) -> Selector:
            stripped = given and policies._Selector(matchLabels=given.matchLabels)
            found: Selector = real(stripped, where)
            return found

        return selector

    wrap(policies, "_selector", plain)


@mutant(first="NP-STACK-001")
def first_policy_only() -> None:
    """Of the policies of a pod only the first one counts."""

    def first(real: Function) -> Function:
        return lambda self, pod, way, policies: real(self, pod, way, policies[:1])

    wrap(compiling._Classes, "find", first)


@mutant(first="NP-ISO-001")
def policies_of_every_namespace() -> None:
    """A policy selects pods of every namespace."""

    def every(real: Function) -> Function:
        del real

        @functools.wraps(Cluster.policies_in)
        def policies_in(self: Cluster, namespace: str) -> tuple[Policy, ...]:
            del namespace
            return tuple(sorted(self.policies.values(), key=lambda one: one.key))

        return policies_in

    wrap(Cluster, "policies_in", every)


@mutant(first="NP-PORT-002")
def first_rule_only() -> None:
    """Of a policy's rules only the first one counts."""
    each_policy(
        lambda one: dataclasses.replace(one, rules={w: r[:1] for w, r in one.rules.items()})
    )


@mutant(first="NP-ISO-002")
def egress_policy_isolates_for_ingress() -> None:
    """A policy for egress isolates its pods for ingress, too."""
    each_policy(
        lambda one: dataclasses.replace(
            one, rules={Direction.INGRESS: (), **one.rules} if _egress_only(one) else one.rules
        )
    )


def _egress_only(policy: Policy) -> bool:
    return set(policy.rules) == {Direction.EGRESS}
