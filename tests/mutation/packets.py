"""Mutants whose rules are wrong: the right policy, asked at the wrong place of a packet's way."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

from enforcer import bridges
from enforcer.model.net import Direction, Family
from enforcer.nft.objects import Chain, rule
from enforcer.ruleset import classes, program
from enforcer.wiring import SameNode
from tests.mutation.catalogue import Ground, mutant, wrap

Function = Callable[..., Any]


IPV4_ONLY = (Family.IPV4,)
PARTS = ("judging", "others")
"""What the fixed chains of the program come from."""


def each_chain(change: Callable[[Chain], Chain], families: Iterable[Family] = Family) -> None:
    """Change the fixed chains of the program."""

    def around(real: Function) -> Function:
        return lambda given: tuple(
            change(one) if given.family in families else one for one in real(given)
        )

    for part in PARTS:
        wrap(program, part, around)


def inserted(chain: str, *rules: str, families: Iterable[Family] = Family) -> None:
    """Put rules at the top of a fixed chain."""
    each_chain(lambda one: _with(one, rules, one.rules) if one.name == chain else one, families)


def _with(chain: Chain, rules: Iterable[str], rest: Iterable[Any]) -> Chain:
    return dataclasses.replace(chain, rules=(*map(rule, rules), *rest))


def only(chain: str, *rules: str) -> None:
    """Put rules in place of a fixed chain's."""
    each_chain(lambda one: _with(one, rules, ()) if one.name == chain else one)


@mutant(first="NP-ISO-001")
def icmp_always_allowed() -> None:
    """ICMP is never judged."""
    inserted("forward", "meta l4proto { 1, 58 } accept")


@mutant(first="NP-ISO-001")
def udp_always_allowed() -> None:
    """UDP is never judged."""
    inserted("forward", "meta l4proto 17 accept")


@mutant(first="NP-ISO-002")
def reply_traffic_blocked() -> None:
    """What comes back on a connection is judged as if its sender had opened it."""
    inserted("forward", "ct direction reply ip saddr @isoe4 drop", families=IPV4_ONLY)


@mutant(first="NP-CHANGE-007")
def established_udp_always_accepted() -> None:
    """A UDP conversation is never judged again once it was answered."""
    inserted("forward", "meta l4proto 17 ct state established accept")


@mutant(also="node-port", first="NP-ISO-001")
def node_ports_open() -> None:
    """What comes by a NodePort is never judged."""
    accept = "ct status dnat ct original ip daddr @nodes4 accept"
    inserted("forward", accept, families=IPV4_ONLY)


@mutant(first="NP-CHANGE-007")
def established_always_accepted() -> None:
    """An established connection is never judged again."""
    inserted("forward", "ct state established accept")


@mutant(first="NP-DEFECT-001")
def terminal_accept_between() -> None:
    """What a client's egress allows is accepted before the server's ingress is asked."""

    def accepting(real: Function) -> Function:
        def lowered(self: Any, item: Any, *rest: Any) -> Any:
            made = real(self, item, *rest)
            if item.direction is not Direction.EGRESS:
                return made
            return dataclasses.replace(made, chains=tuple(map(_accepting, made.chains)))

        return lowered

    wrap(classes.ClassLowering, "_lower", accepting)


def _accepting(chain: Chain) -> Chain:
    rules = tuple(
        rule(one.expression.removesuffix(" return") + " accept")
        if _is_lookup(one.expression)
        else one
        for one in chain.rules
    )
    return dataclasses.replace(chain, rules=rules)


def _is_lookup(text: str) -> bool:
    return text.endswith(" return") and "@self" not in text


@mutant(ground=Ground.BRIDGED, first="NP-ISO-001")
def bridged_frames_unseen() -> None:
    """On a bridge, frames between its ports meet no rule."""
    shown = bridges.Shown(SameNode.NF_CALL)
    wrap(bridges.Bridges, "show", lambda _: lambda *_: shown)


@mutant(first="NP-ISO-001")
def node_traffic_denied() -> None:
    """A node is a stranger to its own pods."""
    only("out_police", "goto police")


@mutant(first="NP-ISO-001")
def remote_nodes_trusted() -> None:
    """Every node of the cluster may reach every pod, not the own one alone."""
    inserted("forward", "ct original ip saddr @nodes4 accept", families=IPV4_ONLY)


@mutant(first="NP-ISO-002")
def own_node_applied_to_egress() -> None:
    """An isolated pod may reach every node, not its own alone."""
    inserted("forward", "ct reply ip saddr @nodes4 accept", families=IPV4_ONLY)


@mutant(first="NP-ISO-001")
def hairpin_denied() -> None:
    """A pod may not reach itself through its own Service."""

    def without(real: Function) -> Function:
        def deny_chain(*given: Any) -> Chain:
            made: Chain = real(*given)
            kept = tuple(one for one in made.rules if "@self" not in one.expression)
            return dataclasses.replace(made, rules=kept)

        return deny_chain

    wrap(classes, "_deny_chain", without)


@mutant(first="NP-PEER-014")
def judged_before_dnat() -> None:
    """The server is taken to be what the client called: a Service's address, not its backend's."""
    _each_lookup("ct reply ip saddr", "ct original ip daddr")


@mutant(first="NP-PORT-001")
def ports_judged_before_dnat() -> None:
    """A port is taken to be what the client called: a Service's, not the pod's own behind it."""
    _each_lookup("ct reply proto-src", "ct original proto-dst")


def _each_lookup(what: str, instead: str) -> None:
    """Ask for something else wherever a class's chain looks something up."""

    def other(real: Function) -> Function:
        def lookups(item: Any, *rest: Any) -> Any:
            for one in real(item, *rest):
                text = one.rule.expression.replace(what, instead)
                yield dataclasses.replace(one, rule=rule(text))

        return lookups

    wrap(classes, "_lookups", other)


@mutant(first="NP-ISO-001")
def only_the_own_nodes_pods_are_judged() -> None:
    """What comes from another node or from outside is accepted."""
    inserted("forward", "ct original ip saddr != @pods4 accept", families=IPV4_ONLY)


@mutant(first="NP-ISO-001")
def same_node_unjudged() -> None:
    """What goes from one pod of a node to another is accepted."""
    inserted("forward", "ip saddr @pods4 ip daddr @pods4 accept", families=IPV4_ONLY)


@mutant(ground=Ground.IPV6, first="NP-ISO-001")
def ipv6_forgotten() -> None:
    """IPv6 is never judged."""
    inserted("forward", "accept", families=(Family.IPV6,))


@mutant(ground=Ground.IPVS, first="NP-DEFECT-003")
def output_hook_missing() -> None:
    """What leaves by OUTPUT in a client's name, as Service traffic of IPVS does, is not judged."""
    inserted("output", "accept")
