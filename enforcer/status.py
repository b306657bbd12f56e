"""``enforcer status``: what is in this node's kernel, and what its daemon says of itself."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from enforcer.health import Answer
from enforcer.model.net import Family
from enforcer.nft.objects import Ruleset, Table
from enforcer.ruleset.epoch import stamped
from enforcer.ruleset.names import BRIDGE, CURRENT, HEADERS, JUDGES, TABLES
from enforcer.ruleset.room import PODS, named
from enforcer.wiring import BridgeFlag

_LAST_SYNC = re.compile(r"^enforcer_last_sync_timestamp_seconds (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class TableStatus:
    """One table of ours as the kernel holds it."""

    name: str
    present: bool
    dormant: bool = False
    foreign: bool = False
    chains: int = 0
    sets: int = 0
    elements: int = 0


@dataclass(frozen=True, slots=True)
class Status:
    """The kernel's tables and the daemon's own word; ``daemon`` is None where none answers."""

    tables: tuple[TableStatus, ...]
    epochs: Mapping[Family, int]
    pods: int
    bridges: tuple[str, ...]
    daemon: Answer | None
    last_sync: datetime | None

    @property
    def ready(self) -> bool:
        """Whether a daemon answers and is in sync."""
        return self.daemon is not None and not self.daemon.waiting_for


def status_of(found: Ruleset, daemon: Answer | None) -> Status:
    """Return the status of tables that were read back, and of a daemon's answer."""
    judges = [(family, found.tables.get(id_)) for family, id_ in JUDGES.items()]
    pods = [named(its.sets, f"{PODS}{family.value}") for family, its in judges if its]
    bridge = found.tables.get(BRIDGE)
    flagged = [bridge.sets.get(flag.value) for flag in BridgeFlag] if bridge else []
    return Status(
        tables=tuple(
            _table(str(id_), found.tables.get(id_))
            for id_ in TABLES
            if id_ in CURRENT or id_ in found.tables
        ),
        epochs={family: stamp.epoch for family, its in judges if (stamp := stamped(its))},
        pods=sum(len(item.elements) for item in pods if item),
        bridges=tuple(sorted({name for item in flagged if item for name in item.elements})),
        daemon=daemon,
        last_sync=_last_sync(daemon),
    )


def _table(name: str, table: Table | None) -> TableStatus:
    if table is None:
        return TableStatus(name, present=False)
    elements = sum(len(item.elements) for item in table.sets.values())
    elements += sum(len(item.targets) for item in table.maps.values())
    sets = len(table.sets) + len(table.maps)
    chains = len(table.chains)
    return TableStatus(name, True, table.dormant, table.foreign, chains, sets, elements)  # noqa: FBT003


def _last_sync(daemon: Answer | None) -> datetime | None:
    match = _LAST_SYNC.search(daemon.metrics) if daemon else None
    seconds = float(match[1]) if match else 0.0
    return datetime.fromtimestamp(seconds, UTC) if seconds else None


def lines(status: Status) -> Iterator[str]:
    """Return a status for a person, line by line."""
    yield from map(_table_line, status.tables)
    if status.epochs:
        epochs = (f"{HEADERS[family]} {epoch}" for family, epoch in status.epochs.items())
        yield f"epoch {', '.join(epochs)}; {status.pods} pod addresses"
    for bridge in status.bridges:
        yield f"bridge {bridge}: made to show its packets by us"
    if status.daemon is None:
        yield "daemon: none answers; rules that are in the kernel stay in force"
        return
    yield f"daemon: {'ready' if status.ready else 'not ready'}"
    yield from (f"  waiting for {reason}" for reason in status.daemon.waiting_for)
    if status.last_sync is not None:
        yield f"  last sync: {status.last_sync.isoformat(timespec='seconds')}"


def _table_line(table: TableStatus) -> str:
    if not table.present:
        return f"table {table.name}: not there"
    state = ", dormant: it judges nothing" if table.dormant else ""
    state += ", foreign: not as this version writes it" if table.foreign else ""
    counts = f"{table.chains} chains, {table.sets} sets and maps, {table.elements} elements"
    return f"table {table.name}: {counts}{state}"


def as_json(status: Status) -> dict[str, object]:
    """Return a status as plain values for JSON."""
    return {
        "tables": [
            {
                "name": table.name,
                "present": table.present,
                "dormant": table.dormant,
                "foreign": table.foreign,
                "chains": table.chains,
                "sets": table.sets,
                "elements": table.elements,
            }
            for table in status.tables
        ],
        "epochs": {HEADERS[family]: epoch for family, epoch in status.epochs.items()},
        "podAddresses": status.pods,
        "bridges": [name.strip('"') for name in status.bridges],
        "daemon": status.daemon is not None,
        "ready": status.ready,
        "waitingFor": list(status.daemon.waiting_for) if status.daemon else [],
        "lastSync": status.last_sync.isoformat() if status.last_sync else None,
    }
