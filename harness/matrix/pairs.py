"""Which pairs of axis values a run has met: counted on what was really probed, never assumed."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import msgspec

from harness.matrix.axes import (
    AXES,
    AddressKind,
    Placement,
    Protocol,
    State,
    Wiring,
)
from harness.matrix.compare import Mark
from harness.matrix.profiles import Circumstances, Profile, known
from harness.matrix.record import CellView, Coverage, EnvironmentRecord, MatrixRecord, StepRecord

Value = tuple[str, str]
Pair = frozenset[Value]

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
    for step in record.steps:
        _count(record, step, profile, met, happened)
    possible = set(all_pairs())
    impossible = {pair for pair in possible if is_impossible(pair)}
    left = possible - impossible - met
    coverage = Coverage(
        len(possible),
        len(met & possible),
        len(impossible),
        {_words(pair): _why(record, pair) for pair in sorted(left, key=_words)},
        WORDS,
    )
    ran = {one.id for one in profile.deviations if _was_run(record, one.id, profile)}
    return msgspec.structs.replace(
        record, coverage=coverage, gone_deviations=tuple(sorted(ran - happened))
    )


def _count(
    record: MatrixRecord, step: StepRecord, profile: Profile, met: set[Pair], happened: set[str]
) -> None:
    environment = record.environments[step.environment]
    seen: set[tuple[Value, ...]] = set()
    for state, view in record.all_views(step):
        seen.add(_values(environment, state, view))
        if view.mark is Mark.KNOWN:
            where = Circumstances(step.case, Wiring(environment.wiring), state)
            cell = (view.placement, view.kind, view.protocol)
            declared = known(profile.deviations, where, cell)
            happened |= {declared.id} if declared else set()
    for values in seen:
        met.update(frozenset(pair) for pair in combinations(values, 2))


def _values(environment: EnvironmentRecord, state: State, view: CellView) -> tuple[Value, ...]:
    return (
        ("placement", view.placement.value),
        ("address", view.kind.value),
        ("proxy", environment.proxy),
        ("wiring", environment.wiring),
        ("direction", view.direction.value),
        ("protocol", view.protocol.value),
        ("family", environment.family),
        ("state", state.value),
    )


def all_pairs() -> Iterator[Pair]:
    """Yield every pair of values of two axes."""
    for (one, first), (other, second) in combinations(AXES.items(), 2):
        for a in first:
            for b in second:
                if Placement.CONTROL not in {a, b}:
                    yield frozenset(((one, str(a.value)), (other, str(b.value))))


_ADDRESSES = {
    Placement.SELF: {AddressKind.POD_IP, AddressKind.HAIRPIN, AddressKind.NODE_PORT,
                     AddressKind.NODE_PORT_ELSEWHERE},
    Placement.POD_TO_OWN_HOST: {AddressKind.NODE_IP},
    Placement.POD_TO_REMOTE_HOST: {AddressKind.NODE_IP},
    Placement.TO_OUTSIDE: {AddressKind.EXTERNAL},
    Placement.FROM_OUTSIDE: {AddressKind.POD_IP, AddressKind.NODE_PORT,
                             AddressKind.NODE_PORT_ELSEWHERE},
}  # fmt: skip
_WITHIN = {AddressKind.POD_IP, AddressKind.CLUSTER_IP, AddressKind.NODE_PORT,
           AddressKind.NODE_PORT_ELSEWHERE}  # fmt: skip
_ICMP = {AddressKind.POD_IP, AddressKind.NODE_IP, AddressKind.EXTERNAL}
_ONE_SIDED = {
    Placement.HOST_TO_OWN_POD: {"none"},
    Placement.HOST_TO_REMOTE_POD: {"none", "ingress"},
    Placement.FROM_OUTSIDE: {"none", "ingress"},
    Placement.TO_OUTSIDE: {"none", "egress"},
    Placement.POD_TO_OWN_HOST: {"none"},
    Placement.POD_TO_REMOTE_HOST: {"none", "egress"},
    Placement.SELF: {"none"},
}
"""Directions that policies can speak of, where an end is no pod or nothing may be forbidden."""


def is_impossible(pair: Pair) -> bool:  # noqa: PLR0911  # a table of axes in pairs
    """Whether no connection can have both values: a ClusterIP means nothing outside, and so on."""
    axes = dict(pair)
    if "placement" in axes:
        placement = Placement(axes["placement"])
        if "address" in axes:
            return AddressKind(axes["address"]) not in _ADDRESSES.get(placement, _WITHIN)
        if "direction" in axes:
            # A NodePort of another node shows policies a node where a pod was: all may happen
            return placement in _ONE_SIDED and axes["direction"] not in _ONE_SIDED[placement]
        if "state" in axes:
            return placement is Placement.SELF and axes["state"] == State.ESTABLISHED.value
    if "address" in axes:
        kind = AddressKind(axes["address"])
        if "protocol" in axes:
            return Protocol(axes["protocol"]) is Protocol.ICMP and kind not in _ICMP
        if "direction" in axes:
            outer = kind in {AddressKind.EXTERNAL, AddressKind.NODE_IP}
            hairpin = kind is AddressKind.HAIRPIN and axes["direction"] != "none"
            return hairpin or (outer and axes["direction"] not in {"none", "egress"})
        if "state" in axes:
            held = {AddressKind.POD_IP, AddressKind.CLUSTER_IP, AddressKind.EXTERNAL}
            return axes["state"] == State.ESTABLISHED.value and kind not in held
    if axes.get("state") == State.ESTABLISHED.value and "protocol" in axes:
        return axes["protocol"] in {Protocol.UDP.value, Protocol.ICMP.value}
    return False


def _words(pair: Pair) -> str:
    return " ".join(f"{axis}={value}" for axis, value in sorted(pair))


def _why(record: MatrixRecord, pair: Pair) -> str:
    for one in record.not_run:
        if (one.axis, one.value) in pair:
            return one.reason
    if record.missing():
        return "not among the cases that were run before the end"
    return "not among the cases that were chosen"


def _was_run(record: MatrixRecord, identity: str, profile: Profile) -> bool:
    """Whether cells that a deviation speaks of were run."""
    deviation = next(one for one in profile.deviations if one.id == identity)
    for step in record.steps:
        wiring = Wiring(record.environments[step.environment].wiring)
        for state, view in record.all_views(step):
            where = Circumstances(step.case, wiring, state)
            if known([deviation], where, (view.placement, view.kind, view.protocol)):
                return True
    return False
