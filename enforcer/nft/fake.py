"""A kernel in memory that refuses what the kernel refuses. Its tests run against both.

Only what a transaction of ours can get wrong is modelled: missing and referenced objects, verdicts
that contradict, overlapping intervals are left to the kernel.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TypeVar, assert_never

from enforcer.errors import KernelError
from enforcer.nft.objects import LOOKUP, Chain, Ruleset, Set, Table, TableId, VerdictMap, ruleset
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
    command_text,
)

MISSING = "No such file or directory"
EXISTS = "File exists"
BUSY = "Device or resource busy"
WRONG = "Invalid argument"
FULL = "Too many open files in system"  # ENFILE

JUMP = re.compile(r"\b(?:jump|goto) ([\w./-]+)")

K = TypeVar("K")
T = TypeVar("T")


class FakeKernel:
    """Keeps tables as the kernel does; a refused transaction changes nothing."""

    def __init__(self) -> None:
        """Start without tables."""
        self._tables: dict[TableId, Table] = {}
        self._generation = 1
        self.applied: list[Transaction] = []

    def read(self, tables: Iterable[TableId]) -> Ruleset:
        """Return those of ``tables`` that exist, with everything in them."""
        return ruleset(self._tables[id_] for id_ in tables if id_ in self._tables)

    def apply(self, transaction: Transaction) -> None:
        """Run a transaction, all of it or nothing; KernelError says what the kernel would."""
        tables = dict(self._tables)
        for command in transaction.commands:
            _run(tables, command)
        self._tables = tables
        self._generation += 1
        self.applied.append(transaction)

    def generation(self) -> int:
        """Return the number of transactions so far, and one."""
        return self._generation


def _run(tables: dict[TableId, Table], command: Command) -> None:
    match command:
        case AddTable(id_):
            tables[id_] = replace(tables.get(id_, Table(id_)), dormant=False)
        case DeleteTable(id_):
            _get(tables, id_, command)
            del tables[id_]
        case MakeDormant(id_):
            tables[id_] = replace(tables.get(id_, Table(id_)), dormant=True)
        case ReplaceRules():
            for each in command.anew():
                _run(tables, each)
        case AddChain() | FlushChain() | DeleteChain() | AddRule():
            table = _get(tables, command.table, command)
            tables[command.table] = replace(table, chains=_run_chain(table, command))
        case AddSet() | DeleteSet():
            table = _get(tables, command.table, command)
            tables[command.table] = _run_set(table, command)
        case AddElements() | AddTargets() | DeleteElements():
            table = _get(tables, command.table, command)
            tables[command.table] = _run_elements(table, command)
        case AddFlowtable() | DeleteFlowtable():
            table = _get(tables, command.table, command)
            tables[command.table] = _run_flowtable(table, command)


def _run_chain(
    table: Table, command: AddChain | FlushChain | DeleteChain | AddRule
) -> dict[str, Chain]:
    chains = dict(table.chains)
    match command:
        case AddChain(_, chain):
            old = chains.setdefault(chain.name, Chain(chain.name, hook=chain.hook))
            _refuse_if(old.hook != chain.hook, EXISTS, command)
        case FlushChain(_, name):
            chains[name] = replace(_get(chains, name, command), rules=())
        case DeleteChain(_, name):
            _get(chains, name, command)
            _refuse_if(_is_target(table, name), BUSY, command)
            del chains[name]
        case AddRule(_, name, rule):
            known = table.sets.keys() | table.maps.keys() | table.flowtables.keys()
            for target in JUMP.findall(rule.expression):
                _refuse_if(target not in chains, MISSING, command)
            for set_ in LOOKUP.findall(rule.expression):
                _refuse_if(set_ not in known, MISSING, command)
            chain = _get(chains, name, command)
            chains[name] = replace(chain, rules=(*chain.rules, rule))
        case _:
            assert_never(command)
    return chains


def _is_target(table: Table, name: str) -> bool:
    """Whether another chain's rule or a map's element jumps to the chain."""
    return any(name in map_.targets.values() for map_ in table.maps.values()) or any(
        name in JUMP.findall(rule.expression)
        for chain in table.chains.values()
        if chain.name != name
        for rule in chain.rules
    )


def _run_set(table: Table, command: AddSet | DeleteSet) -> Table:
    sets, maps = dict(table.sets), dict(table.maps)
    match command:
        case AddSet(_, Set() as set_):
            _refuse_if(set_.name in maps, EXISTS, command)
            old = sets.setdefault(set_.name, replace(set_, elements=frozenset()))
            _refuse_if(old.type != set_.type, EXISTS, command)
        case AddSet(_, VerdictMap() as map_):
            _refuse_if(map_.name in sets, EXISTS, command)
            known = maps.setdefault(map_.name, replace(map_, targets={}, gotos=frozenset()))
            _refuse_if(known.fields != map_.fields, EXISTS, command)
        case DeleteSet(_, name):
            _refuse_if(name not in sets and name not in maps, MISSING, command)
            _refuse_if(_is_asked(table, name), BUSY, command)
            sets.pop(name, None)
            maps.pop(name, None)
        case _:
            raise AssertionError(command)
    return replace(table, sets=sets, maps=maps)


def _run_flowtable(table: Table, command: AddFlowtable | DeleteFlowtable) -> Table:
    known = dict(table.flowtables)
    match command:
        case AddFlowtable(_, flowtable):
            taken = {device for it in known.values() for device in it.devices}
            _refuse_if(not flowtable.devices.isdisjoint(taken), EXISTS, command)
            known[flowtable.name] = flowtable
        case DeleteFlowtable(_, name):
            _get(known, name, command)
            _refuse_if(_is_asked(table, name), BUSY, command)
            del known[name]
    return replace(table, flowtables=known)


def _is_asked(table: Table, name: str) -> bool:
    rules = (rule for chain in table.chains.values() for rule in chain.rules)
    return any(name in LOOKUP.findall(rule.expression) for rule in rules)


def _run_elements(table: Table, command: AddElements | AddTargets | DeleteElements) -> Table:
    match command:
        case AddElements(_, name, elements):
            set_ = _get(table.sets, name, command)
            _refuse_if(any(not _fits(item, set_) for item in elements), WRONG, command)
            found = set_.elements | set(elements)
            _refuse_if(0 < set_.room < len(found), FULL, command)
            return _with_set(table, replace(set_, elements=found))
        case AddTargets(_, name, targets, gotos=gotos):
            map_ = _get(table.maps, name, command)
            for key, chain in targets:
                _refuse_if(chain not in table.chains, MISSING, command)
                verdict = chain, key in gotos
                known_verdict = map_.targets.get(key, chain), key in map_.gotos
                _refuse_if(key in map_.targets and known_verdict != verdict, EXISTS, command)
            known = {**map_.targets, **dict(targets)}
            _refuse_if(0 < map_.room < len(known), FULL, command)
            return _with_map(table, replace(map_, targets=known, gotos=map_.gotos | gotos))
        case DeleteElements(_, name, elements):
            return _delete_elements(table, name, elements, command)
    assert_never(command)


def _delete_elements(
    table: Table, name: str, elements: Iterable[str], command: DeleteElements
) -> Table:
    gone = set(elements)
    if name in table.maps:
        map_ = table.maps[name]
        _refuse_if(not gone <= map_.targets.keys(), MISSING, command)
        kept = {key: chain for key, chain in map_.targets.items() if key not in gone}
        return _with_map(table, replace(map_, targets=kept, gotos=map_.gotos - gone))
    set_ = _get(table.sets, name, command)
    _refuse_if(not gone <= set_.elements, MISSING, command)
    return _with_set(table, replace(set_, elements=set_.elements - gone))


def _with_set(table: Table, set_: Set) -> Table:
    return replace(table, sets={**table.sets, set_.name: set_})


def _with_map(table: Table, map_: VerdictMap) -> Table:
    return replace(table, maps={**table.maps, map_.name: map_})


def _fits(element: str, set_: Set) -> bool:
    return element.count(" . ") == len(set_.fields) - 1


def _get(items: Mapping[K, T], name: K, command: Command) -> T:
    _refuse_if(name not in items, MISSING, command)
    return items[name]


def _refuse_if(wrong: bool, reason: str, command: Command) -> None:  # noqa: FBT001 - a condition
    if wrong:
        line = command_text(command).partition("\n")[0]
        raise KernelError(f"the kernel refused: {reason}, at: {line}")
