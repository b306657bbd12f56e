"""The seam to the operating system: read our tables, apply a transaction, ask the generation.

What changes all the time, elements and the epoch, goes to the kernel as raw netlink
(:mod:`enforcer.nft.batch`), and so do sets themselves (:mod:`enforcer.nft.declarations`). All else,
and reading, is an ``nft`` process, whose parser's memory goes with it (docs/decisions/0011).
"""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final, Protocol

import msgspec

from enforcer import programs
from enforcer.errors import DecodeError, KernelError, MissingError
from enforcer.nft import batch, elements, netlink
from enforcer.nft.declarations import crashes_older
from enforcer.nft.handles import Handles
from enforcer.nft.objects import (
    Chain,
    FieldType,
    Flowtable,
    Hook,
    HookName,
    Rule,
    Ruleset,
    Set,
    Table,
    TableId,
    VerdictMap,
    ruleset,
    table,
)
from enforcer.nft.transaction import AddSet, Transaction

OLDEST_NFT: Final = (1, 0, 2)
LONGEST_LINE: Final = 300
LARGEST_BATCH: Final = 4 << 20
"""Bytes of netlink messages in one transaction: some 40,000 elements."""


class Kernel(Protocol):
    """What a ruleset can be read from and written to."""

    def read(self, tables: Iterable[TableId]) -> Ruleset:
        """Return those of ``tables`` that exist, with everything in them."""

    def apply(self, transaction: Transaction) -> None:
        """Run a transaction, all of it or nothing.

        Raises KernelError with what the kernel said.
        """

    def generation(self) -> int:
        """Return a number that grows by one with every transaction on any table, by anyone."""


class NftKernel:
    """The kernel of this network namespace, through the ``nft`` program."""

    def __init__(self) -> None:
        """Nothing is known of the kernel yet."""
        self._generation: int | None = None
        self._netfilter = netlink.Netfilter()
        self._handles = Handles(self._netfilter)

    def read(self, tables: Iterable[TableId]) -> Ruleset:
        """Return those of ``tables`` that exist, with everything in them."""
        return ruleset(found for id_ in tables if (found := self._read_table(id_)) is not None)

    def apply(self, transaction: Transaction) -> None:
        """Run a transaction; KernelError says what was said and shows the offending line.

        LostRaceError where somebody changed a table since :meth:`generation` was last asked, as
        far as that can be known: ``nft`` does not tell.
        """
        makes_sets = any(isinstance(item, AddSet) for item in transaction.commands)
        messages = None
        if makes_sets or self._generation is not None:
            messages = batch.encode(transaction, self._handles.of)
        try:
            if messages and (makes_sets or _size(messages) <= LARGEST_BATCH):
                made = self._netfilter.commit(messages, self._generation or 0)
                self._handles.replaced(transaction, made)
            else:
                self._handles.forget()
                _apply_with_nft(transaction)
        except KernelError:
            self._handles.forget()
            raise
        if self._generation is not None:
            self._generation += 1

    def generation(self) -> int:
        """Return the kernel's generation number of this network namespace's ruleset."""
        found = self._netfilter.generation()
        if found != self._generation:
            self._handles.forget()
        self._generation = found
        return found

    def _read_table(self, id_: TableId) -> Table | None:
        result = run_nft(["-j", "list", "table", id_.family.value, id_.name])
        if result.returncode == 0:
            notes = self._netfilter.set_notes(batch.FAMILIES[id_.family], id_.name)
            if any(map(crashes_older, notes)):  # a former version's, or made by hand
                return Table(id_, foreign=True)
            return _decode_or_foreign(id_, result.stdout)
        if "No such file or directory" in result.stderr:
            return None
        msg = f"nft could not list table {id_}: {_said(result)}"
        raise KernelError(msg)


def _size(messages: Iterable[batch.Message]) -> int:
    return sum(len(attributes) for *_, attributes in messages)


def _apply_with_nft(transaction: Transaction) -> None:
    text = str(transaction)
    result = run_nft(["-f", "-"], text)
    if result.returncode:
        raise KernelError(_refusal(transaction.purpose, text, _said(result)))


def check_nft() -> None:
    """Raise MissingError unless a usable nft, nf_tables and the privilege are there."""
    version = run_nft(["--version"]).stdout
    numbers = re.search(r"v(\d+)\.(\d+)\.(\d+)", version)
    if numbers is None or tuple(map(int, numbers.groups())) < OLDEST_NFT:
        oldest = ".".join(map(str, OLDEST_NFT))
        msg = f"nft {oldest} or newer is needed, this is {version.strip() or 'unknown'!r}"
        raise MissingError(msg)
    result = run_nft(["list", "tables"])
    if result.returncode:
        msg = f"nft does not work here: {_said(result)}"
        raise MissingError(msg)


def _said(result: subprocess.CompletedProcess[str]) -> str:
    """Return what nft said; how it ended where it said nothing, as one that crashes does."""
    if (said := result.stderr.strip()) or result.returncode >= 0:
        return said or f"it ended with {result.returncode}"
    return (
        f"it was ended by {signal.Signals(-result.returncode).name}, as an nft is by sets that a"
        " newer one has made on this node: use an nft that is not older than that one"
    )


def run_nft(arguments: list[str], text: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run nft; a status that is not 0 is the caller's to judge.

    Raises MissingError where nft, the privilege or nf_tables is missing.
    """
    result = subprocess.run(  # noqa: S603 - a fixed program, arguments of our own
        [programs.find("nft"), *arguments],
        input=text,
        capture_output=True,
        check=False,
        encoding="utf-8",
        errors="replace",
    )
    if result.returncode:
        _raise_if_missing(result.stderr)
    return result


def _raise_if_missing(stderr: str) -> None:
    if "Operation not permitted" in stderr:
        msg = "changing nftables needs CAP_NET_ADMIN; run as root"
        raise MissingError(msg)
    if "Protocol not supported" in stderr or "Unable to initialize Netlink" in stderr:
        msg = "this kernel has no nf_tables; run: modprobe nf_tables"
        raise MissingError(msg)


def _refusal(purpose: str, text: str, told: str) -> str:
    said = next((line for line in told.splitlines() if "Error:" in line), told)
    lines = text.splitlines()
    place = re.match(r"\S+?:(\d+):", said)
    number = int(place.group(1)) if place else 0
    line = lines[number - 1] if 0 < number <= len(lines) else lines[0] if lines else ""
    reason = said.partition("Error: ")[2] or said
    return f"the kernel refused the {purpose or 'change'}: {reason}, at: {line[:LONGEST_LINE]}"


def _decode_or_foreign(id_: TableId, listing: str) -> Table:
    try:
        return decode_table(id_, listing)
    except DecodeError:
        return Table(id_, foreign=True)


def decode_table(id_: TableId, listing: str | bytes) -> Table:
    """Return the table in the output of ``nft -j list table``; DecodeError when it cannot be."""
    try:
        items = msgspec.json.decode(listing)["nftables"]
        return _decode_items(id_, items)
    except (msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
        msg = f"table {id_} as nft lists it cannot be understood: {error!r}"
        raise DecodeError(msg) from error


def _decode_items(id_: TableId, items: list[dict[str, Any]]) -> Table:
    rules: dict[str, list[Rule]] = {}
    for item in items:
        if (made := item.get("rule")) is not None:
            rules.setdefault(made["chain"], []).append(Rule(made.get("comment", "")))
    flowtables = [_decode_flowtable(item["flowtable"]) for item in items if "flowtable" in item]
    found = table(
        id_,
        sets=[_decode_set(item["set"]) for item in items if "set" in item],
        maps=[_decode_map(item["map"]) for item in items if "map" in item],
        chains=[_decode_chain(item["chain"], rules) for item in items if "chain" in item],
        # Dormant is the only flag that a table of ours can have. nft 1.0.6 prints rubbish for its
        # name, or ends in the middle: then the table is read as foreign.
        dormant=any("flags" in item.get("table", {}) for item in items),
    )
    return replace(found, flowtables={item.name: item for item in flowtables})


def _decode_flowtable(item: Mapping[str, Any]) -> Flowtable:
    devices = item.get("dev", [])
    return Flowtable(item["name"], frozenset([devices] if isinstance(devices, str) else devices))


def _decode_chain(item: Mapping[str, Any], rules: Mapping[str, list[Rule]]) -> Chain:
    hook = None
    if "hook" in item:
        if (item["type"], item["policy"]) != ("filter", "accept"):
            raise ValueError(f"no chain of ours is of {item['type']=} and {item['policy']=}")
        hook = Hook(HookName(item["hook"]), item["prio"])
    return Chain(item["name"], tuple(rules.get(item["name"], ())), hook)


def _decode_fields(item: Mapping[str, Any]) -> tuple[FieldType, ...]:
    match item["type"]:
        case {"typeof": {"concat": [*expressions]}}:  # nft 1.1 on; before, the types' names
            return tuple(_decode_expression(expression) for expression in expressions)
        case [*kinds]:
            return tuple(FieldType(kind) for kind in kinds)
        case kind:
            return (FieldType(kind),)


def _decode_expression(expression: Mapping[str, Any]) -> FieldType:
    """Return the type of a field that was declared by what is matched against it."""
    match expression:
        case {"meta": {"key": "iifname"}}:
            return FieldType.INTERFACE
        case {"payload": {"base": "th", "offset": 64, "len": 128}}:
            return FieldType.ND_TARGET
    raise ValueError(f"no set of ours has a field like {expression!r}")


def _decode_set(item: Mapping[str, Any]) -> Set:
    fields = _decode_fields(item)
    found = frozenset(elements.decode(element, fields) for element in item.get("elem", ()))
    interval = "interval" in item.get("flags", ())
    return Set(item["name"], fields, found, interval, room=item.get("size", 0))


def _decode_map(item: Mapping[str, Any]) -> VerdictMap:
    fields = _decode_fields(item)
    verdicts = {elements.decode(key, fields): verdict for key, verdict in item.get("elem", ())}
    gotos = frozenset(key for key, verdict in verdicts.items() if "goto" in verdict)
    targets = {
        key: verdict["goto" if key in gotos else "jump"]["target"]
        for key, verdict in verdicts.items()
    }
    return VerdictMap(item["name"], fields, targets, room=item.get("size", 0), gotos=gotos)
