"""The report of a perf run: figures, ``report.html`` and ``report.md`` from the run's folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment

from harness.load.ab import Connections
from harness.measure import blocks, notes, pilot, visit
from harness.measure.blocks import Row
from harness.report import analysis, costs, figures, findings, pages
from harness.report.analysis import Analysis, Headline
from harness.report.figures import Picture
from harness.results import RunFolder
from harness.stats import Estimate

HTML = "report.html"
MARKDOWN = "report.md"


@dataclass(frozen=True, slots=True)
class Story:
    """All that the templates show, made of stored files alone."""

    run: Mapping[str, Any]
    env: Mapping[str, Any]
    study: Mapping[str, Any]
    enforcer: Mapping[str, Any]
    locust: Mapping[str, Any]
    files: tuple[str, ...]
    rows: tuple[Row, ...]
    analysis: Analysis
    sentences: tuple[str, ...]
    pictures: tuple[Picture, ...]

    @property
    def seed(self) -> int:
        """The seed of the plan, which also seeds the bootstrap."""
        return _seed(self.study)

    @property
    def void_rows(self) -> tuple[Row, ...]:
        """The legs that do not count."""
        return tuple(row for row in self.rows if row.void)

    @property
    def shapes(self) -> list[str]:
        """What the arms say of the study's nodes."""
        return costs.sentences(self.analysis, self.study, len(self.enforcer.get("nodes", ())))

    def cells(self, headline: Headline) -> list[tuple[int, Estimate]]:
        """Return the effect at each concurrency."""
        return analysis.by_concurrency(self.rows, headline, self.seed)


def write(folder: RunFolder) -> Path:
    """Draw the figures and write both reports; return the path of ``report.html``."""
    story = tell(folder)
    html = _templates().get_template("perf.html.j2").render(story=story)
    folder.write_text(MARKDOWN, _templates().get_template("perf.md.j2").render(story=story))
    return folder.write_text(HTML, html)


def tell(folder: RunFolder) -> Story:
    """Read the folder, estimate and draw."""
    run, study = folder.read_json("run.json"), _json(folder, notes.FILE)
    path = folder.path / blocks.FILE
    rows = tuple(blocks.read(path)) if path.exists() else ()
    found = analysis.analyse(rows, _seed(study))
    locust = _json(folder, visit.FILE)
    enforcer = str(run["settings"].get("enforcer", "none"))
    return Story(
        run=run,
        env=folder.read_json("env.json"),
        study=study,
        enforcer=_json(folder, "enforcer.json"),
        locust=locust,
        files=_files(folder),
        rows=rows,
        analysis=found,
        sentences=tuple(findings.sentences(found, run, study, locust)),
        pictures=tuple(figures.draw(found, enforcer, study, folder.folder(figures.FOLDER))),
    )


def _seed(study: Mapping[str, Any]) -> int:
    return int(study.get("design", {}).get("seed", 0))


def _json(folder: RunFolder, name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = folder.read_json(name) if (folder.path / name).exists() else {}
    return found


def _files(folder: RunFolder) -> tuple[str, ...]:
    names = (
        *("run.json", "env.json", notes.FILE, "enforcer.json"),
        *(pilot.FILE, blocks.FILE, visit.FILE),
    )
    return tuple(name for name in names if (folder.path / name).exists())


def _templates() -> Environment:
    environment = pages.templates()
    environment.filters |= {
        "ratio": findings.ratio,
        "kind": lambda each: findings.KIND[each],
        "short": lambda each: "keep-alive" if each is Connections.KEPT else "new",
        "density": findings.density,
        "p": _p_value,
        "milliseconds": _milliseconds,
        "sees": lambda each: findings.share(each.sees if each else None),
        "promised": lambda each, study: findings.share(findings.promised(study, each.connections)),
    }
    return environment


def _milliseconds(step: Mapping[str, Any], share: str) -> str:
    """Return a percentile of one step of locust: from when it was due, and from its sending."""
    due, sent = (step[kind]["percentiles_ms"].get(share) for kind in ("arrival", "service"))
    return "-" if due is None or sent is None else f"{due:g} ({sent:g})"


def _p_value(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"  # noqa: PLR2004  # the field's habit
