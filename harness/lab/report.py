"""The lab's report, ``report.md`` and ``report.html``, from what a run has stored."""

from __future__ import annotations

import html
from pathlib import Path

from harness.lab import study, summary
from harness.lab.summary import Cost, Line
from harness.load.ab import Connections
from harness.results import RunFolder

MARKDOWN, HTML = "report.md", "report.html"

WHAT = (
    "Requests per second of ab in a QEMU guest whose clock counts instructions, against no "
    "enforcement with as many nodes on the way. Connections are tracked in every cell. "
    "± is half of the difference between two guests."
)
HEAD = ("rules", "new connections", "instr. more", "kept connections", "instr. more")


def write(folder: RunFolder) -> Path:
    """Write both reports; return the path of ``report.html``."""
    title, said, table = _title(folder), _sentences(folder), _table(folder)
    markdown = [f"# {title}", *said, _markdown(table), ""]
    folder.write_text(MARKDOWN, "\n\n".join(markdown))
    return folder.write_text(HTML, _html(title, said, table))


def _title(folder: RunFolder) -> str:
    return f"What rules cost on Linux {folder.read_json('run.json')['settings']['kernel']}"


def _sentences(folder: RunFolder) -> list[str]:
    run = folder.read_json("run.json")
    settings = run["settings"]
    requests = f"{settings['requests_new']} requests with a new connection each and "
    requests += f"{settings['requests_kept']} on kept ones a cell"
    command = " ".join(run["command"])
    began = f"Started {run['started']}, status {run['status']}, commit {run['commit']}"
    return [
        WHAT,
        _repeatability(summary.repeatability(study.read(folder))),
        f"{began}; {requests}; `{command}`.",
    ]


def _repeatability(spread: float | None) -> str:
    if spread is None:
        return "Each cell was measured once: nothing is known of the error."
    return f"The same cell's rates differ by {spread:.2%} between guests on average."


def _table(folder: RunFolder) -> list[tuple[str, ...]]:
    return [_cells(line) for line in summary.lines(study.read(folder))]


def _cells(line: Line) -> tuple[str, ...]:
    name = f"{line.cell} (not measured: {line.problem})" if line.problem else line.cell
    costs = (line.costs.get(kind) for kind in (Connections.NEW, Connections.KEPT))
    return (name, *(text for cost in costs for text in _cost(cost)))


def _cost(cost: Cost | None) -> tuple[str, str]:
    if cost is None:
        return "-", "-"
    change = f"{cost.change:+.1%} ± {cost.spread:.1%}".replace("-", "−")  # noqa: RUF001
    return change, f"{cost.instructions:.0f}"


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
