"""NetworkPolicy JSON -> :class:`~enforcer.model.objects.Policy`.

All that ``networking.k8s.io/v1`` leaves to missing, ``null`` and empty fields is decided here:
https://kubernetes.io/docs/reference/kubernetes-api/policy-resources/network-policy-v1/

===================  =========================================  ===============================
field                missing, ``null`` or empty                  with content
===================  =========================================  ===============================
``podSelector``      every pod of the namespace                  the pods it selects
``policyTypes``      Ingress; Egress too if ``egress`` has       these directions
                     at least one rule
``ingress/egress``   nothing is allowed                          what any rule allows
``from/to``          every peer                                  any of the peers
``ports``            every protocol and port, ICMP included      any of the ports
``protocol``         TCP (missing or ``null``)                   this protocol
``port``             every port of the protocol                  this port
peer's selectors     missing or ``null``: not looked at;         what they select
                     empty: everything
===================  =========================================  ===============================

What the API's own validation would refuse, and every field that is not known here, is a
*problem*: the whole policy then denies, in every direction that it may isolate, the pods it
selects; where even ``podSelector`` cannot be read, every pod of its namespace, both directions.
A field that is skipped could have narrowed what a rule allows.
"""

from __future__ import annotations

import enum
from typing import NoReturn, TypeVar

import msgspec

from enforcer.kube.parse import parse_network
from enforcer.model.net import LAST_PORT, Direction, PortRange, Protocol
from enforcer.model.objects import (
    BlockPeer,
    EveryPeer,
    EveryPort,
    EveryPortOf,
    Key,
    NamedPortRef,
    Peer,
    PodPeer,
    Policy,
    Port,
    Rule,
)
from enforcer.model.selectors import EVERYTHING, Operator, Requirement, Selector

MALFORMED = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What decoding raises for bytes that are not what they should be."""

_Item = TypeVar("_Item")

_MAX_NAME = 15
"""Longest port name (RFC 6335, section 5.1)."""


class _Strict(msgspec.Struct, forbid_unknown_fields=True):
    """A part of ``spec``: an unknown field may change its meaning and is refused."""


class _Requirement(_Strict):
    key: str
    operator: Operator
    values: list[str] | None = None


class _Selector(_Strict):
    matchLabels: dict[str, str] | None = None  # noqa: N815  # the API's name
    matchExpressions: list[_Requirement] | None = None  # noqa: N815  # the API's name


class _Block(_Strict):
    cidr: str
    excepts: list[str] | None = msgspec.field(default=None, name="except")


class _Peer(_Strict):
    podSelector: _Selector | None = None  # noqa: N815  # the API's name
    namespaceSelector: _Selector | None = None  # noqa: N815  # the API's name
    ipBlock: _Block | None = None  # noqa: N815  # the API's name


class _Port(_Strict):
    protocol: Protocol | None = None
    port: int | str | None = None
    endPort: int | None = None  # noqa: N815  # the API's name


class _Ingress(_Strict):
    peers: list[_Peer] | None = msgspec.field(default=None, name="from")
    ports: list[_Port] | None = None


class _Egress(_Strict):
    peers: list[_Peer] | None = msgspec.field(default=None, name="to")
    ports: list[_Port] | None = None


class _Type(enum.Enum):
    INGRESS = "Ingress"
    EGRESS = "Egress"


class _Spec(_Strict):
    podSelector: _Selector | None = None  # noqa: N815  # the API's name
    policyTypes: list[_Type] | None = None  # noqa: N815  # the API's name
    ingress: list[_Ingress] | None = None
    egress: list[_Egress] | None = None


class _Parts(msgspec.Struct):
    """A spec of which something cannot be understood: read piece by piece."""

    podSelector: msgspec.Raw = msgspec.Raw(b"null")  # noqa: N815  # the API's name
    policyTypes: msgspec.Raw = msgspec.Raw(b"null")  # noqa: N815  # the API's name
    egress: msgspec.Raw = msgspec.Raw(b"null")


_spec_decoder = msgspec.json.Decoder(_Spec | None)
_parts_decoder = msgspec.json.Decoder(_Parts)
_selector_decoder = msgspec.json.Decoder(_Selector | None)
_types_decoder = msgspec.json.Decoder(list[_Type] | None)
_list_decoder = msgspec.json.Decoder(list[msgspec.Raw] | None)

_DIRECTIONS = {_Type.INGRESS: Direction.INGRESS, _Type.EGRESS: Direction.EGRESS}


def decode_policy(key: Key, spec: msgspec.Raw) -> Policy:
    """Decode the ``spec`` of a NetworkPolicy; never fails: see the module's docstring."""
    try:
        return _understood(key, _spec_decoder.decode(spec) or _Spec())
    except MALFORMED as error:
        return _denying(key, spec, _in_spec(error))
    except ValueError as error:
        return _denying(key, spec, str(error))


def _in_spec(error: Exception) -> str:
    """Say where in the object the decoder stopped (it writes ``$`` for the spec)."""
    text, found, place = str(error).partition(" - at `$")
    where = place.removesuffix("`") if found else ""
    return f"spec{where}: {text}"


def _fail(where: str, what: str) -> NoReturn:
    message = f"{where}: {what}"
    raise ValueError(message)


def _understood(key: Key, spec: _Spec) -> Policy:
    ingress = tuple(
        Rule(_peers(rule.peers, f"{at}.from"), _ports(rule.ports, f"{at}.ports"))
        for at, rule in _numbered("spec.ingress", spec.ingress)
    )
    egress = tuple(
        Rule(_peers(rule.peers, f"{at}.to"), _ports(rule.ports, f"{at}.ports"))
        for at, rule in _numbered("spec.egress", spec.egress)
    )
    rules = {Direction.INGRESS: ingress, Direction.EGRESS: egress}
    isolated = _isolated(spec.policyTypes, has_egress=bool(egress))
    return Policy(
        key=key,
        pods=_selector(spec.podSelector, "spec.podSelector"),
        rules={direction: rules[direction] for direction in isolated},
    )


def _isolated(types: list[_Type] | None, *, has_egress: bool) -> tuple[Direction, ...]:
    """Return the directions that a policy isolates, in a fixed order."""
    if types:
        named = {_DIRECTIONS[item] for item in types}
        return tuple(direction for direction in Direction if direction in named)
    return (Direction.INGRESS, Direction.EGRESS) if has_egress else (Direction.INGRESS,)


def _denying(key: Key, spec: msgspec.Raw, problem: str) -> Policy:
    """Make a policy that allows nothing out of what can still be read."""
    pods, isolated = EVERYTHING, tuple(Direction)
    try:
        parts = _parts_decoder.decode(spec)
        pods = _selector(_selector_decoder.decode(parts.podSelector), "spec.podSelector")
        isolated = _may_isolate(parts)
    except (*MALFORMED, ValueError):
        problem += " (podSelector cannot be read: it stands for every pod of the namespace)"
    return Policy(key, pods, dict.fromkeys(isolated, ()), problem)


def _may_isolate(parts: _Parts) -> tuple[Direction, ...]:
    try:
        types = _types_decoder.decode(parts.policyTypes)
        egress = _list_decoder.decode(parts.egress)
    except MALFORMED:
        return tuple(Direction)
    return _isolated(types, has_egress=bool(egress))


def _numbered(where: str, items: list[_Item] | None) -> list[tuple[str, _Item]]:
    return [(f"{where}[{index}]", item) for index, item in enumerate(items or ())]


def _selector(selector: _Selector | None, where: str) -> Selector:
    """Translate a selector; requirements are sorted, so that most that mean the same are equal."""
    if selector is None:
        return EVERYTHING
    labels = selector.matchLabels or {}
    equal = [Requirement(key, Operator.IN, frozenset({labels[key]})) for key in labels]
    expressions = _numbered(f"{where}.matchExpressions", selector.matchExpressions)
    requirements = {*equal, *(_requirement(item, at) for at, item in expressions)}
    order = sorted(requirements, key=lambda r: (r.key, r.operator.value, sorted(r.values)))
    return Selector(tuple(order))


def _requirement(item: _Requirement, where: str) -> Requirement:
    takes_values = item.operator in (Operator.IN, Operator.NOT_IN)
    if not item.key:
        _fail(where, "key is empty")
    if takes_values and not item.values:
        _fail(where, f"{item.operator.value} needs at least one value")
    if not takes_values and item.values:
        _fail(where, f"{item.operator.value} takes no values")
    return Requirement(item.key, item.operator, frozenset(item.values or ()))


def _peers(peers: list[_Peer] | None, where: str) -> tuple[Peer, ...] | EveryPeer:
    if not peers:
        return EveryPeer()
    return tuple(_peer(peer, at) for at, peer in _numbered(where, peers))


def _peer(peer: _Peer, where: str) -> Peer:
    selectors = peer.podSelector is not None or peer.namespaceSelector is not None
    if selectors and peer.ipBlock is not None:
        _fail(where, "ipBlock cannot stand beside a selector in one peer")
    if peer.ipBlock is not None:
        return _block(peer.ipBlock, f"{where}.ipBlock")
    if not selectors:
        _fail(where, "a peer needs podSelector, namespaceSelector or ipBlock")
    return PodPeer(
        pods=_selector(peer.podSelector, f"{where}.podSelector"),
        namespaces=_selector(peer.namespaceSelector, f"{where}.namespaceSelector"),
        own_namespace=peer.namespaceSelector is None,
    )


def _block(block: _Block, where: str) -> BlockPeer:
    try:
        network = parse_network(block.cidr)
        excepts = tuple(parse_network(text) for text in block.excepts or ())
    except ValueError as error:
        _fail(where, str(error))
    for item in excepts:
        inside = item.version == network.version and item.subnet_of(network)  # type: ignore[arg-type]  # same version
        if not inside or item == network:
            _fail(where, f"except {item} is no true part of {network}")
    return BlockPeer(network, excepts)


def _ports(ports: list[_Port] | None, where: str) -> tuple[Port, ...] | EveryPort:
    if not ports:
        return EveryPort()
    return tuple(_port(port, at) for at, port in _numbered(where, ports))


def _port(port: _Port, where: str) -> Port:
    protocol = port.protocol or Protocol.TCP
    match port.port:
        case None if port.endPort is not None:
            _fail(where, "endPort needs port")
        case None:
            return EveryPortOf(protocol)
        case str() if port.endPort is not None:
            _fail(where, "endPort needs a port number, not a name")
        case str() as name:
            return NamedPortRef(_port_name(name, where), protocol)
        case int() as first:
            last = first if port.endPort is None else port.endPort
            if not 1 <= first <= last <= LAST_PORT:
                _fail(where, f"{first} to {last} are no ports; 1 to {LAST_PORT} are, in order")
            return PortRange(protocol, first, last)


def _port_name(name: str, where: str) -> str:
    """Accept what the API accepts (RFC 6335): so the number 80 in quotes is a mistake."""
    plain = name.isascii() and name.replace("-", "").isalnum() and name == name.lower()
    letter = any(character.isalpha() for character in name)
    if plain and letter and len(name) <= _MAX_NAME:
        return name
    _fail(where, f"{name!r} is no name of a port")
