"""What random clusters are made of: few names and numbers, so that all of them often meet.

Hypothesis strategies for raw manifests. Every way to leave something out is drawn now and then:
missing, null and empty mean the same in some places and not in others.
"""

from __future__ import annotations

from typing import Any, Final

from hypothesis import strategies as st

Json = dict[str, Any]
Some = st.SearchStrategy[Json]

NAMESPACES: Final = ("blue", "green", "red")

labels = st.dictionaries(st.sampled_from("ab"), st.sampled_from("xyz"), max_size=2)


@st.composite
def expressions(draw: st.DrawFn) -> Json:
    """One requirement of matchExpressions, any operator."""
    operator = draw(st.sampled_from(("In", "NotIn", "Exists", "DoesNotExist")))
    found: Json = {"key": draw(st.sampled_from("ab")), "operator": operator}
    if operator in ("In", "NotIn"):
        found["values"] = draw(st.lists(st.sampled_from("xyz"), min_size=1, max_size=2))
    return found


few_labels = st.dictionaries(st.sampled_from("ab"), st.sampled_from("xyz"), max_size=1)
selectors = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"matchLabels": few_labels}),
    st.fixed_dictionaries({"matchExpressions": st.lists(expressions(), min_size=1, max_size=2)}),
    st.fixed_dictionaries({"matchLabels": few_labels, "matchExpressions": st.just([])}),
)


def peers(blocks: Some) -> Some:
    """Return peers of every kind, with these ipBlocks."""
    return st.one_of(
        st.fixed_dictionaries({"podSelector": selectors}),
        st.fixed_dictionaries({"namespaceSelector": selectors}),
        st.fixed_dictionaries({"podSelector": selectors, "namespaceSelector": selectors}),
        st.fixed_dictionaries({"ipBlock": blocks}),
    )


protocols = st.sampled_from((None, "TCP", "UDP", "SCTP"))
numbers = st.sampled_from((1, 79, 80, 81, 90, 443))


@st.composite
def ports(draw: st.DrawFn) -> Json:
    """A NetworkPolicyPort: a number, a range, a name, or a protocol alone."""
    protocol = draw(protocols)
    found: Json = {} if protocol is None else {"protocol": protocol}
    match draw(st.sampled_from(("number", "range", "name", "protocol"))):
        case "number":
            found["port"] = draw(numbers)
        case "range":
            first, last = sorted((draw(numbers), draw(numbers)))
            found |= {"port": first, "endPort": last}
        case "name":
            found["port"] = draw(st.sampled_from(("http", "dns")))
    return found


def mostly(some: st.SearchStrategy[Json]) -> st.SearchStrategy[list[Json] | None]:
    """Several of them; now and then none, in each of the ways to say it but absence."""
    several = st.lists(some, min_size=1, max_size=3)
    return st.one_of(several, several, several, st.sampled_from((None, [])))


def rules(side: str, peers: Some) -> st.SearchStrategy[list[Json]]:
    """Rules of one direction; ``side`` is ``from`` or ``to``."""
    among, through = mostly(peers), mostly(ports())
    rule = st.one_of(
        st.fixed_dictionaries({side: among, "ports": through}),
        st.fixed_dictionaries({side: among, "ports": through}),
        st.fixed_dictionaries({side: among}),
        st.fixed_dictionaries({}, optional={"ports": through}),
    )
    return st.lists(rule, max_size=2)


def policies(index: int, peers: Some) -> st.SearchStrategy[Json]:
    """A policy; ``index`` tells it from the others."""
    spec = st.fixed_dictionaries(
        {"podSelector": st.just({}) | selectors, "ingress": rules("from", peers)},
        optional={
            "policyTypes": st.sampled_from((["Ingress"], ["Egress"], ["Ingress", "Egress"], [])),
            "egress": rules("to", peers),
        },
    )
    metadata = st.builds(
        lambda name: {"namespace": name, "name": f"np{index}"}, st.sampled_from(NAMESPACES)
    )
    return st.builds(lambda meta, body: {"metadata": meta, "spec": body}, metadata, spec)
