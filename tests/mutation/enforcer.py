"""The program of a mutant on a node: ``python -m tests.mutation.enforcer MUTANT run …``.

Breaks what the mutant says, then goes on as the program that it breaks, with the arguments left.
"""

from __future__ import annotations

import sys

from tests.mutation import following, layouts, meaning, packets  # each fills the catalogue
from tests.mutation.catalogue import MUTANTS, Kind

__all__ = ["MUTANTS", "SOUND"]

GROUPS = (meaning, following, packets, layouts)
SOUND = "sound"
"""The layout without a defect, as the control of its mutants."""


def main() -> None:
    """Break, then run."""
    name = sys.argv.pop(1)
    if name == SOUND:
        layouts.mended()
        _run(Kind.LAYOUT)
    else:
        MUTANTS[name].make()
        _run(MUTANTS[name].kind)


def _run(kind: Kind) -> None:
    match kind:
        case Kind.BUNDLED:
            from enforcer import cli  # noqa: PLC0415  # only after it was broken

            cli.main()
        case Kind.LAYOUT:
            from harness.enforcers.kube_router_model import __main__ as model  # noqa: PLC0415  # as above

            model.main()


if __name__ == "__main__":
    main()
