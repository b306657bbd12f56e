"""The change from one ruleset to another, as transactions in an order that leaves no gap.

1. *prepare*: new chains with their rules, new sets with their elements. Nothing points at them.
2. *switch*: elements, verdicts and changed rules, all in one atomic step.
3. *sweep*: chains and sets that nothing points at any more.

Why prepare goes first: a packet that is under way sees the rules of the generation it started in,
but each set lookup shows it the newest elements. In one transaction it would meet the new verdict
map element, find the new chain still empty, return from it and pass.

A table that is missing is made whole in one transaction: until it is there packets meet nothing,
afterwards everything.

A table that cannot be changed in place has a stand-in while it is made anew: in one transaction a
packet could pass the new chain just before, when it is still empty, and the old one just after,
when it is empty already (the kernel asks the new one first). So no transaction both takes away and
brings what judges: the stand-in comes (*prepare*, *relieve*), the old table goes (*rest*, *clear*),
the new one comes (*switch*, *wake*; *shorten* gives it its short cut), the stand-in goes (*retire*,
*sweep*). At each moment one of them judges. Wherever this breaks off, the next diff goes on.

Beside others a table comes and goes in two steps, filled before and emptied after its chains are
asked: a packet that is in them while its elements come or go would not find those that let it pass.
(The kernel shows new elements of concatenated ranges a moment later than new rules.)

For the same reason a set whose ranges are cut otherwise is not changed but replaced, twice: by one
with another name, and by itself made anew (:mod:`enforcer.nft.aside`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TypeVar

from enforcer.nft.aside import with_sets_aside
from enforcer.nft.objects import Chain, Ruleset, Set, Table, TableId, VerdictMap
from enforcer.nft.transaction import (
    AddChain,
    AddElements,
    AddFlowtable,
    AddRule,
    AddSet,
    AddTable,
    AddTargets,
    Command,
    DeleteChain,
    DeleteElements,
    DeleteFlowtable,
    DeleteSet,
    DeleteTable,
    FlushChain,
    MakeDormant,
    ReplaceRules,
    Transaction,
)
from enforcer.pieces import difference

T = TypeVar("T")

FLOW_ADD = "flow add"  # what a rule that fills a short cut begins with

STAND_IN = "_stand_in"
"""What the name of a table's stand-in ends with."""


def diff(have: Ruleset, want: Ruleset) -> tuple[Transaction, ...]:
    """Return the transactions that turn ``have`` into ``want``; none when they are equal."""
    if have is want:
        return ()
    between = _with_sets_aside(have, want)
    if between is want:
        return _steps(have, want).transactions()
    return (*_steps(have, between).transactions(), *_steps(between, want).transactions())


def _with_sets_aside(have: Ruleset, want: Ruleset) -> Ruleset:
    """Return ``want`` with other sets for those that must not change while they are asked."""
    found = {
        id_: between
        for id_, new in want.tables.items()
        if (old := have.tables.get(id_)) is not None and old is not new
        if (between := with_sets_aside(old, new)) is not new
        if not _Pair.of(old, new).is_reshaped
    }
    return Ruleset({**want.tables, **found}) if found else want


def _steps(have: Ruleset, want: Ruleset) -> _Steps:
    steps = _Steps()
    gone = have.tables.keys() - want.tables.keys()
    for id_ in sorted(want.tables, key=str):
        new, old = want.tables[id_], have.tables.get(id_)
        if old is new:
            continue
        pair = _Pair.of(old, new) if old is not None else None
        if pair is not None and pair.is_reshaped:
            steps.prepare += _stand_in(new, have)
            steps.relieve.append(AddTable(stand_in(id_)))
            steps.rest.append(MakeDormant(id_))
            steps.clear.append(DeleteTable(id_))
            gone |= {stand_in(id_)}
            pair = None
        if pair is not None:
            steps.change(pair)
        elif gone:
            steps.bring(new)
        else:
            steps.switch += _create(new)
    for id_ in sorted(gone, key=str):
        steps.retire.append(MakeDormant(id_))
        steps.sweep.append(DeleteTable(id_))
    return steps


@dataclass(slots=True)
class _Steps:
    """What becomes the transactions, in this order: the module's docstring says why."""

    prepare: list[Command] = field(default_factory=list)
    relieve: list[Command] = field(default_factory=list)
    rest: list[Command] = field(default_factory=list)
    clear: list[Command] = field(default_factory=list)
    switch: list[Command] = field(default_factory=list)
    wake: list[Command] = field(default_factory=list)
    shorten: list[Command] = field(default_factory=list)
    retire: list[Command] = field(default_factory=list)
    sweep: list[Command] = field(default_factory=list)

    def change(self, pair: _Pair) -> None:
        """Change a table in place."""
        if pair.old != pair.new:
            self.prepare += _prepare(pair.old, pair.new)
            self.switch += _switch(pair)
            self.sweep += _sweep(pair.old, pair.new)

    def bring(self, new: Table) -> None:
        """Bring a table beside others that judge until it does."""
        bare = _without_short_cut(new)
        self.switch += _create(replace(bare, dormant=True))
        self.wake.append(AddTable(new.id))
        self.shorten += _change_flowtables(bare, new) if new.flowtables else ()

    def transactions(self) -> tuple[Transaction, ...]:
        """Return the steps in which there is something to do."""
        steps = ((each.name, getattr(self, each.name)) for each in fields(self))
        return tuple(Transaction(tuple(commands), name) for name, commands in steps if commands)


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two versions of a table, and by name what is in both and not the very same object."""

    old: Table
    new: Table
    sets: list[str]
    maps: list[str]
    chains: list[str]

    @classmethod
    def of(cls, old: Table, new: Table) -> _Pair:
        return cls(
            old,
            new,
            _both(old.sets, new.sets),
            _both(old.maps, new.maps),
            _both(old.chains, new.chains),
        )

    @property
    def is_reshaped(self) -> bool:
        """Whether an object keeps its name but not its type: only a new table can follow that."""
        old, new = self.old, self.new
        return (
            old.foreign
            or any(_shape(old.sets[name]) != _shape(new.sets[name]) for name in self.sets)
            or any(_shape(old.maps[name]) != _shape(new.maps[name]) for name in self.maps)
            or any(old.chains[name].hook != new.chains[name].hook for name in self.chains)
            or bool(old.sets.keys() & new.maps.keys() or old.maps.keys() & new.sets.keys())
        )


def stand_in(id_: TableId) -> TableId:
    """Return the name of the table that judges while another one is made anew."""
    return TableId(id_.family, f"{id_.name}{STAND_IN}")


def _stand_in(table: Table, have: Ruleset) -> Iterator[Command]:
    """Yield what makes a table's stand-in; it is not asked yet.

    One that was left and judges stays as it is: without it nothing may judge.
    """
    left = have.tables.get(stand_in(table.id))
    if left and not (left.dormant or left.foreign):
        return
    if left:
        yield DeleteTable(left.id)
    bare = _without_short_cut(table)
    yield from _create(replace(bare, id=stand_in(table.id), dormant=True))


def _without_short_cut(table: Table) -> Table:
    """Return what judges as a table does: an interface is in one flowtable at most."""
    chains = {
        chain.name: replace(
            chain,
            rules=tuple(item for item in chain.rules if not item.expression.startswith(FLOW_ADD)),
        )
        for chain in table.chains.values()
    }
    return replace(table, chains=chains, flowtables={})


def _shape(item: Set | VerdictMap) -> tuple[object, ...]:
    return item.type, item.room


def _create(table: Table) -> Iterator[Command]:
    yield MakeDormant(table.id) if table.dormant else AddTable(table.id)
    yield from (AddFlowtable(table.id, item) for item in table.flowtables.values())
    yield from _create_objects(
        table.id, table.chains.values(), table.sets.values(), table.maps.values()
    )


def _prepare(old: Table, new: Table) -> Iterator[Command]:
    # A new base chain would judge packets at once: its rules go in with it, but in the switch.
    return _create_objects(
        new.id,
        [chain for chain in _only(new.chains, old.chains) if chain.hook is None],
        _only(new.sets, old.sets),
        _only(new.maps, old.maps),
    )


def _create_objects(
    table: TableId, chains: Iterable[Chain], sets: Iterable[Set], maps: Iterable[VerdictMap]
) -> Iterator[Command]:
    """Yield commands in an order in which every name is known before it is used."""
    chains, sets, maps = list(chains), list(sets), list(maps)
    yield from (AddChain(table, chain) for chain in chains)
    for set_ in sets:
        yield AddSet(table, set_)
        yield from _add_elements(table, set_, set_.elements)
    for map_ in maps:
        yield AddSet(table, map_)
        yield from _add_targets(table, map_, map_.targets)
    for chain in chains:
        yield from (AddRule(table, chain.name, rule) for rule in chain.rules)


def _switch(pair: _Pair) -> Iterator[Command]:
    old, new = pair.old, pair.new
    if old.dormant and not new.dormant:
        yield AddTable(new.id)
    for name in pair.sets:
        yield from _change_set(new.id, old.sets[name], new.sets[name])
    for name in pair.maps:
        yield from _change_map(new.id, old.maps[name], new.maps[name])
    for chain in _only(new.chains, old.chains):
        if chain.hook is not None:
            yield AddChain(new.id, chain)
            yield from (AddRule(new.id, chain.name, rule) for rule in chain.rules)
    if old.flowtables != new.flowtables:
        yield from _change_flowtables(old, new)
        return
    for name in pair.chains:
        before, after = old.chains[name].rules, new.chains[name].rules
        if before != after:
            change = ReplaceRules(new.id, name, before, after)
            yield from (change,) if len(before) == len(after) else change.anew()


def _change_flowtables(old: Table, new: Table) -> Iterator[Command]:
    """Yield what empties the short cut, and every rule that changes with it.

    A flowtable is deleted while no rule adds to it, and made before one does.
    """
    fills = tuple(f"{FLOW_ADD} @{name}" for name in new.flowtables)
    changed = [
        name
        for name in sorted(old.chains.keys() & new.chains.keys())
        if old.chains[name].rules != new.chains[name].rules
        or any(rule.expression.startswith(fills) for rule in new.chains[name].rules if fills)
    ]
    yield from (FlushChain(new.id, name) for name in changed)
    yield from (DeleteFlowtable(new.id, name) for name in sorted(old.flowtables))
    yield from (AddFlowtable(new.id, item) for item in new.flowtables.values())
    for name in changed:
        yield from (AddRule(new.id, name, rule) for rule in new.chains[name].rules)


def _change_set(table: TableId, old: Set, new: Set) -> Iterator[Command]:
    gone, come = difference(old.elements, new.elements)
    if gone:
        yield DeleteElements(table, new.name, tuple(sorted(gone)), new.type)
    yield from _add_elements(table, new, come)


def _change_map(table: TableId, old: VerdictMap, new: VerdictMap) -> Iterator[Command]:
    before, after = _verdicts(old), _verdicts(new)
    if gone := tuple(sorted(key for key, *_ in before - after)):
        yield DeleteElements(table, new.name, gone, new.type)
    yield from _add_targets(table, new, {key: chain for key, chain, _ in after - before})


def _verdicts(map_: VerdictMap) -> set[tuple[str, str, bool]]:
    return {(key, chain, key in map_.gotos) for key, chain in map_.targets.items()}


def _sweep(old: Table, new: Table) -> Iterator[Command]:
    chains = sorted(old.chains.keys() - new.chains.keys())
    yield from (FlushChain(new.id, name) for name in chains)
    for map_ in sorted(old.maps.keys() - new.maps.keys()):
        yield DeleteSet(new.id, map_)
    yield from (DeleteChain(new.id, name) for name in chains)
    yield from (DeleteSet(new.id, name) for name in sorted(old.sets.keys() - new.sets.keys()))


def _add_elements(table: TableId, to: Set, elements: Iterable[str]) -> Iterator[Command]:
    if ordered := tuple(sorted(elements)):
        yield AddElements(table, to.name, ordered, to.type)


def _add_targets(table: TableId, to: VerdictMap, targets: Mapping[str, str]) -> Iterator[Command]:
    if ordered := tuple(sorted(targets.items())):
        gotos = to.gotos & targets.keys()
        yield AddTargets(table, to.name, ordered, to.type, gotos)


def _both(old: Mapping[str, T], new: Mapping[str, T]) -> list[str]:
    """Return the names that are in both and not the very same object."""
    others = [name for name, item in new.items() if old.get(name) is not item]
    return sorted(name for name in others if name in old)


def _only(these: Mapping[str, T], those: Mapping[str, T]) -> list[T]:
    if these.keys() <= those.keys():
        return []
    return [these[name] for name in these if name not in those]
