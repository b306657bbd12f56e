"""The sessions, the wrapper and what the documents say about them."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SESSIONS = {
    *("lint", "types", "tests", "fuzz", "bench"),
    *("functional", "mutation", "perf", "lab", "report", "compare"),
    *("control-plane", "image", "kind", "doctor"),
}
DOCUMENTS = ["README.md", "CONTRIBUTING.md", ".ci/run"]


def sessions() -> dict[str, str]:
    """Return each session of the noxfile with the line that ``nox -l`` shows."""
    tree = ast.parse((ROOT / "noxfile.py").read_text())
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    decorated = [f for f in functions if any("session" in ast.dump(d) for d in f.decorator_list)]
    return {
        f.name.replace("_", "-"): (ast.get_docstring(f) or "").partition("\n")[0] for f in decorated
    }


def test_every_session_has_a_line_for_users() -> None:
    """``nox -l`` shows a sentence for each session, and all that the project promises."""
    assert set(sessions()) == SESSIONS
    assert [name for name, line in sessions().items() if not line.endswith(".")] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_documents_name_sessions_that_exist(document: str) -> None:
    """Every ``nox -s NAME`` that is printed somewhere is a session."""
    printed = re.findall(r"nox -s ((?: ?[a-z]+(?:-[a-z]+)*)+)", (ROOT / document).read_text())
    named = {name for names in printed for name in names.split()}

    assert named
    assert named <= SESSIONS


def test_the_wrapper_is_posix_shell() -> None:
    """``./nox`` is executable and any POSIX shell reads it: a bare system has no bash."""
    shell = shutil.which("dash") or "sh"

    assert os.access(ROOT / "nox", os.X_OK)
    subprocess.run([shell, "-n", ROOT / "nox"], check=True)


def wrapper(tmp_path: Path, *managers: str, user: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a copy of the wrapper where only these package managers, and no tool, are there."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sh", "dirname", "env"):
        (programs / name).symlink_to(shutil.which(name) or name)
    answers = dict.fromkeys(managers, 'echo "$0 was run" >&2\nexit 1') | {"id": f"echo {user}"}
    for name, answer in answers.items():
        (programs / name).write_text(f"#!/bin/sh\n{answer}\n")
        (programs / name).chmod(0o755)
    checkout = tmp_path / "checkout"
    (checkout / "harness").mkdir(parents=True)
    text = (ROOT / "nox").read_text()
    (checkout / "nox").write_text(re.sub(r"(?m)^PATH=.*", "", text))
    (checkout / "nox").chmod(0o755)
    shutil.copy(ROOT / "harness" / "system-packages.txt", checkout / "harness")
    return subprocess.run(
        ["./nox", "-s", "perf", "--", "--tiny"],
        cwd=checkout,
        env={"PATH": str(programs)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("manager", "expected"),
    [
        ("dnf", "dnf install python3 nftables iproute nginx httpd-tools"),
        ("pacman", "pacman -S python nftables iproute2 nginx apache"),
        ("zypper", "zypper install python311 nftables iproute2 nginx apache2-utils"),
        ("apk", "apk add python3 nftables iproute2 nginx apache2-utils"),
    ],
)
def test_other_package_managers_get_the_exact_list(
    tmp_path: Path, manager: str, expected: str
) -> None:
    """Where apt is not there, the person is told what to install, and nothing is run."""
    done = wrapper(tmp_path, manager)

    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert expected in done.stderr


def test_who_is_not_root_is_told_what_to_type(tmp_path: Path) -> None:
    """Where apt could install what is missing, but for the rights, nothing is run."""
    done = wrapper(tmp_path, "apt-get", user=1000)

    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.endswith("which needs root; run: sudo ./nox -s perf -- --tiny\n")


def test_a_machine_without_any_package_manager_is_told_the_commands(tmp_path: Path) -> None:
    """Where no package manager is known, the missing commands themselves are named."""
    done = wrapper(tmp_path)

    assert done.returncode == 2
    assert "nft" in done.stderr
