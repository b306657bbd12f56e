from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Self

import pytest
from click.testing import CliRunner

from harness.cli import main
from harness.commands import lab
from harness.commands.lab import Asked
from harness.errors import MissingError
from harness.lab import debian, errand, initrd, machine
from harness.lab.debian import Kernel
from harness.lab.errand import Errand
from harness.lab.loads import Load
from harness.lab.machine import Clock, Job
from harness.lab.study import Plan
from harness.measure.progress import Narrator
from harness.requirements import ADMIN_PATHS, available_bytes
from harness.results import RunFolder

ECHO = "import sys; print('said', *sys.argv[1:]); sys.exit(int(sys.argv[1]))"
JUNIT = """<testsuites><testsuite>
<testcase classname="tests.kernel.test_a" name="test_one"/>
<testcase classname="tests.kernel.test_a" name="test_two"><failure message="no"/></testcase>
<testcase classname="tests.kernel.test_a" name="test_three"><skipped/></testcase>
</testsuite></testsuites>"""


class HostGuest:
    """A guest's stand-in that runs the job's script on this machine."""

    def __init__(self, kernel: Kernel, folder: Path, job: Job) -> None:
        del kernel
        self.share = folder / "share"
        self._job = job

    def __enter__(self) -> Self:
        script = self._job.script().replace(initrd.SHARE, str(self.share))
        self.share.mkdir(parents=True)
        self._code = subprocess.run(["sh"], input=script, text=True, check=False).returncode
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def running(self) -> bool:
        return False

    def exit_code(self) -> int:
        return self._code


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """Return a run's folder, with guests that are this machine."""
    monkeypatch.setattr(errand, "Guest", HostGuest)
    monkeypatch.setattr(errand, "MODULES", ("--help",))
    return RunFolder.create(
        tmp_path,
        cluster="lab",
        scenario="command",
        command=["harness", "lab"],
        settings={"kernel": "6.1.0"},
    )


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    """Return a kernel that nobody boots."""
    return Kernel("6.1.0", tmp_path, tmp_path, tmp_path)


def said(*words: str) -> tuple[str, ...]:
    """Return a command that prints its words and ends with the first."""
    return (sys.executable, "-c", ECHO, *words)


@pytest.mark.parametrize(
    ("jobs", "codes", "output"),
    [
        (1, [0, 3, 1], "said 0 a b\nsaid 3\nsaid 1 $HOME\n"),
        (2, [0, 1, 3], "said 0 a b\nsaid 1 $HOME\n"),
    ],
)
def test_every_command_runs_and_the_worst_decides(
    folder: RunFolder, kernel: Kernel, jobs: int, codes: list[int], output: str
) -> None:
    """In one guest or several, one that fails keeps none from running; the report has each code."""
    commands = (said("0", "a b"), said("3"), said("1", "$HOME"))

    assert errand.run(Errand("x", commands), kernel, folder, jobs) == 3

    first = folder.path / "logs" / "guest1" / "share"
    assert (first / "output.txt").read_text() == output
    assert [item["exit_code"] for item in folder.read_json(errand.FILE)] == codes
    report = (folder.path / "report.md").read_text()
    assert "Linux 6.1.0" in report
    assert "| 3 |" in report


def test_what_the_guest_stored_is_the_runs(folder: RunFolder, kernel: Kernel) -> None:
    """Runs and tests' results move to where others look for them, and the report names them."""
    stored = f'mkdir -p {initrd.SHARE}/runs/r && echo \'{{"status": "passed"}}\' '
    stored += f">{initrd.SHARE}/runs/r/run.json && echo '{JUNIT}' >{initrd.SHARE}/junit.xml"

    assert errand.run(Errand("x", (("sh", "-c", stored),)), kernel, folder, 2) == 0

    assert (folder.path / "runs" / "r" / "run.json").exists()
    report = (folder.path / "report.md").read_text()
    assert "- [r](runs/r/report.md): passed" in report
    assert "1 tests passed, 1 failed, 1 were skipped." in report
    assert "- failed: tests.kernel.test_a::test_two" in report


def test_a_command_finds_programs_and_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its PATH has this Python, the caller's folders and the administrator's; its home is ours."""
    monkeypatch.setenv("PATH", "/opt/own/bin:/usr/bin")
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", "/opt/assets")
    monkeypatch.setenv("A_TOKEN", "secret")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    known = machine.callers_environment()

    folders = known["PATH"].split(os.pathsep)
    assert folders[:3] == [str(Path(sys.executable).parent), "/opt/own/bin", "/usr/bin"]
    assert set(ADMIN_PATHS) <= set(folders)
    assert (known["HOME"], known["KUBEBUILDER_ASSETS"]) == ("/home/somebody", "/opt/assets")
    assert known.keys() == {"PATH", "HOME", "KUBEBUILDER_ASSETS"}  # a run's folder keeps them
    script = Job(("true",), known, Clock.PATIENT).script()
    assert script.count("export PATH=") == 1
    assert f"export PATH={known['PATH']}" in script


@pytest.mark.parametrize(
    ("arguments", "mistakes"),
    [
        (("--tests", "--execute", "true"), ["one of them at a time"]),
        (("--tets",), ["--tets: only --tests and --functional take arguments"]),
        (
            ("--functional", "--tests", "--ipset", __file__),
            ["one of them at a time", "--ipset: without --rules"],
        ),
    ],
)
def test_all_mistakes_are_told_at_once(arguments: tuple[str, ...], mistakes: list[str]) -> None:
    """Wrong use ends with 2 and a sentence for each mistake, before anything is fetched."""
    result = CliRunner().invoke(main, ["lab", *arguments])

    assert result.exit_code == 2
    assert [mistake for mistake in mistakes if mistake not in result.output] == []


def test_mistakes_about_a_dump_are_told_with_the_rest(tmp_path: Path) -> None:
    """Rules of nft ask no sets of ipset, and these are about another pod."""
    listed = tmp_path / "listed.nft"
    listed.write_text("table ip one {\n\tchain forward {\n\t\tip daddr 10.2.0.7 drop\n\t}\n}\n")
    dump = ("--rules", str(listed), "--ipset", str(listed), "--pod", "10.2.0.9")

    result = CliRunner().invoke(main, ["lab", *dump, "extra"])

    assert result.exit_code == 2
    for mistake in ("extra: only", "ask no sets of ipset", "no rule about 10.2.0.9"):
        assert mistake in result.output


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ((), ["300 requests", "features"]),
        (("--requests", "100"), ["100 requests", "features"]),
        (("--cost",), ["800 requests"]),
        (("--only", "bundled"), ["800 requests"]),
        (("--tests",), ["tests"]),
        (("--functional",), ["functional"]),
        (("--execute", "true"), ["command"]),
    ],
)
def test_a_run_has_all_parts_or_those_named(
    arguments: tuple[str, ...], parts: list[str], monkeypatch: pytest.MonkeyPatch, kernel: Kernel
) -> None:
    """Without words the table, in short, and what is tried; with words one of them, in full."""
    had: list[str] = []

    def measured(_: Asked, plan: Plan, __: Narrator) -> list[str]:
        had.append(f"{plan.counts[Load.NEW]} requests")
        return ["not measured: x"]

    def ran(_: Asked, errand: Errand, __: Kernel, ___: Narrator) -> list[str]:
        had.append(errand.name)
        return ["a command ended with 1"]

    monkeypatch.setattr(machine, "require", lambda: None)
    monkeypatch.setattr(debian, "kernel", lambda *_: kernel)
    monkeypatch.setattr(lab, "_measure", measured)
    monkeypatch.setattr(lab, "_run_in_guest", ran)

    result = CliRunner().invoke(main, ["lab", *arguments])

    assert had == parts
    assert result.exit_code == 1, "one part that failed keeps none from running, and is told"


def test_each_guest_has_its_share_of_the_tests() -> None:
    """Without words the kernel's tests run, dealt out to the guests; with words only those."""
    shares = errand.tests((), 2).commands
    (chosen,) = errand.tests(("tests/kernel/test_sctp.py", "-x"), 2).commands

    assert [[word for word in share if "shard" in word] for share in shares] == [
        ["--shard=1/2"],
        ["--shard=2/2"],
    ]
    assert all("tests/kernel" in share for share in shares)
    assert chosen[-2:] == ("tests/kernel/test_sctp.py", "-x")
    assert "tests/kernel" not in chosen


def test_a_whole_run_tries_what_is_there() -> None:
    """Each file of tests that it names is one of this project's, in one of its commands."""
    named = [word for command in errand.chosen().commands for word in command if "/test_" in word]

    assert len(named) == len(set(named)) == 5
    assert [name for name in named if not (machine.PROJECT / name).is_file()] == []


def test_another_architecture_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guest runs this machine's programs: one sentence says that they have to be x86-64's."""
    monkeypatch.setattr("platform.machine", lambda: "aarch64")

    with pytest.raises(MissingError, match="this is aarch64"):
        machine.require()


def test_too_little_memory_is_told_before_anything_boots(monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence says how much a guest needs, and how much there is."""
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr(machine, "require_tools", lambda *_: None)
    monkeypatch.setattr(machine, "available_bytes", lambda: 2 * 2**30)

    with pytest.raises(MissingError, match="needs 3 GiB of memory"):
        machine.require()


@pytest.mark.parametrize(("gibibytes", "places"), [(2, 1), (7, 2), (100, 4)])
def test_guests_are_as_many_as_cores_and_memory_allow(
    gibibytes: int, places: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four cores are no good where there is memory for two."""
    monkeypatch.setattr(machine, "available_bytes", lambda: gibibytes * 2**30)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(4))

    assert machine.places() == places


def test_the_machines_memory_is_known() -> None:
    """The kernel says what programs may take."""
    assert available_bytes() > 0
