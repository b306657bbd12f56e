"""A run of changes that was cut off, taken up again: its whole sizes stay, the torn one is redone.

At each size the daemons start anew, so a size is the piece that can be measured by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.errors import UsageError
from harness.measure.changes import record
from harness.results import RunFolder


@dataclass(frozen=True, slots=True)
class Earlier:
    """What a run had come to."""

    sizes: tuple[Mapping[str, Any], ...] = ()
    """What is stored of each size that was measured to its end."""

    at: float = 0.0
    """Seconds from the start of the measurement to its last event."""

    @property
    def done(self) -> frozenset[int]:
        """The sizes that need nothing more."""
        return frozenset(int(each["size"]) for each in self.sizes)


NOTHING = Earlier()


def earlier(folder: RunFolder) -> Earlier:
    """Read what a run had come to; UsageError where it cannot be taken up."""
    if folder.read_json("run.json")["status"] == "passed":
        raise UsageError(f"--resume {folder.path}: this run is complete")
    if not (folder.path / record.NOTES).exists():
        return NOTHING
    facts = folder.read_json(record.NOTES)
    if facts.get("format") != record.FORMAT:
        raise UsageError(f"--resume {folder.path}: stored by another version; start it anew")
    found = tuple(facts["sizes"])
    known = Earlier(found).done
    events = record.events(folder.path / record.EVENTS)
    return Earlier(found, max((row.at for row in events if row.size in known), default=0.0))


def mend(folder: RunFolder, known: Earlier) -> None:
    """Take what belongs to no whole size out of the files of events and resources."""
    for name in (record.EVENTS, record.RESOURCES):
        record.keep(folder.path / name, known.done)
