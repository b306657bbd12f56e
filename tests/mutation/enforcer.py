"""The program of a mutant on a node: ``python -m tests.mutation.enforcer MUTANT run …``.

Breaks what the mutant says, then goes on as the program that it breaks, with the arguments left.
"""

from __future__ import annotations

import sys

from tests.mutation import following, layouts, meaning, packets, partial  # they fill the catalogue
from tests.mutation.catalogue import MUTANTS, Kind

__all__ = ["LATE", "LATE_SECONDS", "MUTANTS", "SOUND"]

GROUPS = (meaning, partial, following, packets, layouts)
SOUND = "sound"
"""The layout without a defect, as the control of its mutants."""
LATE = "late"
"""The bundled enforcer without a defect, but slow."""
LATE_SECONDS = 2.0


def main() -> None:
    """Break, then run."""
    name = sys.argv.pop(1)
    if name == SOUND:
        layouts.mended()
        _run(Kind.LAYOUT)
    elif name == LATE:
        following.late(LATE_SECONDS)
        _run(Kind.BUNDLED)
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
