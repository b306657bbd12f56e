"""What is read from ``ip``, which distributions have changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from enforcer import programs
from enforcer.bridges import Bridges
from enforcer.errors import KernelError
from enforcer.links import _ip
from enforcer.wiring import SameNode

UBUNTU = (
    '[{"ifname":"lo"},{"ifname":"flannel.1","linkinfo":{"info_kind":"vxlan","info_data":'
    '{"id":5fan-map 10.0.0.0/8:192.0.2.0/24 ,"link":"eth0","port":8472}}},'
    '{"ifname":"tunl0","linkinfo":{"info_kind":"ipip","info_data":{"ttl":0fan-map }}}]'
)
"""As iproute2 6.1.0-1ubuntu6 prints tunnels: words of its own in the middle of JSON."""


@pytest.fixture
def ip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file whose content ``ip`` prints."""
    printed, program = tmp_path / "printed", tmp_path / "ip"
    program.write_text(f"#!/bin/sh\ncat {printed}\n")
    program.chmod(0o755)
    monkeypatch.setattr(programs, "find", lambda _: str(program))
    return printed


def test_links_beside_tunnels_of_ubuntu_are_read(ip: Path) -> None:
    """Words that its iproute2 prints between the fields of a tunnel are passed over."""
    ip.write_text(UBUNTU)

    _, flannel, tunnel = _ip("-d", "link", "show")

    assert flannel["linkinfo"]["info_data"] == {"id": 5, "link": "eth0", "port": 8472}
    assert tunnel["ifname"] == "tunl0"


def test_what_cannot_be_read_is_the_kernels_error(ip: Path) -> None:
    """The daemon says so and tries again; it does not end."""
    ip.write_text('[{"ifname":lo}]')

    with pytest.raises(KernelError, match="ip -j -d link show printed what cannot be read"):
        _ip("-d", "link", "show")


def test_a_bridge_that_has_just_gone_does_not_end_the_daemon() -> None:
    """It may go between the look at all links and the look at its own settings."""
    gone = {"ifname": "npd-gone", "ifindex": 9999, "mtu": 1500, "address": "fe:00:00:00:00:01"}

    assert not Bridges(SameNode.TURN).show(gone, ()).changed
