"""CompiledPolicy and Wiring to Ruleset: pure, the same input always gives the same value."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import product

from enforcer.model.net import Direction, Family, IPAddress, IPNetwork, family_of
from enforcer.nft.elements import address, concat, interface, network
from enforcer.nft.objects import FieldType, Ruleset, Set, Table, TableId, VerdictMap, ruleset, table
from enforcer.policy.compiled import CompiledPolicy, LocalPod, PolicyClass
from enforcer.policy.images import Remembered
from enforcer.ruleset import program
from enforcer.ruleset.bridge import lower_bridges
from enforcer.ruleset.classes import ClassLowering, ClassObjects, collapse
from enforcer.ruleset.epoch import Epochs
from enforcer.ruleset.given import ProgramInput
from enforcer.ruleset.names import (
    ADDRESS_FIELDS,
    JUDGES,
    ClassName,
    ClassNames,
    dispatch_map,
    pods_set,
)
from enforcer.ruleset.options import AntiSpoofing, ExistingConnections, LowerOptions
from enforcer.ruleset.owners import owner_set
from enforcer.ruleset.room import POD_INTERFACES, room_for, roomy
from enforcer.wiring import Wiring

NOTHING = Ruleset()
FORWARDERS = "forwarders"

_Networks = tuple[IPNetwork, ...]
_Named = tuple[tuple[ClassName, PolicyClass], ...]
_Placed = tuple[tuple[IPAddress, ...], ClassName | None, ClassName | None]
"""A local pod: its addresses, and its classes for ingress and egress."""


def lower(
    compiled: CompiledPolicy,
    wiring: Wiring,
    epochs: Epochs,
    options: LowerOptions,
    have: Ruleset = NOTHING,
) -> Ruleset:
    """Return the tables of one node.

    ``have`` is what the kernel holds now; only the bridge table looks at it, to keep an address
    at the port where it was first seen.
    """
    return Lowering(options).lower(compiled, wiring, epochs, have)


class Lowering:
    """Lowers one node's policies, time and again.

    What has not changed since the last time is the same object in the next ruleset: whoever
    compares two of them looks only into what differs.
    """

    def __init__(self, options: LowerOptions) -> None:
        """Lower for these options."""
        self._strict = options.anti_spoofing is AntiSpoofing.STRICT
        self._names = ClassNames()
        self._placed: Remembered[tuple[_Placed, ...], tuple[_Placed, ...]] = Remembered(_itself)
        self._families = {family: _FamilyLowering(family, options) for family in Family}

    def lower(
        self, compiled: CompiledPolicy, wiring: Wiring, epochs: Epochs, have: Ruleset = NOTHING
    ) -> Ruleset:
        """Return the tables of one node; see :func:`lower`."""
        classes = self._names.of(_isolating(compiled.pods))
        placed = self._placed(_placed(compiled.pods, classes))
        node = _Node(compiled, wiring, classes, placed)
        tables = [its.lower(node, epochs[kind], have) for kind, its in self._families.items()]
        if wiring.bridges:
            tables.append(lower_bridges(wiring, compiled.pods, have, strict=self._strict))
        return ruleset(tables)

    def with_epoch(
        self, lowered: Ruleset, family: Family, epoch: int, *, settled: bool = True
    ) -> Ruleset:
        """Return the ruleset that was lowered last, with another epoch of one family."""
        renewed = self._families[family].with_epoch(epoch, settled=settled)
        return Ruleset({**lowered.tables, renewed.id: renewed})


@dataclass(frozen=True, slots=True)
class _Node:
    """What a node's tables are made of, and what of it is the same for both families."""

    compiled: CompiledPolicy
    wiring: Wiring
    classes: _Named
    placed: tuple[_Placed, ...]


class _FamilyLowering:
    """Lowers what is of one family, time and again."""

    def __init__(self, family: Family, options: LowerOptions) -> None:
        self._family = family
        self._options = options
        self._keeps = options.existing is ExistingConnections.KEEP
        self._classes: dict[str, ClassLowering] = {}
        """By the tag of the class's name."""

        self._last: tuple[Table, ProgramInput] | None = None
        """What the last table was made of: all but its program, and what that depends on."""

        self._judging = Remembered(program.judging)
        self._others = Remembered(program.others)
        self._data = Remembered(partial(_data, JUDGES[family]))
        self._whole = Remembered(self._with_program)
        self._most = Remembered(partial(_most, family))
        self._pods = Remembered(partial(_pod_objects, family))
        self._nodes = Remembered(partial(_nodes_set, family))
        self._networks = Remembered(partial(_networks_set, family))
        self._collapsed = Remembered(partial(_collapsed, family))
        self._wiring = Remembered(partial(_wiring_sets, options))

    def lower(self, node: _Node, epoch: int, have: Ruleset) -> Table:
        compiled, wiring = node.compiled, node.wiring
        most = self._most((node.placed, wiring.pod_interfaces))
        room = room_for(most, have.tables.get(JUDGES[self._family]))
        pods = self._pods((node.placed, room))
        sets = (
            self._nodes(compiled.node_addresses),
            self._networks(compiled.pod_networks),
            *self._wiring((wiring.pod_interfaces, wiring.forwarders, room)),
            *pods.sets,
            *([owner_set(compiled.pods, self._family)] if self._keeps else []),
        )
        data = self._data((sets, pods.dispatch, self._class_objects(node.classes, pods)))
        given = ProgramInput(
            self._family,
            epoch,
            self._options,
            self._collapsed(compiled.pod_networks),
            wiring.fast,
            pods.isolated,
            forwards=bool(wiring.forwarders),
            room=room,
        )
        self._last = data, given
        return self._whole(self._last)

    def with_epoch(self, epoch: int, *, settled: bool) -> Table:
        """Return the table that was lowered last, with another epoch."""
        if self._last is None:
            raise AssertionError
        data, given = self._last
        return self._whole((data, replace(given, epoch=epoch, settled=settled)))

    def _with_program(self, given: tuple[Table, ProgramInput]) -> Table:
        data, of = given
        made = (*self._judging(of), *self._others(of.timeless))
        flowtables = {of.flowtable.name: of.flowtable} if of.flowtable else {}
        chains = {**data.chains, **{chain.name: chain for chain in made}}
        return replace(data, chains=chains, flowtables=flowtables)

    def _class_objects(self, classes: _Named, pods: _PodObjects) -> tuple[ClassObjects, ...]:
        known, group = self._classes, self._options.log_group
        mine = [(name, item) for name, item in classes if name.tag in pods.tags]
        self._classes = {
            name.tag: known.get(name.tag) or ClassLowering(name, self._family, group)
            for name, _ in mine
        }
        return tuple([self._classes[name.tag].lower(item) for name, item in mine])


_Data = tuple[tuple[Set, ...], tuple[VerdictMap, ...], tuple[ClassObjects, ...]]


def _data(id_: TableId, given: _Data) -> Table:
    """Return a table with everything but its program."""
    sets, maps, classes = given
    return table(
        id_,
        sets=(*sets, *(set_ for item in classes for set_ in item.sets)),
        maps=(*maps, program.STATES, program.LOCAL_STATES),
        chains=(chain for item in classes for chain in item.chains),
    )


def _itself(placed: tuple[_Placed, ...]) -> tuple[_Placed, ...]:
    """Return what is given: the same object as last time where it is equal."""
    return placed


def _collapsed(family: Family, networks: _Networks) -> _Networks:
    """Return the fewest networks of a family that cover the same addresses."""
    return tuple(collapse(networks, family))


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
    """What the local pods' addresses are asked in, and the tags of the classes that they have.

    ``isolated``: in which directions one of them is.
    """

    sets: tuple[Set, ...]
    dispatch: tuple[VerdictMap, ...]
    tags: frozenset[str]
    isolated: frozenset[Direction]


@dataclass(frozen=True, slots=True)
class _Pods:
    """The local pods of one family, by what is asked of their addresses."""

    family: Family
    addresses: tuple[IPAddress, ...]
    selves: tuple[tuple[IPAddress, IPAddress], ...]
    classes: Mapping[Direction, Mapping[IPAddress, ClassName]]


def _most(family: Family, given: tuple[tuple[_Placed, ...], frozenset[str]]) -> int:
    """Return how much the fullest set of the local pods has to hold."""
    placed, interfaces = given
    known = sum(family_of(item) is family for addresses, *_ in placed for item in addresses)
    return max(len(interfaces), known)


def _pod_objects(family: Family, given: tuple[tuple[_Placed, ...], int]) -> _PodObjects:
    placed, room = given
    pods = _pods_of(placed, family)
    tags = frozenset(name.tag for its in pods.classes.values() for name in its.values())
    isolated = frozenset(direction for direction, its in pods.classes.items() if its)
    return _PodObjects(tuple(_pod_sets(pods, room)), tuple(_dispatch(pods, room)), tags, isolated)


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


def _dispatch(pods: _Pods, room: int) -> Iterator[VerdictMap]:
    """Yield the maps from a local pod's address to the chain of its class."""
    for direction, classes in pods.classes.items():
        yield VerdictMap(
            dispatch_map(direction, pods.family, room),
            (ADDRESS_FIELDS[pods.family],),
            {str(known): name.chain(pods.family) for known, name in classes.items()},
            comment=f"{direction.value}: local pod to class",
            room=room,
        )


def _pod_sets(pods: _Pods, room: int) -> Iterator[Set]:
    version, kind = pods.family.value, ADDRESS_FIELDS[pods.family]
    ingress, egress = pods.classes[Direction.INGRESS], pods.classes[Direction.EGRESS]
    pairs = frozenset(concat(address(one), address(two)) for one, two in pods.selves)
    known = _address_set(pods_set(pods.family, room), kind, pods.addresses, "local pods")
    yield replace(known, room=room)
    yield Set(f"self{version}", (kind, kind), pairs, comment="a pod and itself")
    yield _address_set(f"iso{version}", kind, {**ingress, **egress}, "isolated local pods")
    yield _address_set(f"isoi{version}", kind, ingress, "isolated for ingress")
    yield _address_set(f"isoe{version}", kind, egress, "isolated for egress")


def _nodes_set(family: Family, addresses: frozenset[IPAddress]) -> Set:
    found = [item for item in addresses if family_of(item) is family]
    return _address_set(
        f"nodes{family.value}", ADDRESS_FIELDS[family], found, "every node of the cluster"
    )


def _networks_set(family: Family, networks: _Networks) -> Set:
    return Set(
        f"cidr{family.value}",
        (ADDRESS_FIELDS[family],),
        frozenset(map(network, collapse(networks, family))),
        interval=True,
        comment="this node's pod networks",
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
