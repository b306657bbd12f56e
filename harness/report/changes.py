"""The report of ``perf --changes``: figure, ``report.html`` and ``report.md``, from its files."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.measure.changes import record
from harness.measure.changes.record import EventRow, Load, ResourceRow
from harness.measure.changes.resources import Phase
from harness.measure.changes.run import STARTED_DENIED, STARTED_REACHED
from harness.measure.voiding import MOST_LOAD
from harness.measure.windows import changes
from harness.measure.windows.arithmetic import quantile
from harness.measure.windows.instrument import FLOOR
from harness.prober.stream import Flow
from harness.report import latencies, pages
from harness.results import RunFolder

HTML = "report.html"
MARKDOWN = "report.md"
_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Latency:
    """The events of one kind in one setting, as one flow saw them; times in milliseconds."""

    first: EventRow
    counted: tuple[EventRow, ...]
    void: tuple[EventRow, ...]

    def at(self, share: float) -> float:
        """Return the smallest time that at least ``share`` of the events did not exceed."""
        return quantile([row.milliseconds for row in self.counted], share)

    @property
    def name(self) -> str:
        """What the change is called."""
        return latencies.NAMES[self.first.change]

    @property
    def load(self) -> str:
        """What went on beside it."""
        return latencies.LOADS[self.first.load]

    @property
    def resolution(self) -> float:
        """How far the truth may be from what is told, in the middle."""
        return quantile([row.first_right_ms - row.last_wrong_ms for row in self.counted], 0.5)

    @property
    def reasons(self) -> str:
        """Why some do not count, or a dash."""
        found = Counter(row.void for row in self.void)
        return "; ".join(f"{count}: {reason}" for reason, count in found.items()) or "-"


@dataclass(frozen=True, slots=True)
class Consumption:
    """What the daemons of one size took in a phase: the middle node, the most, and all."""

    rows: tuple[ResourceRow, ...]

    @property
    def first(self) -> ResourceRow:
        """Where and when."""
        return self.rows[0]

    @property
    def all_cpu(self) -> float:
        """CPU seconds of all nodes together."""
        return sum(row.cpu_seconds for row in self.rows)

    @property
    def cpu(self) -> float:
        """CPU seconds of the middle node."""
        return statistics.median(row.cpu_seconds for row in self.rows)

    @property
    def share(self) -> float:
        """Of a core, all nodes together."""
        return self.all_cpu / self.first.seconds

    @property
    def mib(self) -> float:
        """Memory of the middle node, MiB."""
        return statistics.median(row.rss_bytes for row in self.rows) / _MIB

    @property
    def most_mib(self) -> float:
        """Memory of the node with most, MiB."""
        return max(row.rss_bytes for row in self.rows) / _MIB

    @property
    def all_mib(self) -> float:
        """Memory of all nodes, MiB; pages that they share count once for each."""
        return sum(row.rss_bytes for row in self.rows) / _MIB

    @property
    def kernel(self) -> tuple[str, str, str]:
        """Rules, sets and elements: of the middle node, and of all."""
        return self._held("rules"), self._held("sets"), self._held("elements")

    def _held(self, what: str) -> str:
        known = [each for row in self.rows if (each := getattr(row, what)) is not None]
        if not known:
            return "-"
        middle = f"{statistics.median(known):,.0f}"
        return middle if len(known) == 1 else f"{middle} ({sum(known):,} in all)"


@dataclass(frozen=True, slots=True)
class Story:
    """All that the templates show, made of stored files alone."""

    run: Mapping[str, Any]
    env: Mapping[str, Any]
    notes: Mapping[str, Any]
    latencies: tuple[Latency, ...]
    consumption: tuple[Consumption, ...]
    sentences: tuple[str, ...]
    svg: Path | None
    png: Path | None
    caption: str


def write(folder: RunFolder) -> Path:
    """Draw the figure and write both reports; return the path of ``report.html``."""
    story = tell(folder)
    templates = pages.templates()
    folder.write_text(MARKDOWN, templates.get_template("changes.md.j2").render(story=story))
    html = templates.get_template("changes.html.j2").render(story=story)
    return folder.write_text(HTML, html)


def tell(folder: RunFolder) -> Story:
    """Read the folder and draw."""
    run = folder.read_json("run.json")
    rows = record.events(folder.path / record.EVENTS)
    taken = record.resources(folder.path / record.RESOURCES)
    enforcer = str(run["settings"]["enforcer"])
    series, consumption = tuple(_series(rows)), tuple(_consumption(taken))
    known = (folder.path / record.NOTES).exists()
    notes = folder.read_json(record.NOTES) if known else {}
    sentences = (
        *_sentences(enforcer, series, consumption, notes),
        *_busy_sentence(notes),
    )
    drawn = bool(rows)
    title = _title(enforcer, _largest(series))
    files = latencies.draw(rows, title, folder.folder("figures")) if drawn else (None, None)
    return Story(
        run=run,
        env=folder.read_json("env.json"),
        notes=notes,
        latencies=series,
        consumption=consumption,
        sentences=sentences,
        svg=files[0],
        png=files[1],
        caption=latencies.CAPTION,
    )


def _series(rows: Sequence[EventRow]) -> Iterator[Latency]:
    kinds: dict[tuple[Any, ...], list[EventRow]] = {}
    order = {change: at for at, change in enumerate(latencies.NAMES)}
    for row in rows:
        key = (row.size, row.load is Load.CHURN, order[row.change], row.flow.value)
        kinds.setdefault(key, []).append(row)
    for _, same in sorted(kinds.items()):
        counted = tuple(row for row in same if not row.void)
        yield Latency(same[0], counted, tuple(row for row in same if row.void))


def _consumption(rows: Sequence[ResourceRow]) -> Iterator[Consumption]:
    kinds: dict[tuple[int, Phase], list[ResourceRow]] = {}
    for row in rows:
        kinds.setdefault((row.size, row.phase), []).append(row)
    return (Consumption(tuple(same)) for same in kinds.values())


def _sentences(
    enforcer: str,
    series: Sequence[Latency],
    consumption: Sequence[Consumption],
    notes: Mapping[str, Any],
) -> Iterator[str]:
    """Yield the answer: the largest size, quiet and under churn, by new connections."""
    if not series:
        yield f"{enforcer}: nothing was measured."
        return
    found = _largest(series)
    yield _policy_sentence(enforcer, found)
    yield (
        "By SIG-scalability's definitions: policy creation enforcement latency "
        f"{_spread(found, changes.allowing().opens)}; pod creation reachability latency "
        f"{_spread(found, STARTED_REACHED)}."
    )
    yield _open_sentence(found)
    largest = _largest_size(series)
    yield _churn_sentence(found, _replaced(notes, largest))
    mine = [each for each in consumption if each.first.size == largest]
    yield _resource_sentence(mine)


Found = Mapping[tuple[Load, str], Latency]


def _largest(series: Sequence[Latency]) -> Found:
    """Return what new connections saw at the largest size, where events count."""
    largest = _largest_size(series)
    return {
        (each.first.load, each.first.change): each
        for each in series
        if each.first.size == largest and each.first.flow is Flow.NEW and each.counted
    }


def _largest_size(series: Sequence[Latency]) -> int:
    """Return the largest size at which policies were applied, in a run that was cut off, too."""
    applied = [each for each in series if each.first.change == changes.denying().closes]
    return max((each.first.size for each in applied or series), default=0)


def _title(enforcer: str, found: Found) -> str:
    """Return the figure's finding: medians at the largest size."""
    quiet, churned, floor = (
        found.get((load, change))
        for load, change in (
            (Load.QUIET, changes.denying().closes),
            (Load.CHURN, changes.denying().closes),
            (Load.QUIET, FLOOR),
        )
    )
    if quiet is None or floor is None:
        return f"{enforcer}: how soon changes act"
    under = f", {churned.at(0.5):.0f} ms under churn" if churned else ""
    return (
        f"{enforcer} enforces a policy {quiet.at(0.5):.0f} ms after the API server's answer"
        f"{under}, at {quiet.first.pods:,} pods (medians; floor {floor.at(0.5):.0f} ms)"
    )


def _policy_sentence(enforcer: str, found: Found) -> str:
    applied = found.get((Load.QUIET, changes.denying().closes))
    if applied is None:
        return f"{enforcer}: no policy that was applied counts; see what is void."
    return (
        f"{enforcer}, {applied.first.pods:,} pods: a policy is enforced "
        f"{_spread(found, changes.denying().closes)} after the API server's answer, and gone "
        f"{_spread(found, changes.denying().opens)} after its removal; the instrument's floor is "
        f"{_spread(found, FLOOR)}."
    )


def _spread(found: Found, change: str, load: Load = Load.QUIET) -> str:
    each = found.get((load, change))
    if each is None:
        return "not known (no event counts)"
    return f"{each.at(0.5):.0f} ms (median; {each.at(0.99):.0f} ms at 99 %)"


def _open_sentence(found: Found) -> str:
    closed = [each for (_, change), each in found.items() if change == STARTED_DENIED]
    events = sum(len(each.counted) for each in closed)
    leaked = sum(row.milliseconds > 0 for each in closed for row in each.counted)
    return (
        f"Of {events} pods that started while a policy selected them, {leaked} let a packet of "
        "somebody else in, from the moment at which their address was seen."
    )


def _replaced(notes: Mapping[str, Any], size: int) -> str:
    """Return how many pods were replaced at a size: nodes that start them slowly get fewer."""
    rates = [each["replaced_per_second"] for each in notes.get("sizes", ()) if each["size"] == size]
    return f"{rates[-1]:.1f} pods a second" if rates else "pods"


def _churn_sentence(found: Found, replaced: str) -> str:
    if not any(load is Load.CHURN for load, _ in found):
        return "Churn was not measured."
    applied, created, started = (
        _spread(found, change, Load.CHURN)
        for change in (changes.denying().closes, changes.allowing().opens, STARTED_REACHED)
    )
    return (
        f"While {replaced} are replaced: policy enforced {applied}, allowing policy created "
        f"{created}, pod reached {started}; floor {_spread(found, FLOOR, Load.CHURN)}."
    )


def _busy_sentence(notes: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is to be said of a machine that did other work, too."""
    most = max((each["others_load"] for each in notes.get("sizes", ())), default=0.0)
    if most > MOST_LOAD:
        yield (
            f"Others used up to {most:.0%} of the CPUs: these times say more of this machine at "
            "that hour than of the enforcer, and are upper bounds."
        )


def _resource_sentence(mine: Sequence[Consumption]) -> str:
    by_phase = {each.first.phase: each for each in mine}
    start, idle, churn = (by_phase.get(each) for each in (Phase.START, Phase.IDLE, Phase.CHURN))
    if start is None or idle is None or churn is None:
        return "What the daemons take was not measured to the end."
    rules, sets, elements = idle.kernel
    return (
        f"{len(start.rows)} daemon{'s' if len(start.rows) > 1 else ''}: {start.cpu:.1f} CPU s each "
        f"to start, {idle.share:.3f} of a core in all when idle and {churn.share:.2f} under churn; "
        f"{churn.mib:.0f} MiB each, {churn.all_mib:,.0f} MiB in all; in a kernel {rules} rules, "
        f"{sets} sets, {elements} elements."
    )
