"""States of a cluster as Hypothesis draws them, and histories of them.

A state is a value; its manifests are raw JSON, which the enforcer decodes and the oracle reads.
What the enforcer is told of a step is the difference between two states.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from hypothesis import strategies as st

from enforcer.model.changes import Kind
from enforcer.model.objects import Key
from tests.property import drawn
from tests.property.fleet.topology import NODES, SLOTS, Place

Json = dict[str, Any]
Objects = dict[tuple[Kind, Key], Json]

POLICIES: Final = 4
KIND_NAMES: Final = {
    Kind.PODS: "Pod",
    Kind.NAMESPACES: "Namespace",
    Kind.NODES: "Node",
    Kind.POLICIES: "NetworkPolicy",
}


@dataclass(frozen=True)
class Tenant:
    """The pod of a slot. ``life`` tells two pods apart that have the address after each other."""

    namespace: str
    life: str
    labels: Json
    ports: list[Json]
    versions: tuple[int, ...]
    phase: str = "Running"
    init: list[Json] = field(default_factory=list)
    """Init containers, sidecars among them."""


@dataclass(frozen=True)
class State:
    """A cluster: labels of namespaces (None: it is not there), tenants, hosts' pods, policies."""

    namespaces: Mapping[str, Json | None]
    tenants: Mapping[str, Tenant | None]
    on_host: Mapping[str, Tenant | None]
    policies: Mapping[int, Json | None]

    def objects(self) -> Objects:
        """Return all manifests; what is in a namespace that is not there is not there either."""
        found: Objects = {}
        for item in NODES:
            found[Kind.NODES, Key("", item.name)] = _node(item)
        for name, labels in self.namespaces.items():
            if labels is not None:
                metadata = {"name": name, "labels": labels}
                found[Kind.NAMESPACES, Key("", name)] = {"metadata": metadata}
        for kind, manifest in self._contents():
            namespace = manifest["metadata"]["namespace"]
            if self.namespaces[namespace] is not None:
                found[kind, Key(namespace, manifest["metadata"]["name"])] = manifest
        return found

    def _contents(self) -> Iterator[tuple[Kind, Json]]:
        places = {place.name: place for place in (*SLOTS, *NODES)}
        for name, tenant in (*self.tenants.items(), *self.on_host.items()):
            if tenant is not None:
                yield Kind.PODS, _pod(places[name], tenant)
        for policy in self.policies.values():
            if policy is not None:
                yield Kind.POLICIES, policy

    def owns(self, place: Place, version: int) -> bool:
        """Whether a live pod has a slot's address."""
        tenant = self.tenants[place.name]
        return self.is_lived_in(place) and tenant is not None and version in tenant.versions

    def is_lived_in(self, place: Place) -> bool:
        """Whether a live pod is in a slot, whatever addresses it has."""
        tenant = self.tenants[place.name]
        return (
            tenant is not None
            and self.namespaces[tenant.namespace] is not None
            and tenant.phase == "Running"
        )


@dataclass(frozen=True)
class Edit:
    """One change of a state: ``part`` is a field of it, ``key`` an entry, ``value`` the new one."""

    part: str
    key: str | int
    value: Any

    def of(self, state: State) -> State:
        """Return the state after it."""
        return replace(state, **{self.part: {**getattr(state, self.part), self.key: self.value}})


@dataclass(frozen=True)
class Step:
    """Edits that the enforcer is told at once; ``relisted``: as new lists, not as changes."""

    edits: tuple[Edit, ...]
    relisted: bool = False

    def of(self, state: State) -> State:
        """Return the state after it."""
        for edit in self.edits:
            state = edit.of(state)
        return state


def _node(place: Place) -> Json:
    ranges = [f"10.{place.node}.0.0/24", f"fd00:{place.node}::/64"]
    addresses = [{"type": "InternalIP", "address": one} for one in (place.ip4, place.ip6)]
    return {
        "metadata": {"name": place.name},
        "spec": {"podCIDR": ranges[0], "podCIDRs": ranges},
        "status": {"addresses": addresses},
    }


def _pod(place: Place, tenant: Tenant) -> Json:
    addresses = [{"ip": place.address(version)} for version in tenant.versions]
    name = f"{place.name}-{tenant.life}"
    return {
        "metadata": {"namespace": tenant.namespace, "name": name, "labels": tenant.labels},
        "spec": {
            "nodeName": f"n{place.node}",
            "hostNetwork": not place.is_slot,
            "containers": [{"name": "main", "ports": tenant.ports}],
            "initContainers": tenant.init,
        },
        "status": {"phase": tenant.phase, "podIPs": addresses},
    }


# --- what may happen -------------------------------------------------------------------------

_BLOCKS: drawn.Some = st.sampled_from(
    (
        {"cidr": "0.0.0.0/0"},
        {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/9", "14.216.0.0/16"]},
        {"cidr": "10.1.0.0/24", "except": ["10.1.0.2/32"]},
        {"cidr": "10.2.0.2/31"},
        {"cidr": "14.208.0.0/12", "except": ["14.216.0.10/32", "14.216.0.0/17"]},
        {"cidr": "172.20.1.1/32"},
        {"cidr": "::/0", "except": ["fd00:2::/64", "fd00:2::2/127"]},
        {"cidr": "fd00:1::/64", "except": ["fd00:1::3/128"]},
        {"cidr": "fd00:3::/64"},
    )
)
_PEERS = drawn.peers(_BLOCKS)


def _named_ports() -> st.SearchStrategy[list[Json]]:
    port = st.fixed_dictionaries(
        {
            "name": st.sampled_from(("http", "dns")),
            "containerPort": st.sampled_from((80, 81, 90)),
            "protocol": st.sampled_from(("TCP", "UDP", "SCTP")),
        }
    )
    return st.lists(port, max_size=2, unique_by=lambda item: str(item["name"]))


_TENANTS = st.builds(
    Tenant,
    st.sampled_from(drawn.NAMESPACES),
    st.sampled_from("ab"),
    drawn.labels,
    _named_ports(),
    st.sampled_from(((4, 6),) * 5 + ((6, 4), (4,), (6,), ())),
    st.sampled_from(("Running",) * 8 + ("Succeeded", "Failed")),
)


def _maybe(some: st.SearchStrategy[Any], often: int) -> st.SearchStrategy[Any]:
    return st.integers(0, often).flatmap(lambda roll: some if roll else st.none())


def _policy(number: int) -> st.SearchStrategy[Json]:
    return drawn.policies(number, _PEERS)


def _mapping(keys: Iterator[Any], of: Any) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries({key: of(key) for key in keys})


_EDITS = st.one_of(
    st.integers(0, POLICIES - 1).flatmap(
        lambda number: st.builds(
            Edit, st.just("policies"), st.just(number), _maybe(_policy(number), 5)
        )
    ),
    st.builds(
        Edit,
        st.just("tenants"),
        st.sampled_from([slot.name for slot in SLOTS]),
        _maybe(_TENANTS, 8),
    ),
    st.builds(
        Edit, st.just("namespaces"), st.sampled_from(drawn.NAMESPACES), _maybe(drawn.labels, 5)
    ),
    st.builds(
        Edit,
        st.just("on_host"),
        st.sampled_from([node.name for node in NODES]),
        _maybe(_TENANTS, 1),
    ),
)

states = st.builds(
    State,
    _mapping(iter(drawn.NAMESPACES), lambda _: _maybe(drawn.labels, 9)),
    _mapping((slot.name for slot in SLOTS), lambda _: _maybe(_TENANTS, 9)),
    _mapping((node.name for node in NODES), lambda _: _maybe(_TENANTS, 1)),
    _mapping(iter(range(POLICIES)), lambda number: _maybe(_policy(number), 3)),
)
steps = st.builds(
    Step,
    st.lists(_EDITS, min_size=1, max_size=3).map(tuple),
    st.sampled_from((False,) * 5 + (True,)),
)
History = tuple[State, list[Step]]
histories: st.SearchStrategy[History] = st.tuples(states, st.lists(steps, max_size=7))


def walked(history: History) -> Iterator[tuple[State, bool]]:
    """Yield each state of a history, and whether the enforcer is to be told all of it anew."""
    state, following = history
    yield state, True
    for step in following:
        state = step.of(state)
        yield state, step.relisted
