"""The sessions of a contributor's day, and of a user's: ``nox -l`` lists them.

All of them run in one environment, ``.nox/environment``, made once and again when
``pyproject.toml`` changes: the project itself is installed there as it stands in this folder, so
that a changed line needs no new installation. Any nox will do, a distribution's old one included.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

import nox

ROOT = Path(__file__).parent
ENVIRONMENT = ROOT / ".nox" / "environment"
BIN = ENVIRONMENT / "bin"
LEAST_PYTHON = (3, 11)
CODE = ("enforcer", "harness", "tests", "noxfile.py")
WORKFLOW = ".github/workflows/ci.yml"
WORKERS = ("--numprocesses", "4", "--no-loadscope-reorder")
"""How the whole suite runs: most of its tests wait for packets, so two cores feed four workers.

Each takes one module after another, in their order: the small ones, which are last, fill up.
"""
WRONG_USE = 2
"""Exit code where something is missing, the same as the programs' own."""

SESSIONS = (
    "lint",
    "types",
    "tests",
    "fuzz",
    "bench",
    "functional",
    "mutation",
    "perf",
    "lab",
    "report",
    "compare",
    "control-plane",
    "image",
    "kind",
    "doctor",
)

nox.options.sessions = ["lint", "types", "tests"]


@nox.session(python=False)
def lint(session: nox.Session) -> None:
    """Check style, format, spelling, which package imports which, the workflow. Seconds."""
    run(session, "ruff", "check", *CODE)
    run(session, "ruff", "format", "--check", *CODE)
    run(session, "codespell")
    run(session, "lint-imports")
    run(session, "check-jsonschema", "--builtin-schema=vendor.github-workflows", WORKFLOW)


@nox.session(python=False)
def types(session: nox.Session) -> None:
    """Check every type (mypy, strict)."""
    run(session, "mypy", *session.posargs)


@nox.session(python=False)
def tests(session: nox.Session) -> None:
    """Run all tests, those with real packets included (root). After --: pytest's arguments."""
    if not session.posargs:
        require_root(session, "without it: nox -s tests -- tests/unit")
    hand_over(session, "pytest", *(session.posargs or WORKERS))


@nox.session(python=False)
def fuzz(session: nox.Session) -> None:
    """Judge random clusters and changes with real packets (root): -- --examples 10000 --seed 7."""
    require_root(session)
    quiet = ("-o", "faulthandler_timeout=0")  # hours are no hang here
    hand_over(session, "pytest", *quiet, "tests/property/test_packets.py", *session.posargs)


@nox.session(python=False)
def bench(session: nox.Session) -> None:
    """Measure what a change costs the enforcer, and that it does not grow (root, 5 minutes)."""
    require_root(session)
    hand_over(session, "python", "-m", "tests.bench", *session.posargs)


@nox.session(python=False)
def functional(session: nox.Session) -> None:
    """Judge with real packets whether the enforcer is correct; print the study's table (root)."""
    require_root(session)
    require_kind(session)
    hand_over(session, "harness", "functional", *session.posargs)


@nox.session(python=False)
def mutation(session: nox.Session) -> None:
    """Judge the judge: does the functional suite catch enforcers broken on purpose? (root)."""
    require_root(session)
    hand_over(session, "python", "-m", "tests.mutation", *session.posargs)


@nox.session(python=False)
def perf(session: nox.Session) -> None:
    """Measure what the enforcer costs; draw the study's figure (root, about 10 minutes)."""
    require_root(session)
    require_kind(session)
    hand_over(session, "harness", "perf", *session.posargs)


@nox.session(python=False)
def lab(session: nox.Session) -> None:
    """Count what rules cost in a virtual machine, on a stock kernel (no root, 15 minutes)."""
    hand_over(session, "harness", "lab", *session.posargs)


@nox.session(python=False)
def report(session: nox.Session) -> None:
    """Draw the figures and the report of a stored run again: nox -s report -- results/RUN."""
    hand_over(session, "harness", "report", *session.posargs)


@nox.session(python=False)
def compare(session: nox.Session) -> None:
    """Compare two stored perf runs: nox -s compare -- results/RUN results/RUN."""
    hand_over(session, "harness", "compare", *session.posargs)


@nox.session(python=False, name="control-plane")
def control_plane(session: nox.Session) -> None:
    """Get the real kube-apiserver, etcd and their like: download, else build (6 minutes)."""
    hand_over(session, "harness", "control-plane", *session.posargs)


@nox.session(python=False)
def image(session: nox.Session) -> None:
    """Build the enforcer's container image, with no image registry in reach (docker or podman)."""
    hand_over(session, "harness", "image", *session.posargs)


@nox.session(python=False)
def kind(session: nox.Session) -> None:
    """Deploy our images on a real kind cluster and test that (root, docker; about 4 minutes)."""
    add_kind(session)
    run(session, "harness", "image", "enforcer", "workload")
    hand_over(session, "pytest", "tests/kind", *session.posargs)


@nox.session(python=False)
def doctor(session: nox.Session) -> None:
    """Say what this machine can run, what is missing, and the command that helps."""
    hand_over(session, "harness", "doctor", *session.posargs)


def run(session: nox.Session, program: str, *arguments: str) -> None:
    """Run a program of the environment, and go on when it succeeds."""
    prepare(session)
    session.run(str(BIN / program), *arguments, external=True, env={"PATH": search_path()})


def hand_over(session: nox.Session, program: str, *arguments: str) -> None:
    """Run a program as the last thing that this nox does, where no other session was asked for.

    It then takes nox's place: Ctrl-C reaches it alone and leaves it the time to tidy up, its exit
    code is the caller's, and its last line is the last line.
    """
    asked = sys.argv[1 : sys.argv.index("--")] if "--" in sys.argv else sys.argv[1:]
    if {*SESSIONS} & {*asked} != {session.name}:
        run(session, program, *arguments)
        return
    prepare(session)
    sys.stdout.flush()
    sys.stderr.flush()
    path = str(BIN / program)
    os.execve(path, [path, *arguments], os.environ | {"PATH": search_path()})  # noqa: S606


def search_path() -> str:
    """Return a PATH on which the environment's programs come first."""
    return os.pathsep.join((str(BIN), os.environ.get("PATH", os.defpath)))


def prepare(session: nox.Session) -> None:
    """Make the environment, unless it is there and up to date."""
    stamp = ENVIRONMENT / "installed"
    wanted = fingerprint()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    if sys.version_info < LEAST_PYTHON:
        session.error("this nox runs on a Python before 3.11; use ./nox, which finds a newer one")
    session.log("installing the project's Python packages into %s (once)", ENVIRONMENT)
    python = str(BIN / "python")
    stamp.unlink(missing_ok=True)
    session.run(sys.executable, "-m", "virtualenv", "--quiet", str(ENVIRONMENT), external=True)
    session.run(
        *(python, "-m", "pip", "--disable-pip-version-check", "install"),
        *("--progress-bar=off", "--editable", ".[harness,dev]"),
        external=True,
    )
    stamp.write_text(wanted)


def require_kind(session: nox.Session) -> None:
    """Have what ``--cluster kind`` needs, where that is asked for."""
    words = " ".join(session.posargs)
    if "--cluster kind" in words or "--cluster=kind" in words:
        add_kind(session)


def add_kind(session: nox.Session) -> None:
    """Add pytest-kind to the environment; it is GPL-3, and so not of everyone's."""
    prepare(session)
    if not list(ENVIRONMENT.glob("lib/python*/site-packages/pytest_kind")):
        session.run(str(BIN / "pip"), "install", "--quiet", "--editable", ".[kind]", external=True)


def fingerprint() -> str:
    """Tell this environment from one for other requirements, another Python or another folder."""
    digest = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()
    return f"{digest} {sys.version} {ROOT}\n"


def require_root(session: nox.Session, otherwise: str = "") -> None:
    """End with one sentence unless this is root: namespaces and packet rules need it."""
    if os.geteuid() != 0:
        command = f"nox -s {session.name}"
        words = " ".join((command, "--", *session.posargs)) if session.posargs else command
        session.warn(f"{command} makes network namespaces and needs root; run: sudo ./{words}")
        if otherwise:
            session.warn(otherwise)
        sys.exit(WRONG_USE)
