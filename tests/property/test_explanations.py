"""An explanation never contradicts what is enforced, on clusters that nobody thought of."""

from __future__ import annotations

import itertools

from hypothesis import given, settings

from enforcer.explain import Live, explain
from enforcer.model.net import Family
from enforcer.nft.objects import Chain, Rule, Ruleset
from enforcer.policy.compile import compile_node
from enforcer.ruleset.lower import lower
from enforcer.ruleset.options import LowerOptions
from enforcer.wiring import NO_WIRING
from tests.property.test_policy_meaning import NODES, OUTSIDE, World, cluster_of, worlds

TARGETS = (":80", ":90", ":81/udp", ":443/sctp", "/icmp")


def read_back(found: Ruleset) -> Ruleset:
    """Return a ruleset as the kernel gives it back: rules are their comments alone."""
    tables = {
        id_: type(table)(
            id_,
            table.sets,
            table.maps,
            {
                name: Chain(name, tuple(Rule(rule.comment) for rule in chain.rules), chain.hook)
                for name, chain in table.chains.items()
            },
        )
        for id_, table in found.tables.items()
    }
    return Ruleset(tables)


@settings(deadline=None, max_examples=40)
@given(worlds)
def test_rules_compiled_sets_and_kernel_agree(world: World) -> None:
    """Read rule by rule, compiled into classes, or walked through the sets: one answer."""
    cluster = cluster_of(world)
    compiled = compile_node(cluster, NODES[0])
    tables = read_back(lower(compiled, NO_WIRING, dict.fromkeys(Family, 1), LowerOptions()))
    pods = [pod for pod in cluster.pods.values() if pod.addresses]
    places = [*(str(address) for pod in pods for address in pod.addresses), *OUTSIDE]

    for client, server, on in itertools.product(places, places, TARGETS):
        if (":" in client) != (":" in server):
            continue
        found = explain(cluster, client, f"[{server}]{on}", Live(NODES[0], tables))
        for answer in found.answers:
            assert answer.differences == (), (client, server, on)
            for side in answer.sides:
                if side.walk is not None:
                    assert side.walk.outcome.passes == side.passes
