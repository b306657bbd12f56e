"""A QEMU guest that counts instructions: its kernel, its files, one command, and its end."""

from __future__ import annotations

import ctypes
import enum
import os
import platform
import resource
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.errors import HarnessError, MissingError
from harness.lab import initrd
from harness.lab.debian import Kernel
from harness.requirements import ADMIN_PATHS, available_bytes, find_tool, require_tools

QEMU = "qemu-system-x86_64"
PROCESSOR = ("-accel", "tcg", "-cpu", "max", "-smp", "1")


class Clock(enum.Enum):
    """What makes the guest's time pass: one nanosecond for each instruction, and something else.

    ``INSTRUCTIONS``: nothing else, where nothing runs it goes on to the next timer: for measuring.
    It jumps while a file of the host is awaited, which upsets who waits for a moment.
    ``PATIENT``: while nothing runs, the host's time. For tests: however busy the host is, to them
    the machine is as fast as ever, and nobody's patience ends because others were at work.
    """

    INSTRUCTIONS = ("-icount", "shift=0,sleep=off")
    PATIENT = ("-icount", "shift=0,sleep=on")


MEMORY_MIB = 2048
NEEDED = (MEMORY_MIB + 1024) << 20
"""Bytes for a guest: its memory, and what QEMU makes of the programs that run there."""

CONSOLE = "console.log"
PASSED_ON = ("XDG_CACHE_HOME", "KUBEBUILDER_ASSETS", "KUBE_ROUTER_020", "KUBE_ROUTER_2")
"""Variables that name files of the host, by which its programs and tests find them."""

PROJECT = Path(__file__).parents[2]
_PR_SET_PDEATHSIG = 1  # prctl(2)
GRACE = 5.0  # seconds for QEMU to end before it is killed


@dataclass(frozen=True, slots=True)
class Job:
    """What a guest is to run: a command of this project's Python, and its environment."""

    argv: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    clock: Clock = Clock.INSTRUCTIONS

    def script(self) -> str:
        """Return it as the script that the guest's first process runs."""
        settings = {
            "PATH": f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": initrd.SCRATCH,
            "TMPDIR": initrd.SCRATCH,
            "PYTHONPATH": str(PROJECT),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",  # what is printed is read while it runs
            **self.environment,
        }
        lines = [f"export {name}={shlex.quote(value)}" for name, value in settings.items()]
        lines += [f"cd {shlex.quote(str(PROJECT))}", f"exec {shlex.join(self.argv)}"]
        return "".join(f"{line}\n" for line in lines)


def callers_environment() -> dict[str, str]:
    """Return what a command in the guest needs of our environment: where programs and caches are.

    Only that: a run's folder keeps the script, and others read it.
    """
    known = {name: os.environ[name] for name in PASSED_ON if os.environ.get(name)}
    folders = (str(Path(sys.executable).parent), *os.get_exec_path(), *ADMIN_PATHS)
    return {"HOME": str(Path.home()), **known, "PATH": os.pathsep.join(dict.fromkeys(folders))}


def require() -> None:
    """Raise MissingError with all that this machine lacks for a guest."""
    if platform.machine() != "x86_64":
        raise MissingError(
            f"the lab runs this machine's programs in an x86-64 guest; this is {platform.machine()}"
        )
    require_tools(QEMU)
    there = available_bytes()
    if there < NEEDED:
        raise MissingError(
            f"a guest needs {NEEDED / 2**30:.0f} GiB of memory, {there / 2**30:.1f} GiB are "
            "available: end other programs first"
        )


def places() -> int:
    """Return how many guests this machine has cores and memory for at a time, at least one."""
    return max(1, min(len(os.sched_getaffinity(0)), available_bytes() // NEEDED))


def cpu_seconds() -> int:
    """Return the CPU time of the guests that have ended: what a run takes on an idle core."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return round(used.ru_utime + used.ru_stime)


class Guest:
    """A running guest; leaving the context ends it."""

    def __init__(self, kernel: Kernel, folder: Path, job: Job) -> None:
        """Describe a guest that shares ``folder`` with the host; entering the context boots it."""
        self._kernel = kernel
        self._folder = folder
        self._job = job

    def __enter__(self) -> Self:
        """Boot."""
        self._folder.mkdir(parents=True, exist_ok=True)
        share = self._folder / "share"
        share.mkdir(exist_ok=True)
        (share / initrd.COMMAND).write_text(self._job.script())
        archive = self._folder / "initrd"
        archive.write_bytes(initrd.build(self._kernel))
        with (self._folder / CONSOLE).open("wb") as console:
            # In a session of its own: Ctrl-C reaches us, and we end it.
            self._process = subprocess.Popen(
                self._argv(archive, share),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_as_child,  # noqa: PLW1509  # no threads before the guests start
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Switch off a guest that still runs."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(GRACE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    @property
    def share(self) -> Path:
        """The folder that the guest writes to."""
        return self._folder / "share"

    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def exit_code(self) -> int:
        """Return what its command ended with; HarnessError where the guest ended before that."""
        status = self.share / initrd.STATUS
        if not status.exists():
            raise HarnessError(
                f"the guest ended before its command did: {self._last_words()}; "
                f"its console is {self._folder / CONSOLE}"
            )
        return int(status.read_text())

    def check(self) -> None:
        """Raise HarnessError unless its command has ended well."""
        if code := self.exit_code():
            raise HarnessError(
                f"the command in the guest ended with {code}; see {self._folder / CONSOLE}"
            )

    def _last_words(self) -> str:
        console = self._folder / CONSOLE
        lines = console.read_text(errors="replace").splitlines() if console.exists() else []
        return next((line.strip() for line in reversed(lines) if line.strip()), "no output")

    def _argv(self, archive: Path, share: Path) -> list[str]:
        program = find_tool(QEMU) or QEMU
        return [
            *(program, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
            *PROCESSOR,
            *self._job.clock.value,
            *("-m", str(MEMORY_MIB), "-serial", "stdio", "-device", "virtio-rng-pci"),
            *("-kernel", str(self._kernel.image), "-initrd", str(archive)),
            *("-append", "console=ttyS0 quiet panic=-1 random.trust_cpu=on"),
            *("-virtfs", _export("/", initrd.HOST_TAG, ",readonly=on")),
            *("-virtfs", _export(str(share), initrd.SHARE_TAG)),
        ]


def _export(path: str, tag: str, options: str = "") -> str:
    # In QEMU's option syntax a comma within a value is written twice.
    escaped = path.replace(",", ",,")
    return f"local,path={escaped},mount_tag={tag},security_model=none,multidevs=remap{options}"


def _as_child() -> None:
    """Leave the machine to others, and end with the harness, by whatever means it ends."""
    os.nice(10)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
