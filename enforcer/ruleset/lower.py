"""CompiledPolicy and Wiring to Ruleset: pure, the same input always gives the same value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from types import MappingProxyType

from enforcer.model.net import Direction, Family, IPAddress, IPNetwork, family_of
from enforcer.nft.elements import address, concat, interface, network
from enforcer.nft.objects import FieldType, Ruleset, Set, Table, VerdictMap, ruleset, table
from enforcer.policy.compiled import CompiledPolicy, LocalPod, PolicyClass
from enforcer.policy.images import Remembered
from enforcer.ruleset import program
from enforcer.ruleset.bridge import lower_bridges
from enforcer.ruleset.classes import ADDRESS_FIELDS, ClassLowering, ClassObjects, collapse
from enforcer.ruleset.given import ProgramInput
from enforcer.ruleset.names import INET, ClassName, ClassNames, dispatch_map, pods_set
from enforcer.ruleset.options import AntiSpoofing, ExistingConnections, LowerOptions
from enforcer.ruleset.owners import owner_sets
from enforcer.ruleset.room import POD_INTERFACES, room_for, room_of, roomy
from enforcer.wiring import Wiring

NOTHING = Ruleset()
FORWARDERS = "forwarders"
FAMILY_NAMES = MappingProxyType({Family.IPV4: "ipv4", Family.IPV6: "ipv6"})

_Networks = tuple[IPNetwork, ...]
_Named = tuple[tuple[ClassName, PolicyClass], ...]
_Placed = tuple[tuple[IPAddress, ...], ClassName | None, ClassName | None]
"""A local pod: its addresses, and its classes for ingress and egress."""


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
    return Lowering(options).lower(compiled, wiring, epoch, have)


class Lowering:
    """Lowers one node's policies, time and again.

    What has not changed since the last time is the same object in the next ruleset: whoever
    compares two of them looks only into what differs.
    """

    def __init__(self, options: LowerOptions) -> None:
        """Lower for these options."""
        self._options = options
        self._strict = options.anti_spoofing is AntiSpoofing.STRICT
        self._keeps = options.existing is ExistingConnections.KEEP
        self._names = ClassNames()
        self._classes: dict[str, ClassLowering] = {}
        """By the tag of the class's name."""

        self._program = Remembered(program.chains)
        self._pods = Remembered(_pod_objects)
        self._nodes = Remembered(_node_sets)
        self._networks = Remembered(_network_sets)
        self._collapsed = Remembered(_by_family)
        self._wiring = Remembered(partial(_wiring_sets, options))

    def lower(
        self, compiled: CompiledPolicy, wiring: Wiring, epoch: int, have: Ruleset = NOTHING
    ) -> Ruleset:
        """Return the tables of one node; see :func:`lower`."""
        classes = self._names.of(_isolating(compiled.pods))
        placed = _placed(compiled.pods, classes)
        room = room_for(_most(placed, wiring), have.tables.get(INET))
        pods = self._pods((placed, room))
        objects = self._class_objects(classes, pods)
        data = table(
            INET,
            sets=(
                *self._nodes(compiled.node_addresses),
                *self._networks(compiled.pod_networks),
                *self._wiring((wiring.pod_interfaces, wiring.forwarders, room)),
                *pods.sets,
                *(set_ for item in objects for set_ in item.sets),
                *(owner_sets(compiled.pods) if self._keeps else ()),
            ),
            maps=pods.dispatch,
            chains=(chain for item in objects for chain in item.chains),
        )
        inet = self._with_program(data, self._given(data, compiled, epoch, wiring.fast))
        if not wiring.bridges:
            return ruleset([inet])
        return ruleset([inet, lower_bridges(wiring, compiled.pods, have, strict=self._strict)])

    def with_epoch(self, lowered: Ruleset, compiled: CompiledPolicy, epoch: int) -> Ruleset:
        """Return the same ruleset with another epoch."""
        inet = lowered.tables[INET]
        fast = frozenset(name for item in inet.flowtables.values() for name in item.devices)
        renewed = self._with_program(inet, self._given(inet, compiled, epoch, fast))
        return Ruleset({**lowered.tables, INET: renewed})

    def _given(
        self, data: Table, compiled: CompiledPolicy, epoch: int, fast: frozenset[str]
    ) -> ProgramInput:
        return ProgramInput(
            epoch,
            self._options,
            self._collapsed(compiled.pod_networks),
            fast,
            frozenset(
                (direction, family)
                for direction, family in product(Direction, Family)
                if data.maps[dispatch_map(direction, family, room_of(data))].targets
            ),
            forwards=bool(data.sets[FORWARDERS].elements),
            room=room_of(data),
        )

    def _with_program(self, data: Table, given: ProgramInput) -> Table:
        chains = {chain.name: chain for chain in self._program(given)}
        flowtables = {given.flowtable.name: given.flowtable} if given.flowtable else {}
        return replace(data, chains={**data.chains, **chains}, flowtables=flowtables)

    def _class_objects(self, classes: _Named, pods: _PodObjects) -> list[ClassObjects]:
        known, group = self._classes, self._options.log_group
        self._classes = {
            name.tag: known.get(name.tag) or ClassLowering(name, group) for name, _ in classes
        }
        return [
            self._classes[name.tag].lower(item, pods.families[name.tag]) for name, item in classes
        ]


def _by_family(networks: _Networks) -> dict[Family, _Networks]:
    """Return the fewest networks of each family that cover the same addresses."""
    return {family: tuple(collapse(networks, family)) for family in Family}


def _isolating(pods: Iterable[LocalPod]) -> Iterator[PolicyClass]:
    """Yield the classes that can deny anything; one that allows everything isolates nobody."""
    for pod in pods:
        for item in (pod.ingress, pod.egress):
            if item is not None and not item.allowed.everything:
                yield item


def _placed(pods: Iterable[LocalPod], classes: _Named) -> tuple[_Placed, ...]:
    """Return where each pod belongs. Equal classes have one name, whichever object they are."""
    by_id = {id(item): name for name, item in classes}
    by_value: dict[PolicyClass, ClassName] = {}

    def name_of(item: PolicyClass | None) -> ClassName | None:
        if item is None or item.allowed.everything:
            return None
        if id(item) not in by_id:
            by_value.update({known: name for name, known in classes if not by_value})
            by_id[id(item)] = by_value[item]
        return by_id[id(item)]

    return tuple((pod.addresses, name_of(pod.ingress), name_of(pod.egress)) for pod in pods)


@dataclass(frozen=True, slots=True)
class _PodObjects:
    """What the local pods' addresses are asked in, and by a class's tag its pods' families."""

    sets: tuple[Set, ...]
    dispatch: tuple[VerdictMap, ...]
    families: Mapping[str, tuple[Family, ...]]


@dataclass(frozen=True, slots=True)
class _Pods:
    """The local pods of one family, by what is asked of their addresses."""

    family: Family
    addresses: tuple[IPAddress, ...]
    selves: tuple[tuple[IPAddress, IPAddress], ...]
    classes: Mapping[Direction, Mapping[IPAddress, ClassName]]


def _most(placed: Iterable[_Placed], wiring: Wiring) -> int:
    """Return how much the fullest set of the local pods has to hold."""
    families = Counter(family_of(known) for addresses, *_ in placed for known in addresses)
    return max(len(wiring.pod_interfaces), *families.values(), 0)


def _pod_objects(given: tuple[tuple[_Placed, ...], int]) -> _PodObjects:
    placed, room = given
    by_family = [_pods_of(placed, family) for family in Family]
    families: dict[str, tuple[Family, ...]] = {}
    for pods in by_family:
        for tag in {name.tag for its in pods.classes.values() for name in its.values()}:
            families[tag] = (*families.get(tag, ()), pods.family)
    return _PodObjects(
        tuple(_pod_sets(by_family, room)), tuple(_dispatch(by_family, room)), families
    )


def _pods_of(placed: Iterable[_Placed], family: Family) -> _Pods:
    known: list[IPAddress] = []
    selves: list[tuple[IPAddress, IPAddress]] = []
    classes: dict[Direction, dict[IPAddress, ClassName]] = {kind: {} for kind in Direction}
    for addresses, ingress, egress in placed:
        own = [item for item in addresses if family_of(item) is family]
        known += own
        selves += product(own, own)
        for direction, name in ((Direction.INGRESS, ingress), (Direction.EGRESS, egress)):
            if name is not None:
                classes[direction].update(dict.fromkeys(own, name))
    return _Pods(family, tuple(known), tuple(selves), classes)


def _dispatch(families: Iterable[_Pods], room: int) -> Iterator[VerdictMap]:
    """Yield the maps from a local pod's address to the chain of its class."""
    for pods in families:
        for direction, classes in pods.classes.items():
            yield VerdictMap(
                dispatch_map(direction, pods.family, room),
                (ADDRESS_FIELDS[pods.family],),
                {str(known): name.chain(pods.family) for known, name in classes.items()},
                comment=f"{direction.value}: local pod to class",
                room=room,
            )


def _pod_sets(families: Iterable[_Pods], room: int) -> Iterator[Set]:
    families = tuple(families)
    for pods in families:
        version, kind = pods.family.value, ADDRESS_FIELDS[pods.family]
        ingress, egress = pods.classes[Direction.INGRESS], pods.classes[Direction.EGRESS]
        pairs = frozenset(concat(address(one), address(two)) for one, two in pods.selves)
        known = _address_set(pods_set(pods.family, room), kind, pods.addresses, "local pods")
        yield replace(known, room=room)
        yield Set(f"self{version}", (kind, kind), pairs, comment="a pod and itself")
        yield _address_set(f"iso{version}", kind, {**ingress, **egress}, "isolated local pods")
        yield _address_set(f"isoi{version}", kind, ingress, "isolated for ingress")
        yield _address_set(f"isoe{version}", kind, egress, "isolated for egress")
    isolated = frozenset(
        FAMILY_NAMES[pods.family] for pods in families if pods.classes[Direction.INGRESS]
    )
    yield Set("bmdrop", (FieldType.FAMILY,), isolated, comment="families with isolated pods")


def _node_sets(addresses: frozenset[IPAddress]) -> tuple[Set, ...]:
    return tuple(
        _address_set(
            f"nodes{family.value}",
            ADDRESS_FIELDS[family],
            [item for item in addresses if family_of(item) is family],
            "every node of the cluster",
        )
        for family in Family
    )


def _network_sets(networks: _Networks) -> tuple[Set, ...]:
    return tuple(
        Set(
            f"cidr{family.value}",
            (ADDRESS_FIELDS[family],),
            frozenset(map(network, collapse(networks, family))),
            interval=True,
            comment="this node's pod networks",
        )
        for family in Family
    )


def _wiring_sets(
    options: LowerOptions, given: tuple[frozenset[str], frozenset[str], int]
) -> tuple[Set, ...]:
    overlay = frozenset(map(str, options.overlay_ports))
    *interfaces, room = given
    leading, forwarding = (frozenset(map(interface, names)) for names in interfaces)
    return (
        Set(
            roomy(POD_INTERFACES, room),
            (FieldType.INTERFACE,),
            leading,
            comment="lead to local pods",
            room=room,
        ),
        Set(
            FORWARDERS,
            (FieldType.INTERFACE,),
            forwarding,
            comment="lead to pods that forward for others",
        ),
        Set("overlay", (FieldType.PORT,), overlay, comment="UDP ports of tunnels"),
    )


def _address_set(name: str, kind: FieldType, items: Iterable[IPAddress], comment: str) -> Set:
    return Set(name, (kind,), frozenset(map(address, items)), comment=comment)
