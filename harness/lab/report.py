"""The lab's report, ``report.md`` and ``report.html``, from what a run has stored."""

from __future__ import annotations

import html
from collections.abc import Iterator
from pathlib import Path

from harness.lab import study, summary
from harness.lab.cells import MAIN_SIZE, Cell, Kind
from harness.lab.loads import PACKETS, REQUESTS, Load
from harness.lab.summary import Cost, Line, Repeatability
from harness.results import RunFolder

MARKDOWN, HTML = "report.md", "report.html"

WHAT = (
    "Requests per second of ab in a QEMU guest whose clock counts instructions, against no "
    "enforcement with as many nodes on the way. Connections are tracked in every cell. "
    "± is half of the difference between two guests. A packet's instructions, a connection's first "
    "one's or a later one's, are counted apart: sent one by one."
)
HEAD = (
    "rules",
    *("new connections", "instr. more", "kept connections", "instr. more"),
    *("first packet, instr. more", "later packet, instr. more"),
)


def write(folder: RunFolder) -> Path:
    """Write both reports; return the path of ``report.html``."""
    rows = study.read(folder)
    lines = summary.lines(rows)
    said = _sentences(folder, summary.repeatability(rows), lines)
    title, table = _title(folder), list(map(_cells, lines))
    markdown = [f"# {title}", *said, _markdown(table), ""]
    folder.write_text(MARKDOWN, "\n\n".join(markdown))
    return folder.write_text(HTML, _html(title, said, table))


def _title(folder: RunFolder) -> str:
    return f"What rules cost on Linux {folder.read_json('run.json')['settings']['kernel']}"


def _sentences(folder: RunFolder, repeated: Repeatability | None, lines: list[Line]) -> list[str]:
    run = folder.read_json("run.json")
    settings = run["settings"]
    requests = f"{settings['requests_new']} requests with a new connection each and "
    requests += f"{settings['requests_kept']} on kept ones a cell, {settings['packets']} packets"
    command = " ".join(run["command"])
    began = f"Started {run['started']}, status {run['status']}, commit {run['commit']}"
    took = f"; the guests took {run['cpu_seconds']} s of CPU" if "cpu_seconds" in run else ""
    return [
        WHAT,
        _repeatability(repeated),
        f"{began}; {requests}{took}; `{command}`.",
        *_parts(lines),
    ]


def _parts(lines: list[Line]) -> Iterator[str]:
    """Yield a paragraph that takes what the study saw apart, where its parts were measured."""
    new = {line.cell: line.costs[Load.NEW].change for line in lines if Load.NEW in line.costs}
    names = [Cell(kind, MAIN_SIZE, points).name for kind in _APART for points in (1, 2)]
    if set(names) <= new.keys():
        of = [_typeset(f"{new[name]:+.1%}") for name in names]
        yield (
            "The study saw 10 to 20 % fewer requests with kube-router 0.2.0. In its parts, new "
            f"connections at {MAIN_SIZE} pods a node: its rules alone {of[0]} through one "
            f"enforcement point and {of[1]} through two with iptables-legacy, {of[2]} and {of[3]} "
            f"with iptables-nft; the bundled enforcer's {of[4]} and {of[5]}. A daemon's CPU is in "
            "none of these: harness perf shows it."
        )


_APART = (Kind.MODEL_LEGACY, Kind.MODEL_NFT, Kind.BUNDLED)


def _repeatability(found: Repeatability | None) -> str:
    if found is None:
        return "Each cell was measured once: nothing is known of the error."
    return (
        f"Between guests the same cell's rates differ by {found.rates:.2%} on average, its packets "
        f"by {found.instructions:.0f} instructions."
    )


def _cells(line: Line) -> tuple[str, ...]:
    name = f"{line.cell} (not measured: {line.problem})" if line.problem else line.cell
    requests, packets = ([line.costs.get(load) for load in it] for it in (REQUESTS, PACKETS))
    return (name, *(text for cost in requests for text in _cost(cost)), *map(_counted, packets))


def _cost(cost: Cost | None) -> tuple[str, str]:
    if cost is None:
        return "-", "-"
    return _typeset(f"{cost.change:+.1%} ± {cost.spread:.1%}"), _typeset(f"{cost.instructions:.0f}")


def _counted(cost: Cost | None) -> str:
    return _typeset(f"{cost.instructions:.0f} ± {cost.scatter:.0f}") if cost else "-"


def _typeset(figure: str) -> str:
    return figure.replace("-", "−")  # noqa: RUF001


def _markdown(table: list[tuple[str, ...]]) -> str:
    lines = [HEAD, ("---",) + ("---:",) * (len(HEAD) - 1), *table]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _html(title: str, said: list[str], table: list[tuple[str, ...]]) -> str:
    def row(cells: tuple[str, ...], tag: str) -> str:
        return f"<tr>{''.join(f'<{tag}>{html.escape(cell)}</{tag}>' for cell in cells)}</tr>"

    body = [
        f"<h1>{html.escape(title)}</h1>",
        *(f"<p>{html.escape(sentence)}</p>" for sentence in said),
        "<table>",
        row(HEAD, "th"),
        *(row(cells, "td") for cells in table),
        "</table>",
    ]
    style = (
        "body{font:16px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}"
        "td,th{padding:.2em .8em;text-align:right;border-bottom:1px solid #ddd}"
        "td:first-child,th:first-child{text-align:left}"
    )
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{style}</style>'
    return f"<!doctype html><html lang=en><head>{head}</head><body>{''.join(body)}</body></html>\n"
