"""CompiledPolicy and Wiring to Ruleset: pure, the same input always gives the same value."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from types import MappingProxyType

from enforcer.model.net import Direction, Family, IPAddress, IPNetwork, family_of
from enforcer.nft.elements import address, concat, interface, network
from enforcer.nft.objects import FieldType, Ruleset, Set, VerdictMap, ruleset, table
from enforcer.policy.compiled import CompiledPolicy, LocalPod, PolicyClass
from enforcer.ruleset import program
from enforcer.ruleset.bridge import lower_bridges
from enforcer.ruleset.classes import ADDRESS_FIELDS, ClassObjects, collapse, lower_class
from enforcer.ruleset.names import INET, PREFIXES, ClassName, name_classes
from enforcer.ruleset.options import LowerOptions
from enforcer.wiring import Wiring

NOTHING = Ruleset()
FAMILY_NAMES = MappingProxyType({Family.IPV4: "ipv4", Family.IPV6: "ipv6"})

Names = dict[PolicyClass, ClassName]


@dataclass(frozen=True, slots=True)
class _Pods:
    """The local pods of one family, by what is asked of their addresses."""

    family: Family
    addresses: tuple[IPAddress, ...]
    selves: tuple[tuple[IPAddress, IPAddress], ...]
    classes: dict[Direction, dict[IPAddress, PolicyClass]]


def lower(
    compiled: CompiledPolicy,
    wiring: Wiring,
    epoch: int,
    options: LowerOptions,
    have: Ruleset = NOTHING,
) -> Ruleset:
    """Return the tables of one node.

    ``have`` is what the kernel holds now; only the bridge table looks at it, to keep an address
    at the port where it was first seen.
    """
    given = _program_input(compiled, epoch, options)
    families = [_pods_of(compiled.pods, family) for family in Family]
    names = name_classes(_isolating(compiled.pods))
    objects = [_lower_class(item, name, families, options) for item, name in names.items()]
    inet = table(
        INET,
        sets=(*_node_sets(compiled, wiring, options), *_pod_sets(families), *_sets(objects)),
        maps=_dispatch(families, names),
        chains=(*program.chains(given), *(chain for item in objects for chain in item.chains)),
    )
    if not wiring.bridges:
        return ruleset([inet])
    return ruleset([inet, lower_bridges(wiring.bridges, compiled.pods, have)])


def with_epoch(
    lowered: Ruleset, compiled: CompiledPolicy, epoch: int, options: LowerOptions
) -> Ruleset:
    """Return the same ruleset with another epoch."""
    inet = lowered.tables[INET]
    fixed = program.chains(_program_input(compiled, epoch, options))
    chains = {**inet.chains, **{chain.name: chain for chain in fixed}}
    return Ruleset({**lowered.tables, INET: replace(inet, chains=chains)})


def _program_input(
    compiled: CompiledPolicy, epoch: int, options: LowerOptions
) -> program.ProgramInput:
    networks = {family: tuple(collapse(compiled.pod_networks, family)) for family in Family}
    return program.ProgramInput(epoch, options, networks)


def _isolating(pods: Iterable[LocalPod]) -> Iterator[PolicyClass]:
    """Yield the classes that can deny anything; one that allows everything isolates nobody."""
    for pod in pods:
        for item in (pod.ingress, pod.egress):
            if item is not None and not item.allowed.everything:
                yield item


def _pods_of(pods: Iterable[LocalPod], family: Family) -> _Pods:
    known: list[IPAddress] = []
    selves: list[tuple[IPAddress, IPAddress]] = []
    classes: dict[Direction, dict[IPAddress, PolicyClass]] = {kind: {} for kind in Direction}
    for pod in pods:
        own = [item for item in pod.addresses if family_of(item) is family]
        known += own
        selves += product(own, own)
        for item in _isolating([pod]):
            classes[item.direction].update(dict.fromkeys(own, item))
    return _Pods(family, tuple(known), tuple(selves), classes)


def _lower_class(
    item: PolicyClass, name: ClassName, families: Iterable[_Pods], options: LowerOptions
) -> ClassObjects:
    used = [pods.family for pods in families if item in pods.classes[item.direction].values()]
    return lower_class(item, name, used, options.log_group)


def _sets(objects: Iterable[ClassObjects]) -> Iterator[Set]:
    return (set_ for item in objects for set_ in item.sets)


def _dispatch(families: Iterable[_Pods], names: Names) -> Iterator[VerdictMap]:
    """Yield the maps from a local pod's address to the chain of its class."""
    for pods in families:
        for direction, classes in pods.classes.items():
            yield VerdictMap(
                f"{PREFIXES[direction]}_d{pods.family.value}",
                (ADDRESS_FIELDS[pods.family],),
                {str(known): names[item].chain(pods.family) for known, item in classes.items()},
                comment=f"{direction.value}: local pod to class",
            )


def _pod_sets(families: Iterable[_Pods]) -> Iterator[Set]:
    families = tuple(families)
    for pods in families:
        version, kind = pods.family.value, ADDRESS_FIELDS[pods.family]
        ingress, egress = pods.classes[Direction.INGRESS], pods.classes[Direction.EGRESS]
        pairs = frozenset(concat(address(one), address(two)) for one, two in pods.selves)
        yield _address_set(f"pods{version}", kind, pods.addresses, "local pods")
        yield Set(f"self{version}", (kind, kind), pairs, comment="a pod and itself")
        yield _address_set(f"iso{version}", kind, {**ingress, **egress}, "isolated local pods")
        yield _address_set(f"isoi{version}", kind, ingress, "isolated for ingress")
        yield _address_set(f"isoe{version}", kind, egress, "isolated for egress")
    isolated = frozenset(
        FAMILY_NAMES[pods.family] for pods in families if pods.classes[Direction.INGRESS]
    )
    yield Set("bmdrop", (FieldType.FAMILY,), isolated, comment="families with isolated pods")


def _node_sets(compiled: CompiledPolicy, wiring: Wiring, options: LowerOptions) -> Iterator[Set]:
    for family in Family:
        version, kind = family.value, ADDRESS_FIELDS[family]
        nodes = [item for item in compiled.node_addresses if family_of(item) is family]
        yield _address_set(f"nodes{version}", kind, nodes, "every node of the cluster")
        yield _network_set(f"cidr{version}", kind, collapse(compiled.pod_networks, family))
    interfaces = frozenset(map(interface, wiring.pod_interfaces))
    yield Set("podif", (FieldType.INTERFACE,), interfaces, comment="lead to local pods")
    overlay = frozenset(map(str, options.overlay_ports))
    yield Set("overlay", (FieldType.PORT,), overlay, comment="UDP ports of tunnels")


def _address_set(name: str, kind: FieldType, items: Iterable[IPAddress], comment: str) -> Set:
    return Set(name, (kind,), frozenset(map(address, items)), comment=comment)


def _network_set(name: str, kind: FieldType, items: Iterable[IPNetwork]) -> Set:
    found = frozenset(map(network, items))
    return Set(name, (kind,), found, interval=True, comment="this node's pod networks")
