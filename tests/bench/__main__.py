"""``python -m tests.bench``: what a change costs, and that it does not grow with the cluster.

Everything happens in a network namespace of the bench's own. Figures go to the terminal and to
``bench.json`` in a folder of the run, with the machine that they were measured on. The exit code is
1 where a bound that was promised is not kept, or an answer was wrong.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from harness.results import RunFolder
from tests.bench import daemon_bench, flat, hard, seam
from tests.bench.figures import Figure
from tests.bench.site import enter_own_namespace
from tests.bench.world import Size

Case = Callable[[argparse.Namespace], Iterator[Figure]]


def _daemon(options: argparse.Namespace) -> Iterator[Figure]:
    with daemon_bench.site(_size(options)) as (site, started):
        yield from started
        yield from daemon_bench.changes(site, options.changes)
        yield from daemon_bench.burst(site)
        yield from daemon_bench.idle(site, options.idle)
        yield from daemon_bench.memory(site)


CASES: dict[str, Case] = {
    "daemon": _daemon,
    "seam": lambda options: seam.compare(options.changes),
    "hard": lambda options: hard.cases(options.scale),
    "flat": lambda options: flat.compare(options.pairs, options.scale),
}


def _size(options: argparse.Namespace) -> Size:
    return Size(options.pods, options.policies, options.local)


def main() -> int:
    """Measure, print and store."""
    options = _parser().parse_args()
    enter_own_namespace()
    folder = RunFolder.create(
        options.results,
        cluster="netns",
        scenario="bench",
        command=sys.argv,
        settings={key: str(value) for key, value in vars(options).items()},
    )
    figures: list[Figure] = []
    for name in options.only:
        print(f"{name}:")  # noqa: T201  # a program whose product is what it prints
        for figure in CASES[name](options):
            print(f"  {figure}", flush=True)  # noqa: T201
            figures.append(figure)
            folder.write_json("bench.json", [item.as_json() for item in figures])
    kept = all(figure.is_kept for figure in figures)
    folder.finish("passed" if kept else "failed")
    print(folder.path)  # noqa: T201
    return 0 if kept else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    whole = Size()
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--pods", type=int, default=whole.pods)
    parser.add_argument("--policies", type=int, default=whole.policies)
    parser.add_argument("--local", type=int, default=whole.local, help="pods on the node")
    parser.add_argument("--changes", type=int, default=200, help="changes of each kind")
    parser.add_argument("--idle", type=float, default=60.0, help="seconds to watch an idle daemon")
    parser.add_argument("--scale", type=int, default=1, help="divides hard and flat: a quick look")
    parser.add_argument("--pairs", type=int, default=20, help="pairs of rules on and off (flat)")
    parser.add_argument("--results", type=Path, default=Path("results"))
    return parser


if __name__ == "__main__":
    sys.exit(main())
