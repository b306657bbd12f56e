"""The report of a perf run: figures, ``report.html`` and ``report.md`` from the run's folder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment
from markupsafe import Markup, escape

from harness.load.ab import Connections
from harness.measure import blocks, notes, pilot, visit
from harness.measure.blocks import Row
from harness.measure.plan import Comparison
from harness.report import analysis, evidence, figures, findings, pages, yardstick
from harness.report.analysis import Analysis, Headline
from harness.report.figures import Picture
from harness.report.parts import FORMULA, Parts, parts
from harness.results import RunFolder, enforcers_of
from harness.stats import Bounds, Estimate

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
    def cpu_of(self) -> str:
        """Whose CPU seconds are counted, in words."""
        if any(row.path_cpu_seconds for row in self.rows):
            return (
                "those of ab, of the processes in the measured pods and of the kernel's softirq "
                "threads, whatever else runs on the machine"
            )
        return "the whole machine's, ab's and nginx's included"

    @property
    def unit(self) -> str:
        """What its sizes count: pods a service, or what was swept."""
        return findings.unit(self.study)

    @property
    def names(self) -> str:
        """Whose cost it is, in words."""
        return " and ".join(enforcers_of(self.run))

    @property
    def parts(self) -> list[Parts]:
        """The costs of each enforcer apart."""
        return list(parts(self.analysis, self.study, self.seed))

    @property
    def yardsticks(self) -> list[str]:
        """What known costs came out as."""
        return [yardstick.words(line) for line in yardstick.lines(self.analysis)]

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
    found = analysis.analyse(rows, _seed(study), study.get("design", {}).get("enforcers", ()))
    evidence.write(folder, rows, found)
    locust = _json(folder, visit.FILE)
    return Story(
        run=run,
        env=folder.read_json("env.json"),
        study=study,
        enforcer=_json(folder, "enforcer.json"),
        locust=locust,
        files=_files(folder),
        rows=rows,
        analysis=found,
        sentences=tuple(findings.sentences(found, study, locust)),
        pictures=tuple(figures.draw(found, study, folder.folder(figures.FOLDER))),
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
    environment.globals |= {"formula": FORMULA, "kinds": tuple(Connections)}
    environment.filters |= {
        "href": evidence.href,
        "effect_href": lambda each: evidence.headline_href(each, Comparison.EFFECT),
        "control_href": lambda each: evidence.headline_href(each, Comparison.CONTROL),
        "links": _links,
        "micro": _micro,
        "bounds": _bounds,
        "ratio": findings.ratio,
        "kind": lambda each: findings.KIND[each],
        "short": lambda each: "keep-alive" if each is Connections.KEPT else "new",
        "density": findings.density,
        "p": _p_value,
        "rest": _rest,
        "milliseconds": _milliseconds,
        "sees": lambda each: findings.share(each.sees if each else None),
        "promised": lambda each, study: findings.share(findings.promised(study, each.connections)),
    }
    return environment


def _milliseconds(step: Mapping[str, Any], share: str) -> str:
    """Return a percentile of one step of locust: from when it was due, and from its sending."""
    due, sent = (step[kind]["percentiles_ms"].get(share) for kind in ("arrival", "service"))
    return "-" if due is None or sent is None else f"{due:g} ({sent:g})"


_LINK = re.compile(r"\[([^\]]+)\]\(([^)]+)\)")


def _links(text: str) -> Markup:
    """Return a sentence with its Markdown links as HTML has them."""
    return Markup(_LINK.sub(r'<a href="\2">\1</a>', str(escape(text))))  # noqa: S704  # escaped


def _micro(found: Bounds | None) -> str:
    """Return CPU seconds as microseconds, with their interval."""
    if found is None:
        return "not known"
    return "{:.2f} ({:.2f} to {:.2f})".format(*found.scaled(1e6))


def _bounds(found: Bounds | None) -> str:
    return "not known" if found is None else "{:.3f} ({:.3f} to {:.3f})".format(*found)


def _rest(known: Mapping[str, float] | None) -> str:
    """Return what the machine did of itself before a size; earlier formats do not say."""
    if not known:
        return "not looked at"
    used = "{load:.0%} of its CPUs in use ({low:.0%} to {high:.0%})".format(**known)
    return used if known["of_itself"] else f"{used}: counted as work of others"


def _p_value(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"  # noqa: PLR2004  # the field's habit
