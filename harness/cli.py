"""The ``harness`` command: a group that loads each sub-command when it is called.

Loading late keeps ``harness --help`` instant, and lets a plain ``pip install .``, which brings
what a node needs and no more, say in one line how to get the rest. Every expected failure is a
:class:`~harness.errors.HarnessError`; here, and nowhere else, it becomes a message and an exit
code.
"""

from __future__ import annotations

import importlib
from typing import Any

import click

from harness import __version__
from harness.errors import HarnessError, Interrupted, MissingError

COMMANDS = {
    "cluster": "Build a cluster on this machine, look into it, send probes, take it down.",
    "functional": "Is an enforcer correct? Judge it with real packets.",
    "explain": "Tell what a case of the functional run is about.",
    "perf": "What does an enforcer cost? Measure requests per second with and without it.",
    "lab": "What do rules cost? Count instructions in a virtual machine; try other kernels.",
    "report": "Draw a run's figures and report again from what it stored.",
    "compare": "Compare two perf runs: did the costs change? Refuses unlike machines.",
    "control-plane": "Get kube-apiserver, etcd and their like: download them, or build them.",
    "study-manifest": "Print the study's own DaemonSet with another image in kube-router's place.",
    "image": "Build the container images, from Debian packages and wheels.",
    "cleanup": "Remove what a run that crashed left on a cluster of yours, and only that.",
    "doctor": "Say what this machine can run, what is missing, and the command that helps.",
}
"""Each sub-command with its line of help.

``harness/commands/<name>.py`` exports ``command``; a hyphen is an underscore there.
"""


class LazyGroup(click.Group):
    """A group whose sub-commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the sub-command, or say which extra it lacks."""
        del ctx
        return load(cmd_name) if cmd_name in COMMANDS else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the sub-commands without importing any."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:  # as click has it
        """Run the sub-command; turn an expected failure into its message and exit code."""
        try:
            return super().invoke(ctx)
        except HarnessError as error:
            for line in str(error).splitlines():
                click.echo(f"harness: {line}", err=True)
            ctx.exit(error.exit_code)
        except (KeyboardInterrupt, click.Abort):
            click.echo("harness: interrupted", err=True)
            ctx.exit(Interrupted.exit_code)


def load(name: str) -> click.Command:
    """Import one sub-command.

    Raises :class:`MissingError` where a library of the ``harness`` extra is not installed.
    """
    try:
        module = importlib.import_module(f"harness.commands.{name.replace('-', '_')}")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "harness":
            raise
        raise MissingError(
            f"`harness {name}` needs {error.name}, which is not installed; "
            "run: pip install '.[harness]'"
        ) from error
    command = module.command
    assert isinstance(command, click.Command)  # noqa: S101  # what the table above promises
    return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="harness")
def main() -> None:
    """Say of a Kubernetes NetworkPolicy enforcer whether it is correct, and what it costs.

    Clusters are made of network namespaces on this machine; every verdict is a real packet's.
    """
