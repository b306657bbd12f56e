"""docs/flags-and-metrics.md, out of the tables that the program itself uses.

``python -m enforcer.reference > docs/flags-and-metrics.md`` writes it anew; a test compares.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from prometheus_client.metrics_core import Metric

from enforcer.flags import FLAGS, Flag, default_of
from enforcer.metrics import Metrics
from enforcer.settings import NOT_DONE, REPLACED

_INTRODUCTION = """\
# Flags and metrics of `enforcer run`

Written by `python -m enforcer.reference`; a test compares this file with the program.
"""

_TYPES = {"counter": "_total"}
_OTHERS = ("process_", "python_")


def text() -> str:
    """Return the whole document."""
    return "\n".join([_INTRODUCTION, *_flags(), *_kube_router(), *_metrics()])


def _flags() -> Iterator[str]:
    yield "## Flags\n"
    yield "| flag | default | meaning |"
    yield "|---|---|---|"
    yield from map(_flag, FLAGS)
    yield ""


def _flag(flag: Flag) -> str:
    names = ", ".join(f"`{name}`" for name in (flag.name, *flag.aliases))
    environment = f" From `{flag.environment}` where it is not given." if flag.environment else ""
    default = default_of(flag)
    return f"| {names} | {f'`{default}`' if default else ''} | {flag.help}{environment} |"


def _kube_router() -> Iterator[str]:
    yield "## kube-router's flags\n"
    yield "They are taken as they stand, so that its DaemonSet runs with the image swapped.\n"
    yield "| flag | here |"
    yield "|---|---|"
    yield "| `--run-firewall` | has to be true: it is what this program does |"
    for name, why in NOT_DONE.items():
        yield f"| `--{name}` | has to be false: {why} |"
    for name, instead in REPLACED.items():
        yield f"| `{'-' if len(name) == 1 else '--'}{name}` | accepted with a warning: {instead} |"
    yield ""


def _metrics() -> Iterator[str]:
    yield "## Metrics\n"
    yield (
        "Served on `/metrics` of `--health-port`, beside those of the process (`process_*`, "
        "`python_*`).\n"
    )
    yield "| metric | type | labels | meaning |"
    yield "|---|---|---|---|"
    found = sorted(Metrics().registry.collect(), key=lambda item: item.name)
    yield from (_metric(item) for item in found if not item.name.startswith(_OTHERS))
    yield ""


def _metric(item: Metric) -> str:
    ours = {name for sample in item.samples for name in sample.labels} - {"le"}
    labels = ", ".join(f"`{name}`" for name in sorted(ours | _labels_of(item.name)))
    name = f"{item.name}{_TYPES.get(item.type, '')}"
    return f"| `{name}` | {item.type} | {labels} | {item.documentation} |"


def _labels_of(name: str) -> set[str]:
    """Return the labels of a metric that has no sample yet."""
    return {
        label
        for metric in vars(Metrics()).values()
        if getattr(metric, "_name", None) == name
        for label in getattr(metric, "_labelnames", ())
    }


if __name__ == "__main__":
    sys.stdout.write(text())
