"""The directions of imports: the contracts in ``pyproject.toml`` bite."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
LINTER = Path(sys.executable).with_name("lint-imports")


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the sources of both programs, and the contracts."""
    folder = tmp_path_factory.mktemp("sources")
    shutil.copy(ROOT / "pyproject.toml", folder)
    for package in ("enforcer", "harness"):
        no_caches = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, folder / package, ignore=no_caches)
    return folder


def broken(folder: Path) -> list[str]:
    """Return the names of the contracts that the sources in ``folder`` break."""
    done = subprocess.run(
        [LINTER, "--no-cache"],
        cwd=folder,
        env={"PYTHONPATH": str(folder), "COLUMNS": "200", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Contracts:" in done.stdout, done.stdout + done.stderr
    return [line for line in done.stdout.splitlines() if " BROKEN" in line]


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("harness/stats.py", "import enforcer.errors", "never import each other"),
        ("enforcer/model/net.py", "import enforcer.kube", "goes one way"),
        ("enforcer/nft/objects.py", "import enforcer.model", "knows nothing of Kubernetes"),
        ("enforcer/policy/compiled.py", "import socket", "need no I/O"),
        ("enforcer/node.py", "import aiohttp", "speak HTTP"),
        ("harness/clusters/base.py", "import harness.enforcers", "commands join"),
        ("harness/matrix/oracle.py", "import harness.prober", "asks nobody"),
    ],
)
def test_an_import_in_the_wrong_direction_breaks_its_contract(
    pristine: Path, module: str, line: str, contract: str
) -> None:
    """One import against the design is found, and called by its contract's name."""
    source = pristine / module
    before = source.read_text()
    source.write_text(f"{before}\n{line}\n")
    try:
        found = broken(pristine)
    finally:
        source.write_text(before)

    assert any(contract in name for name in found), found


def test_the_sources_keep_every_contract(pristine: Path) -> None:
    """As they stand, the sources import in the directions of the design only."""
    assert broken(pristine) == []


def test_a_new_module_of_the_enforcer_speaks_no_http_unless_said_so(pristine: Path) -> None:
    """A module that the contracts do not name is held to them like any other."""
    module = pristine / "enforcer" / "newcomer.py"
    module.write_text("import aiohttp\n")
    try:
        found = broken(pristine)
    finally:
        module.unlink()

    assert any("speak HTTP" in name for name in found), found
