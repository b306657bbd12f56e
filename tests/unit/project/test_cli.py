"""The ``harness`` command itself: its list, its errors, its exit codes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from harness import cli
from harness.clusters.embedded import requirements
from harness.errors import ClusterError, HarnessError, UsageError

PLAIN_INSTALL = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"rich", "numpy", "matplotlib", "kubernetes", "jinja2"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
from harness.cli import main
main(["doctor"], prog_name="harness")
"""


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_listed_command_loads_and_explains_itself(name: str) -> None:
    """Each name in the list of commands is a command with help of its own."""
    result = CliRunner().invoke(cli.main, [name, "--help"])

    assert result.exit_code == 0, result.output
    assert "Usage:" in result.output


def test_help_lists_every_command() -> None:
    """``harness --help`` lists the commands, each with a line of help."""
    result = CliRunner().invoke(cli.main, ["--help"])

    assert [name for name in cli.COMMANDS if name not in result.output] == []


def test_an_unknown_command_is_refused_by_name() -> None:
    """A mistyped command is wrong use: exit code 2, and the message names it."""
    result = CliRunner().invoke(cli.main, ["functions"])

    assert result.exit_code == 2
    assert "functions" in result.output


@pytest.mark.parametrize(
    ("error", "code"), [(UsageError("first\nsecond"), 2), (ClusterError("first\nsecond"), 1)]
)
def test_an_expected_failure_is_a_message_and_an_exit_code(
    monkeypatch: pytest.MonkeyPatch, error: HarnessError, code: int
) -> None:
    """An expected failure prints its lines behind the program's name, and no traceback."""

    @click.command()
    def failing() -> None:
        raise error

    monkeypatch.setattr(cli, "load", lambda _: failing)

    result = CliRunner().invoke(cli.main, ["perf"])

    assert (result.exit_code, result.stderr) == (code, "harness: first\nharness: second\n")


@pytest.mark.parametrize("command", [("functional",), ("perf",), ("cluster", "up")])
def test_all_wrong_options_are_told_at_once(command: tuple[str, ...], tmp_path: Path) -> None:
    """Mistakes in a cluster's options and in a command's own are one answer, a line for each."""
    wrong = ["--nodes=none", "--name=No_Name", "--enforcer=nobody", "--cni=overlay"]
    lines = ["--nodes", "--cni", "--name", "--enforcer nobody"]
    if command == ("perf",):
        wrong += ["--sizes=8,2", "--rounds=0", "--seed=coin", "--budget=soon"]
        lines += ["--sizes", "--rounds", "--seed", "--budget"]
    if command == ("functional",):
        wrong += ["--probe-timeout=soon", "--select=nonsense", "--group=nope", "--profile=gone"]
        lines += ["--probe-timeout", "--select", "--group nope", "--profile"]
    if command != ("cluster", "up"):
        (tmp_path / "file").touch()
        wrong += [f"--results={tmp_path}/file"]
        lines += ["--results"]

    result = CliRunner().invoke(cli.main, [*command, *wrong])

    assert result.exit_code == 2
    said = result.stderr.splitlines()
    assert len(said) == len(lines), result.stderr
    for line in lines:
        assert any(one.startswith(f"harness: {line}") for one in said), (line, result.stderr)


@pytest.mark.parametrize("words", ["perf", "perf --changes", "functional", "functional --windows"])
def test_what_the_machine_lacks_is_one_sentence_and_nothing_is_made(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing tool is told before a run's folder is made, a plan printed or pytest started."""
    sentence = "not found: nft; run: apt-get install nftables"
    monkeypatch.setattr(requirements, "missing_privileges", tuple)
    monkeypatch.setattr(requirements, "missing_tools", lambda: (sentence,))

    result = CliRunner().invoke(cli.main, [*words.split(), f"--results={tmp_path}/results"])

    assert (result.exit_code, result.output) == (2, f"harness: {sentence}\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("image gold --arch sparc --engine rkt", ["--arch", "--engine", "no such image: gold"]),
        ("compare nowhere", ["nowhere: not the folder", "Missing argument 'SECOND'"]),
        ("lab --requests 1 --jobs 0 --rules none", ["--requests", "--jobs", "--rules"]),
        ("lab --pod here --only nothing --jobs 0", ["--pod", "--only", "--jobs"]),
        ("lab --pod 10.1.0.2 --only dump x", ["--pod: it is one", "--only: dump is", "x: only"]),
    ],
)
def test_commands_without_a_cluster_tell_all_mistakes_at_once(
    words: str, told: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each wrong option or argument has a line of its own, and nothing is made."""
    monkeypatch.chdir(tmp_path)

    result = CliRunner().invoke(cli.main, words.split())

    said = result.stderr.splitlines()
    assert (result.exit_code, len(said)) == (2, len(told)), result.stderr
    assert all(any(line.startswith(f"harness: {one}") for line in said) for one in told), said
    assert list(tmp_path.iterdir()) == []


def test_what_speaks_of_cases_goes_not_with_windows(tmp_path: Path) -> None:
    """A run of windows refuses, all at once, what it would have to pass over."""
    cases = ["--list", "--select=placement=self", "--versus=none", "-k", "x"]

    result = CliRunner().invoke(
        cli.main, ["functional", "--windows", f"--results={tmp_path}/results", *cases]
    )

    told = "harness: --windows runs no cases: leave out --select, --versus, --list, -k, x\n"
    assert (result.exit_code, result.stderr) == (2, told)
    assert list(tmp_path.iterdir()) == []


def test_a_scenario_that_cannot_be_read_is_wrong_use(tmp_path: Path) -> None:
    """Its mistakes are told, with exit code 2: nobody has interrupted anything."""
    (tmp_path / "cases.yaml").write_text("words: true\n")
    arguments = [f"--results={tmp_path}/results", "--cni=routed", f"{tmp_path}/cases.yaml"]

    result = CliRunner().invoke(cli.main, ["functional", *arguments])

    assert result.exit_code == 2, result.output
    assert f"{tmp_path}/cases.yaml:1: words: is not known" in result.stderr


def test_a_plain_install_says_in_one_line_how_to_get_the_harness() -> None:
    """Without the harness extra a command says what is missing and how to install it."""
    done = subprocess.run(
        [sys.executable, "-c", PLAIN_INSTALL], capture_output=True, text=True, check=False
    )

    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "pip install '.[harness]'" in done.stderr
