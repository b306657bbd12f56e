"""From a layout to the kernel: sets by ``ipset restore``, rules by one ``iptables-restore``."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

from harness.enforcers import iptables
from harness.enforcers.kube_router_model.layout import Layout

LOCK_SECONDS = 10
"""How long to wait for others' iptables."""


def sync(wanted: Layout, tool: str) -> None:
    """Make the node's rules what a layout says; ``tool`` is iptables, or one of its two kinds.

    Raises OSError, with what the command said, where one fails.
    """
    _run("ipset", "restore", "-exist", text=sets_script(wanted))
    have = iptables.parse(_run(f"{tool}-save", "-t", "filter"))
    restore = (f"{tool}-restore", "--noflush", f"--wait={LOCK_SECONDS}")
    _run(*restore, text=rules_script(wanted, have))
    for name in iptables.own_sets(_run("ipset", "list", "-n")):
        if name not in wanted.sets:
            _run("ipset", "destroy", name)


def sets_script(wanted: Layout) -> str:
    """Return the lines that make every set hold its members and nothing else, by swapping."""
    return "".join(line + "\n" for line in _set_lines(wanted))


def _set_lines(wanted: Layout) -> Iterator[str]:
    for name, made in wanted.sets.items():
        scratch = f"{name}-"
        yield f"create {name} {made.kind} timeout 0"
        yield f"create {scratch} {made.kind} timeout 0"
        yield f"flush {scratch}"
        for member in made.members:
            address, _, option = member.partition(" ")
            yield f"add {scratch} {address} timeout 0 {option}".rstrip()
        yield f"swap {name} {scratch}"
        yield f"destroy {scratch}"


def rules_script(wanted: Layout, have: iptables.FilterTable) -> str:
    """Return the script that replaces our chains and jumps among what the table has."""
    gone = [name for name in have.own_chains() if name not in wanted.chains]
    lines = [
        *(f":{name} - [0:0]" for name in wanted.chains),
        *(f"-D {jump.chain} {jump.number}" for jump in reversed(have.jumps())),
        *(f"-A {name} {rule}" for name, body in wanted.chains.items() for rule in body),
        *(f"-I {jump.replace(' ', ' 1 ', 1)}" for jump in reversed(wanted.jumps)),
        *(f"-F {name}" for name in gone),
        *(f"-X {name}" for name in gone),
    ]
    return "\n".join(("*filter", *lines, "COMMIT", ""))


def _run(*argv: str, text: str = "") -> str:
    done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        message = f"{' '.join(argv)}: {' '.join(done.stderr.split())}"
        raise OSError(message)
    return done.stdout
