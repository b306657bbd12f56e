from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def collected(*arguments: str) -> list[str]:
    """Return the names of the tests that would run."""
    argv = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    argv += [*arguments, "tests/unit/harness/lab"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines() if "::" in line]


def test_shares_are_all_tests_and_none_twice() -> None:
    """What machines with a share each have run together is what one would have run."""
    shares = [collected("--shard", f"{number}/2") for number in (1, 2)]

    assert sorted(name for share in shares for name in share) == sorted(collected())
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
