"""Which pairs of axis values a run has met: counted on what was really probed, never assumed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations
from typing import TypeVar

import msgspec

from harness.matrix.axes import AXES, AddressKind, Placement, Protocol, State, Wiring
from harness.matrix.compare import Mark
from harness.matrix.profiles import Circumstances, Deviation, Profile, known
from harness.matrix.record import Coverage, EnvironmentRecord, MatrixRecord, StepRecord
from harness.matrix.tally import Seen, Tally

K = TypeVar("K")
Value = tuple[str, str]
Pair = frozenset[Value]
Counted = tuple[StepRecord, Counter[Seen]]
"""A step, and its cells by what is told of them."""

WORDS = (
    "Every pair of values of two axes is met at least once where it can be (pairwise). A matrix"
    " asks all placements, addresses and protocols at once; environments are chosen greedily, most"
    " new pairs of wiring, proxy and family first, then cases, by direction and state, most new"
    " pairs first; a case that brings no new pair runs where fewest do."
)


def cover(record: MatrixRecord, profile: Profile) -> MatrixRecord:
    """Add to a record which pairs were met, and which declared deviations did not happen."""
    met: set[Pair] = set()
    happened: set[str] = set()
    tally = Tally(record)
    steps = [(step, tally.of(step)) for step in record.steps]
    for step, cells in steps:
        _count(record, (step, cells), profile, met, happened)
    pairs = sorted(all_pairs(), key=_words)
    cannot = {_words(pair): why for pair in pairs if (why := why_impossible(pair))}
    possible = [pair for pair in pairs if _words(pair) not in cannot]
    coverage = Coverage(
        len(pairs),
        sum(pair in met for pair in possible),
        len(cannot),
        {_words(pair): _why(record, pair) for pair in possible if pair not in met},
        WORDS,
        cannot,
        _states(record, steps),
    )
    ran = {one.id for one in profile.deviations if _was_run(record, steps, one)}
    return msgspec.structs.replace(
        record, coverage=coverage, gone_deviations=tuple(sorted(ran - happened))
    )


def _count(
    record: MatrixRecord, counted: Counted, profile: Profile, met: set[Pair], happened: set[str]
) -> None:
    step, cells = counted
    environment = record.environments[step.environment]
    seen: set[tuple[Value, ...]] = set()
    for cell in cells:
        seen.add(_values(environment, cell))
        if cell.mark is Mark.KNOWN:
            declared = known(profile.deviations, *_circumstances(step, environment, cell))
            happened |= {declared.id} if declared else set()
    for values in seen:
        met.update(frozenset(pair) for pair in combinations(values, 2))


def _circumstances(
    step: StepRecord, environment: EnvironmentRecord, cell: Seen
) -> tuple[Circumstances, tuple[Placement, AddressKind, Protocol]]:
    """Return what a deviation speaks of."""
    where = Circumstances(step.case, Wiring(environment.wiring), cell.state)
    return where, (cell.placement, cell.address, cell.protocol)


def _states(record: MatrixRecord, steps: Iterable[Counted]) -> dict[str, dict[str, int]]:
    """Count the placements that each state was probed at, by wiring."""
    seen: defaultdict[tuple[str, str], set[Placement]] = defaultdict(set)
    for step, cells in steps:
        wiring = record.environments[step.environment].wiring
        for cell in cells:
            if cell.placement is not Placement.CONTROL:
                seen[cell.state.value, wiring].add(cell.placement)
    return {
        state.value: {
            wiring.value: len(seen[state.value, wiring.value])
            for wiring in Wiring
            if (state.value, wiring.value) in seen
        }
        for state in State
    }


def _values(environment: EnvironmentRecord, cell: Seen) -> tuple[Value, ...]:
    return (
        ("placement", cell.placement.value),
        ("address", cell.address.value),
        ("proxy", environment.proxy),
        ("wiring", environment.wiring),
        ("direction", cell.direction.value),
        ("protocol", cell.protocol.value),
        ("family", environment.family),
        ("state", cell.state.value),
    )


def all_pairs() -> Iterator[Pair]:
    """Yield every pair of values of two axes."""
    for (one, first), (other, second) in combinations(AXES.items(), 2):
        for a in first:
            for b in second:
                if Placement.CONTROL not in {a, b}:
                    yield frozenset(((one, str(a.value)), (other, str(b.value))))


_NO_POD = "a server that is no pod has no Service, and neither a pod's address nor a pod's port"
_OF_SERVERS: Mapping[AddressKind, tuple[frozenset[Placement], str]] = {
    AddressKind.NODE_IP: (
        frozenset({Placement.POD_TO_OWN_HOST, Placement.POD_TO_REMOTE_HOST}),
        "a node's own address leads to the node, not to a pod or outside",
    ),
    AddressKind.EXTERNAL: (
        frozenset({Placement.TO_OUTSIDE}),
        "an address outside leads to nobody within the cluster",
    ),
    AddressKind.HAIRPIN: (
        frozenset({Placement.SELF}),
        "hairpin is what a pod's own Service is called as seen by itself",
    ),
}
"""Kinds of address that only some servers have: at which placements, and why at no other."""
_NO_POD_SERVES = {
    Placement.POD_TO_OWN_HOST,
    Placement.POD_TO_REMOTE_HOST,
    Placement.TO_OUTSIDE,
}
_Sided = tuple[frozenset[str], str]
"""Directions that policies can speak of, and why of no other."""

_FROM_NODE: _Sided = (
    frozenset({"none", "ingress"}),
    "the client is a node, which no policy for egress selects",
)
_TO_NODE: _Sided = (
    frozenset({"none", "egress"}),
    "the server is a node, which no policy for ingress selects",
)
_TO_OUTSIDE: _Sided = (
    frozenset({"none", "egress"}),
    "the server is outside, and no policy for ingress selects it",
)
_ONE_SIDED: Mapping[Placement, _Sided] = {
    Placement.HOST_TO_OWN_POD: _FROM_NODE,
    Placement.HOST_TO_REMOTE_POD: _FROM_NODE,
    Placement.FROM_OUTSIDE: (
        frozenset({"none", "ingress"}),
        "the client is outside, and no policy for egress selects it",
    ),
    Placement.TO_OUTSIDE: _TO_OUTSIDE,
    Placement.POD_TO_OWN_HOST: (
        frozenset({"none"}),
        "a pod may always reach its own node, whatever policies say",
    ),
    Placement.POD_TO_REMOTE_HOST: _TO_NODE,
}
"""Directions that policies can speak of, where an end is no pod or nothing may be forbidden.

Behind another node's NodePort everybody has that node's address: so a node's own pods, and a pod
itself, may be strangers to themselves there.
"""
_ONE_SIDED_ADDRESSES: Mapping[AddressKind, _Sided] = {
    AddressKind.HAIRPIN: (
        frozenset({"none"}),
        "a pod may always reach itself, whatever policies say",
    ),
    AddressKind.NODE_IP: _TO_NODE,
    AddressKind.EXTERNAL: _TO_OUTSIDE,
}
_ICMP = {AddressKind.POD_IP, AddressKind.NODE_IP, AddressKind.EXTERNAL}


def why_impossible(pair: Pair) -> str:
    """Say why no connection can have both values of a pair; empty where one can."""
    axes = dict(pair)
    match sorted(axes):
        case ["address", "placement"]:
            return _no_address(Placement(axes["placement"]), AddressKind(axes["address"]))
        case ["direction", "placement"]:
            return _unless(_ONE_SIDED, Placement(axes["placement"]), axes["direction"])
        case ["address", "direction"]:
            return _unless(_ONE_SIDED_ADDRESSES, AddressKind(axes["address"]), axes["direction"])
        case ["address", "protocol"]:
            is_ping = Protocol(axes["protocol"]) is Protocol.ICMP
            if is_ping and AddressKind(axes["address"]) not in _ICMP:
                return "a Service and a NodePort have ports, and ICMP has none"
    return ""


def _unless(table: Mapping[K, _Sided], key: K, value: str) -> str:
    allowed, why = table.get(key, (frozenset({value}), ""))
    return "" if value in allowed else why


def _no_address(placement: Placement, address: AddressKind) -> str:
    if address in _OF_SERVERS:
        placements, why = _OF_SERVERS[address]
        return "" if placement in placements else why
    if placement in _NO_POD_SERVES:
        return _NO_POD
    if address is AddressKind.CLUSTER_IP:
        match placement:
            case Placement.FROM_OUTSIDE:
                return "a ClusterIP means nothing outside of the cluster"
            case Placement.SELF:
                return "a pod's own ClusterIP is called hairpin"
    return ""


def _words(pair: Pair) -> str:
    return " ".join(f"{axis}={value}" for axis, value in sorted(pair))


def _why(record: MatrixRecord, pair: Pair) -> str:
    for one in record.not_run:
        if (one.axis, one.value) in pair:
            return one.reason
    if record.missing():
        return "not among the cases that were run before the end"
    return "not among the cases that were chosen"


def _was_run(record: MatrixRecord, steps: Iterable[Counted], deviation: Deviation) -> bool:
    """Whether cells that a deviation speaks of were run."""
    return any(
        known([deviation], *_circumstances(step, record.environments[step.environment], cell))
        for step, cells in steps
        for cell in cells
    )
