"""What the daemon asks the kernel before its first rule."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import pytest

from enforcer.errors import MissingError
from enforcer.nft.kernel import run_nft
from enforcer.nft.netlink import ruleset_generation
from enforcer.probe import NEEDED, check_kernel
from tests.kernel.netlab import Namespace, run

pytestmark = pytest.mark.kernel

REFUSED = {
    "fib of the incoming interface where it has none": (
        "chain odd { type filter hook output priority 0; fib saddr . iif oif 0 drop; }"
    )
}
"""Refused by every kernel as 5.10 refuses it in the forward hook: at the transaction's end."""


@pytest.fixture
def space() -> Iterator[Namespace]:
    """Return an empty network namespace."""
    name = f"npdprobe-{os.getpid()}"
    run("ip", "netns", "add", name)
    made = Namespace(name)
    yield made
    made.close()
    run("ip", "netns", "del", name)


def test_this_kernel_takes_what_we_need_and_keeps_nothing_of_it(space: Namespace) -> None:
    """The probe leaves no table behind."""
    space.call(check_kernel)

    assert space.call(run_nft, ["list", "ruleset"]).stdout == ""


def test_what_the_kernel_lacks_is_one_sentence(space: Namespace) -> None:
    """Its version, what it lacks and nothing else, what nft said, and which versions are known."""
    with pytest.raises(MissingError) as raised:
        space.call(check_kernel, {**NEEDED, **REFUSED})

    (name,) = REFUSED
    assert str(raised.value) == (
        f"Linux {os.uname().release} cannot hold our rules, it lacks {name}: Could not process "
        "rule: Operation not supported (Linux 6.1 is the oldest that is known to work, 5.10 does "
        "not)"
    )
    assert space.call(run_nft, ["list", "ruleset"]).stdout == ""


def test_a_probe_that_was_killed_is_no_hindrance(space: Namespace) -> None:
    """What it left behind is replaced."""
    space.call(run, "nft", "add table ip npd_probe; add chain ip npd_probe left")

    space.call(check_kernel)

    assert space.call(run_nft, ["list", "ruleset"]).stdout == ""


def test_a_restart_sends_nothing_to_probe(space: Namespace) -> None:
    """A kernel that holds our table has taken it: nothing is sent."""
    space.call(run, "nft", "add", "table", "ip", "npd")
    before = space.call(ruleset_generation)

    space.call(check_kernel, REFUSED)

    assert space.call(ruleset_generation) == before


def test_the_probe_is_never_met_by_a_packet() -> None:
    """Each of its chains is in the forward hook, of a table that is dormant."""
    hooks = [hook for body in NEEDED.values() for hook in re.findall(r"hook (\w+)", body)]

    assert set(hooks) == {"forward"}
