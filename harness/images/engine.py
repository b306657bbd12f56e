"""Docker or podman: wrap a folder up as an image, load it, save it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import HarnessError, MissingError

ENGINES = ("docker", "podman")


@dataclass(frozen=True, slots=True)
class Engine:
    """A container engine's command."""

    program: str

    def build(self, context: Path, tag: str, platform: str, labels: Mapping[str, str]) -> None:
        """Build the folder's Dockerfile, which asks for nothing from outside of the folder."""
        described = (f"--label={name}={value}" for name, value in labels.items())
        self.run(
            "build",
            "--network=none",
            f"--platform={platform}",
            *described,
            "-t",
            tag,
            ".",
            folder=context,
        )

    def save(self, tag: str, target: Path) -> None:
        """Write an image to a tar file that any engine, ``ctr`` and kind load."""
        self.run("save", "-o", str(target), tag)

    def size(self, tag: str) -> int:
        """Return the size of an image's files, in bytes."""
        return int(self.run("image", "inspect", "--format", "{{.Size}}", tag))

    def run(self, *arguments: str, folder: Path | None = None) -> str:
        """Run the engine and return what it printed; HarnessError with its last words."""
        done = subprocess.run(  # our own arguments
            [self.program, *arguments], cwd=folder, capture_output=True, text=True, check=False
        )
        if done.returncode:
            said = "\n".join((done.stderr or done.stdout).strip().splitlines()[-8:])
            raise HarnessError(f"{Path(self.program).name} {arguments[0]} failed:\n{said}")
        return done.stdout.strip()


def find_engine(names: Sequence[str] = ENGINES) -> Engine:
    """Return the first engine that is installed and answers.

    MissingError says which are not installed, and which do not answer.
    """
    complaints = []
    for name in names:
        program = shutil.which(name)
        if program is None:
            complaints.append(f"{name} is not installed")
            continue
        engine = Engine(program)
        try:
            engine.run("version")
        except HarnessError as error:
            complaints.append(f"{name} does not answer: {str(error).splitlines()[-1]}")
        else:
            return engine
    complaints.append("an image needs one of them; run: apt-get install docker.io")
    raise MissingError("\n".join(complaints))
