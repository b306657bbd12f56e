from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CONFTEST = Path(__file__).parents[2] / "conftest.py"
TESTS = """
import pytest

@pytest.mark.optional("$NAMES_A_BINARY")
def test_a(): pass

@pytest.mark.optional("no-such-command", "sh")
def test_b(): pass

def test_c(): pass
"""


def outcome(tmp_path: Path, **environment: str) -> str:
    """Run three tests, two of them optional, in a process of their own."""
    (tmp_path / "conftest.py").write_text(CONFTEST.read_text())
    (tmp_path / "test_it.py").write_text(TESTS)
    argv = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", str(tmp_path))
    environment |= {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(CONFTEST.parents[1])}
    done = subprocess.run(
        argv, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_an_optional_test_without_what_it_needs_is_not_run_and_said_so(tmp_path: Path) -> None:
    """It is no skip: a stock machine has none; the run ends with what was not run, and why."""
    said = outcome(tmp_path)

    assert "1 passed, 2 deselected" in said
    assert "1  not run: NAMES_A_BINARY names no binary" in said
    assert "1  not run: no-such-command is not installed" in said
    assert "skipped" not in said


def test_an_optional_test_runs_where_its_need_is_met(tmp_path: Path) -> None:
    """The variable names an executable file: the test is like any other."""
    said = outcome(tmp_path, NAMES_A_BINARY="/bin/sh")

    assert "2 passed, 1 deselected" in said
    assert "NAMES_A_BINARY" not in said
